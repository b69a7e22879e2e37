"""`POST /search` and `POST /search/batch`."""

import asyncio
import json
from collections.abc import Mapping
from operator import attrgetter
from typing import Any

from fastapi import APIRouter, Request, Response

from service.api.error_table import described
from service.api.openapi import TIMED, failures
from service.api.route_rules import Route, Rules
from service.api.schemas import common
from service.api.schemas.common import as_json, server_timing, written
from service.api.schemas.detail_schemas import METADATA
from service.api.schemas.order_schemas import OrderedHit
from service.api.schemas.search_schemas import (
    HitBody,
    IndexBody,
    SearchBatchRequest,
    SearchBatchResponse,
    SearchRequest,
    SearchResponse,
)
from service.api.searched_collections import FIELD, searched
from service.api.state import Asked, AskedDep
from service.errors import AnswerTooLargeError, InvalidInputError
from service.search.query import Hit, Query, Result, Timings
from service.store.filter_grammar import both
from service.types import FacetsAsked

router = APIRouter(tags=["search"], route_class=Route)

_SOMETIMES = {*OrderedHit.model_fields, "group", "next_cursor"}
"""Fields that only some requests ask for."""

_FIELDS = tuple(name for name in SearchResponse.model_fields if name not in _SOMETIMES)
_HIT_FIELDS = tuple(name for name in HitBody.model_fields if name not in _SOMETIMES)
_values_of = attrgetter(*_HIT_FIELDS)


_ANSWERS = TIMED | failures({404: "A collection that the request names does not exist."})


@router.post("/search", response_model=SearchResponse, summary="Search", responses=_ANSWERS)
@Rules(scope="search", narrowest="documents", field_depth=3)
async def search(body: SearchRequest, request: Request) -> Response:
    """Recall passages with the bi-encoder, rerank them, and say how sure each hit is.

    Hits are ordered by score, then id. Until the index changes, the same request gives the same
    answer, up to the last digit of its scores. `cached` says if the answer is an earlier search's.
    """
    asked, source = await searched(request, body.collections)
    result = await asked.collection.searcher.search(_query(body, asked), source)
    content = await _entry(result, body, asked, common.MOST_BYTES)
    return _answer(content, result.timings_ms)


@router.post(
    "/search/batch",
    response_model=SearchBatchResponse,
    summary="Several searches at once",
    responses=TIMED,
)
@Rules(scope="search", narrowest="documents", field_depth=5)
async def search_batch(body: SearchBatchRequest, asked: AskedDep) -> Response:
    """Answer several searches, whose queries the bi-encoder encodes together.

    Each result is the answer of `POST /search`, up to the last digit of its scores. Queries fail
    independently. A malformed request is refused as a whole: 422 names the entry. If there is no
    room for the request, the answer is 429.
    """
    most = asked.state.settings.max_batch_queries
    if len(body.queries) > most:
        raise InvalidInputError(f"a request may have at most {most} queries", "queries")
    for place, query in enumerate(body.queries):
        if query.collections is not None:
            raise InvalidInputError("a batch searches one collection", f"queries.{place}.{FIELD}")
    asked.state.keys.charge(asked.caller.key, len(body.queries) - 1)
    timings = Timings()
    queries, left = iter(body.queries), common.MOST_BYTES

    async def take(found: Result | Exception) -> bytes:
        nonlocal left
        try:
            entry = await _entry(found, next(queries), asked, left)
        except AnswerTooLargeError as error:
            return _failed(error, asked.request_id)
        left -= len(entry)
        await asyncio.sleep(0)  # the entries are megabytes: other requests get their turn
        return entry

    searcher = asked.collection.searcher
    entries = await searcher.search_each([_query(q, asked) for q in body.queries], take)
    total = timings.finish()
    rest = json.dumps({"timings_ms": total, "request_id": asked.request_id}).encode()
    return _answer(b'{"results":[' + b",".join(entries) + b"]," + rest[1:], total)


async def _entry(found: Result | Exception, query: SearchRequest, asked: Asked, most: int) -> bytes:
    # Written here, because FastAPI would validate the whole answer again.
    if isinstance(found, Exception):
        return _failed(found, asked.request_id)
    asked.state.metrics.observe_search(found)
    hits = (_hit(hit, query) for hit in found.hits)
    return await written(_response(found, query, asked), "hits", hits, most)


def _failed(error: Exception, request_id: str) -> bytes:
    return described(error, request_id)[1].model_dump_json(exclude_none=True).encode()


def _hit(hit: Hit, query: SearchRequest) -> bytes:
    """A `HitBody` as JSON."""
    return as_json(_body(hit, query))


def _body(hit: Hit, query: SearchRequest) -> dict[str, Any]:
    body = dict(zip(_HIT_FIELDS, _values_of(hit), strict=True))
    if not query.return_text:
        body["text"] = None
    if fields := query.fields:
        body["title"] = hit.title if fields.shows("title") else ""
        body["text"] = body["text"] if fields.shows("text") else None
        body["metadata"] = {
            name: value for name, value in hit.metadata.items() if fields.shows(METADATA + name)
        }
    if query.collections is not None:
        body["collection"] = hit.collection
    if query.boost:
        body["boost"] = hit.boost
    if query.diversity:
        body |= {"also": [one._asdict() for one in hit.also], "folded": hit.folded}
    if (group := hit.group) is not None:
        others = [_body(one, query) for one in group.hits]
        body["group"] = {"value": group.value, "size": group.size, "hits": others}
    return body


def _query(body: SearchRequest, asked: Asked) -> Query:
    fields = dict(body)
    within = asked.caller.within
    fields["filters"] = both(within, body.filters)
    names = tuple(dict.fromkeys(body.facets))
    fields["facets"] = FacetsAsked(names, body.facet_values) if names else None
    fields["boost"] = tuple(one.boost() for one in body.boost)
    if _has_pages(body):
        fields["owner"] = json.dumps([asked.caller.client, within], sort_keys=True)
    for name in ("return_text", "fields", "facet_values", FIELD):
        del fields[name]
    return Query(**fields)


def _has_pages(body: SearchRequest) -> bool:
    return body.cursor is not None or body.offset is not None


def _answer(content: bytes, timings_ms: Mapping[str, float]) -> Response:
    headers = {"Server-Timing": server_timing(timings_ms)}
    return Response(content, headers=headers, media_type="application/json")


def _response(result: Result, query: SearchRequest, asked: Asked) -> bytes:
    """A `SearchResponse` without its hits as JSON."""
    index = {name: getattr(result, name) for name in IndexBody.model_fields}
    if asked.caller.within:
        index["documents"] = None
    apart = {"hits": [], "index": index, "request_id": asked.request_id}
    body = {name: apart[name] if name in apart else getattr(result, name) for name in _FIELDS}
    if _has_pages(query):
        body["next_cursor"] = result.next_cursor
    return as_json(body)
