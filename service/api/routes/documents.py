"""`/documents`: store, read, list and delete documents."""

from contextlib import suppress
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Query, Response

from service.api.body import Body
from service.api.document_requests import (
    AfterDep,
    ConditionDep,
    FiltersDep,
    IdDep,
    IfChanged,
    IfMatch,
    PatienceDep,
    cursor_after,
    etag,
    expectation,
    is_known,
    read_batch,
    sentence,
)
from service.api.openapi import FULL, failures, headers
from service.api.route_rules import Route, Rules
from service.api.schemas.common import written
from service.api.schemas.document_schemas import (
    MOST_DOCUMENTS,
    DeletedBody,
    DeleteDocumentsRequest,
    DocumentsPage,
    DocumentsRequest,
    DocumentsResponse,
    MarkBody,
    PatchRequest,
    RawDocument,
    StoredDocumentBody,
    WrittenBody,
)
from service.api.state import (
    Asked,
    AskedDep,
    CallerDep,
    CollectionDep,
    PermitDep,
    ServerState,
    StateDep,
)
from service.documents.jsonl import parse_document
from service.documents.rows import check_id
from service.errors import DeadlineError, NotFoundError
from service.scheduling.gate import Deadline
from service.store.filter_grammar import both
from service.types import StoredDocument, Written

router = APIRouter(prefix="/documents", tags=["documents"], route_class=Route)

_DOCUMENTS = Body("max_documents_body_bytes")
_CHANGED = failures({412: "`If-Match` or `If-None-Match` is not met."})
_GONE = failures({404: "There is no such document or collection."})
_ETAG = headers("ETag", "The version in quotes.", '"7"')


@router.put(
    "/{id:rest}",
    summary="Store a document",
    responses={
        200: {"description": "An existing document was replaced.", **_ETAG},
        201: {"model": WrittenBody, "description": "A new document was stored.", **_ETAG},
        **_CHANGED,
        **FULL,
    },
)
@Rules(scope="write", narrowest="documents", body=_DOCUMENTS, gate="writes")
async def put_document(
    id_: IdDep,
    body: RawDocument,
    response: Response,
    asked: AskedDep,
    condition: ConditionDep,
    patience: PatienceDep,
    permit: PermitDep,
) -> WrittenBody:
    """Store the document; it replaces the one with the same id.

    The document is on disk when this answers, and searches see it soon after (with `wait`: before).
    Sending the same document again changes nothing, not even the version.
    """
    collection, state = asked.collection, asked.state
    with sentence():
        document = parse_document(body, state.settings.document_limits, id_)
    deadline = _deadline(state)
    (written,) = await collection.documents.put(
        [document], deadline, {id_: condition} if condition else None, asked.caller.within
    )
    if patience.left():
        permit.close()  # a request that waits no longer writes
        await collection.documents.wait([written.version], patience, deadline)
    response.status_code = 201 if written.created else 200
    response.headers["ETag"] = etag(written.version)
    state.metrics.observe_documents(stored=1)
    return await _outcome(asked, written)


@router.patch(
    "/{id:rest}",
    summary="Change a document's metadata",
    responses={
        200: {"description": "The document was changed.", **_ETAG},
        **_GONE,
        **_CHANGED,
        **FULL,
    },
)
@Rules(scope="write", narrowest="documents", gate="writes", field_depth=2)
async def patch_document(
    id_: IdDep,
    body: PatchRequest,
    response: Response,
    asked: AskedDep,
    if_match: IfMatch = None,
) -> WrittenBody:
    """Merge `metadata` into the document's own (JSON Merge Patch, RFC 7396): null removes a field.

    Title and text stay, nothing is encoded again, and searches see the change at once. If the
    document's text still waits to be encoded, they see both together.
    """
    documents, within = asked.collection.documents, asked.caller.within
    condition, deadline = expectation(if_match), _deadline(asked.state)
    with sentence():
        written = await documents.patch(id_, body.metadata, deadline, condition, within)
    response.headers["ETag"] = etag(written.version)
    asked.state.metrics.observe_documents(stored=1)
    return await _outcome(asked, written)


@router.post("", summary="Store up to 1,000 documents", responses=FULL)
@Rules(scope="write", narrowest="documents", body=_DOCUMENTS, gate="writes")
async def put_documents(
    body: DocumentsRequest,
    collection: CollectionDep,
    state: StateDep,
    patience: PatienceDep,
    permit: PermitDep,
    caller: CallerDep,
) -> DocumentsResponse:
    """Store all valid documents in one transaction; the answer names each other one.

    As `PUT` for each: they are on disk when this answers, and sending them again does no harm.
    """
    deadline = _deadline(state)
    # 64 MiB of metadata take a second to check.
    read = partial(read_batch, body.documents, state.settings.document_limits)
    batch = await collection.documents.prepare(deadline, read)
    indexed = True
    if batch.documents:
        written = await collection.documents.put(batch.documents, deadline, within=caller.within)
        versions = {one.version for one in written}
        permit.close()  # a request that waits no longer writes
        indexed = await collection.documents.wait(versions, patience, deadline)
        state.metrics.observe_documents(stored=len(written))
    return DocumentsResponse(
        accepted=len(batch.documents),
        refused=batch.refused,
        replaced=batch.replaced,
        indexed=indexed,
    )


@router.post("/delete", summary="Delete many documents", responses=FULL)
@Rules(scope="write", narrowest="documents", body=_DOCUMENTS, gate="writes", field_depth=2)
async def delete_documents(
    body: DeleteDocumentsRequest, collection: CollectionDep, state: StateDep, caller: CallerDep
) -> DeletedBody:
    """Delete by ids or by filters; searches no longer see the documents.

    Filters delete a thousand documents at a time: after a timeout (504), ask again for the rest.
    """
    deadline = _deadline(state)
    if body.filters is not None:
        deleted = await collection.documents.delete_matching(
            both(caller.within, body.filters), deadline
        )
    else:
        with sentence():
            ids = {check_id(id_, f"ids.{place}") for place, id_ in enumerate(body.ids or [])}
        deleted = await collection.documents.delete(ids, deadline, within=caller.within)
    state.metrics.observe_documents(deleted=deleted)
    return DeletedBody(deleted=deleted)


@router.get(
    "/{id:rest}",
    summary="Read a document",
    response_model=StoredDocumentBody,
    responses={
        200: {"description": "The document.", **_ETAG},
        304: {"description": "The version is that of `If-None-Match`.", **_ETAG},
        **_GONE,
    },
)
@Rules(scope="search", narrowest="documents", gate="reads")
async def get_document(
    id_: IdDep,
    response: Response,
    collection: CollectionDep,
    state: StateDep,
    caller: CallerDep,
    if_none_match: IfChanged = None,
) -> StoredDocumentBody | Response:
    """The document as it was last written, even if searches do not see that version yet."""
    stored = await collection.documents.get(id_, _deadline(state), caller.within)
    if stored is None:
        raise NotFoundError("there is no document with this id")
    response.headers["ETag"] = etag(stored.version)
    if is_known(if_none_match, stored.version):
        return Response(status_code=304, headers={"ETag": etag(stored.version)})
    return _stored(stored)


@router.get("", summary="List documents", response_model=DocumentsPage)
@Rules(scope="search", narrowest="documents", gate="reads")
async def list_documents(
    collection: CollectionDep,
    state: StateDep,
    after: AfterDep,
    filters: FiltersDep,
    caller: CallerDep,
    limit: Annotated[
        int, Query(ge=1, le=MOST_DOCUMENTS, description="Most documents in a page.")
    ] = 100,
) -> Response:
    """Documents in the order of their ids, as they were last written.

    A document that is written or deleted meanwhile may be missing; every other one is listed once.
    """
    within = both(caller.within, filters)
    page = await collection.documents.page(within, after, limit, _deadline(state))
    cursor = cursor_after(page.after) if page.after is not None else None
    whole = DocumentsPage(documents=[], cursor=cursor).model_dump_json().encode()
    rows = (_stored(document).model_dump_json().encode() for document in page.documents)
    content = await written(whole, "documents", rows)  # `Documents.page` limits the size
    return Response(content, media_type="application/json")


@router.delete(
    "/{id:rest}", status_code=204, summary="Delete a document", responses={**_CHANGED, **FULL}
)
@Rules(scope="write", narrowest="documents", gate="writes")
async def delete_document(
    id_: IdDep,
    collection: CollectionDep,
    state: StateDep,
    caller: CallerDep,
    if_match: IfMatch = None,
) -> None:
    """Delete it; searches no longer see it. 204 also if there is no such document."""
    condition = expectation(if_match)
    deleted = await collection.documents.delete(
        [id_], _deadline(state), {id_: condition} if condition else None, caller.within
    )
    state.metrics.observe_documents(deleted=deleted)


async def _outcome(asked: Asked, written: Written) -> WrittenBody:
    """What became of a document, as far as that can be read in time."""
    body = WrittenBody(id=written.id, version=written.version, indexed=False)
    with suppress(DeadlineError):  # it is written all the same
        stored = await asked.collection.documents.get(written.id, _deadline(asked.state))
        if stored and stored.version == written.version:  # no other request came in between
            body.indexed, body.problem = stored.indexed, stored.problem
    return body


def _deadline(state: ServerState) -> Deadline:
    return Deadline(state.settings.timeout_ms / 1000)


def _stored(stored: StoredDocument) -> StoredDocumentBody:
    document, version, indexed, problem = stored
    fields = {name: getattr(document, name) for name in document.__slots__}
    fields["outline"] = [
        MarkBody(start=start, page=page, headings=list(headings))
        for start, page, headings in document.outline
    ]
    return StoredDocumentBody(**fields, version=version, indexed=indexed, problem=problem)
