"""Counts: `POST /documents/count` and `GET /fields`."""

from typing import Annotated

from fastapi import APIRouter, Query

from service.api.document_requests import FiltersDep
from service.api.route_rules import Route, Rules
from service.api.schemas.count_schemas import (
    MOST_FIELDS_LISTED,
    CountBody,
    CountRequest,
    MetadataFieldBody,
    MetadataFieldsBody,
)
from service.api.state import AskedDep
from service.scheduling.gate import Deadline
from service.store.filter_grammar import both

router = APIRouter(tags=["documents"], route_class=Route)


@router.post("/documents/count", summary="Count documents")
@Rules(scope="search", narrowest="documents", gate="reads", field_depth=2)
async def count_documents(body: CountRequest, asked: AskedDep) -> CountBody:
    """Count the documents that searches see, all or those that satisfy `filters`.

    If that cannot be done within the server's `timeout_ms`, the answer is 504.
    """
    filters = both(asked.caller.within, body.filters)
    deadline = Deadline(asked.state.settings.timeout_ms / 1000)
    return CountBody(documents=await asked.collection.documents.count(filters, deadline))


@router.get("/fields", summary="List metadata fields")
@Rules(scope="search", narrowest="documents", gate="reads")
async def list_fields(
    asked: AskedDep,
    filters: FiltersDep,
    limit: Annotated[
        int, Query(ge=1, le=MOST_FIELDS_LISTED, description="Most fields in the answer.")
    ] = 100,
) -> MetadataFieldsBody:
    """The metadata fields of the documents that searches see, and how many have which types.

    If that cannot be done within the server's `timeout_ms`, the answer is 504.
    """
    within = both(asked.caller.within, filters)
    deadline = Deadline(asked.state.settings.timeout_ms / 1000)
    found = await asked.collection.documents.fields(within, limit + 1, deadline)
    fields = [MetadataFieldBody(name=name, types=types) for name, types in found.items()]
    return MetadataFieldsBody(fields=fields[:limit], more=len(fields) > limit)
