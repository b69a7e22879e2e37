"""`/labels` and `/feedback`: judgements of hits, stored apart from the documents."""

import asyncio
from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Query, Response
from fastapi.responses import StreamingResponse

from service.api.archives import archive_answer, content_of, named
from service.api.openapi import FULL, Responses, failures
from service.api.route_rules import Route, Rules
from service.api.schemas.label_schemas import (
    GRADES,
    QUERY_ID,
    QUERY_ID_PATTERN,
    DeletedLabelsBody,
    FeedbackRequest,
    LabelCountsBody,
    LabelledQueryBody,
    LabelsBody,
    LabelsRequest,
    StoredLabelsBody,
)
from service.api.state import Asked, AskedDep, CollectionDep, ServerState, StateDep
from service.documents.rows import check_filled
from service.engine.label_export import MEDIA_TYPE, zipped
from service.engine.live_collection import LiveCollection
from service.errors import InvalidInputError
from service.store.label_store import Judged, LabelKind, LabelStore

router = APIRouter(tags=["labels"], route_class=Route)

MOST_QUERIES = 1000
"""In one page."""

_WRITES = Rules(scope="write", narrowest="documents", gate="writes", field_depth=3)
_SENDS = Rules(scope="search", narrowest="documents", gate="writes", field_depth=3)
_READS = Rules(scope="write", narrowest="collections", gate="reads")
_DELETES = Rules(scope="write", narrowest="collections", gate="writes")
_EXPORTS = Rules(narrowest="collections")

_ZIP: Responses = {
    200: {
        "description": "A zip with `corpus.jsonl`, `queries.jsonl` and `qrels.tsv`.",
        **named("main-labels.zip"),
        **content_of(MEDIA_TYPE),
    }
}
_FULL_SET = failures({409: "The set is full."})
_GONE = failures({404: "There is no such query or collection."})

LimitDep = Annotated[int, Query(ge=1, le=MOST_QUERIES, description="Most queries in a page.")]
CursorDep = Annotated[
    str | None, Query(pattern=QUERY_ID_PATTERN, description="From the previous page.")
]
QueryIdDep = Annotated[
    str | None,
    Query(
        pattern=QUERY_ID_PATTERN,
        description="Delete this query only; without it, everything.",
        examples=[QUERY_ID],
    ),
]


@router.post("/labels", summary="Label hits", responses={**_FULL_SET, **FULL})
@_WRITES
async def put_labels(body: LabelsRequest, asked: AskedDep) -> StoredLabelsBody:
    """Say which hits of a query are relevant. A new judgement of a hit replaces the old one.

    Evaluation and calibration read these labels.
    """
    grades = {str(hit.id): hit.judgement for hit in body.hits}
    judged = [Judged(id_, GRADES[word]) for id_, word in grades.items() if word is not None]
    removed = [id_ for id_, word in grades.items() if word is None]

    def work() -> StoredLabelsBody:
        labels = _checked(asked, body.query, [str(hit.id) for hit in body.hits])
        if judged:
            labels.add("labels", body.query, judged)
        if removed:
            labels.remove("labels", body.query, removed)
        return StoredLabelsBody(stored=len(judged), removed=len(removed))

    return await asyncio.to_thread(work)


@router.post("/feedback", summary="Report clicks and judgements", responses={**_FULL_SET, **FULL})
@_SENDS
async def put_feedback(body: FeedbackRequest, asked: AskedDep) -> StoredLabelsBody:
    """Tell what a user did with the hits of a search. It is stored apart from `/labels`.

    Clicks say less than judgements: people click what is shown first. See `docs/labels.md`.
    """
    judged = [
        Judged(
            str(hit.id),
            None if hit.judgement is None else GRADES[hit.judgement],
            int(hit.clicked),
            hit.rank,
        )
        for hit in body.hits
    ]

    def work() -> StoredLabelsBody:
        labels = _checked(asked, body.query, [one.document for one in judged])
        labels.add("feedback", body.query, judged, body.request_id)
        return StoredLabelsBody(stored=len(judged), removed=0)

    return await asyncio.to_thread(work)


@router.get("/labels", response_model=LabelsBody, summary="List labels")
@_READS
async def list_labels(
    collection: CollectionDep, limit: LimitDep = 100, cursor: CursorDep = None
) -> Response:
    """The labelled queries, oldest first, with how much there is in all."""
    return await asyncio.to_thread(_page, collection, "labels", limit, cursor)


@router.get("/feedback", response_model=LabelsBody, summary="List feedback")
@_READS
async def list_feedback(
    collection: CollectionDep, limit: LimitDep = 100, cursor: CursorDep = None
) -> Response:
    """As `GET /labels`."""
    return await asyncio.to_thread(_page, collection, "feedback", limit, cursor)


@router.delete("/labels", summary="Delete labels", responses=_GONE)
@_DELETES
async def delete_labels(
    collection: CollectionDep, query_id: QueryIdDep = None
) -> DeletedLabelsBody:
    """Delete all labels, or those of one query."""
    return await asyncio.to_thread(_delete, collection, "labels", query_id)


@router.delete("/feedback", summary="Delete feedback", responses=_GONE)
@_DELETES
async def delete_feedback(
    collection: CollectionDep, query_id: QueryIdDep = None
) -> DeletedLabelsBody:
    """As `DELETE /labels`."""
    return await asyncio.to_thread(_delete, collection, "feedback", query_id)


@router.get(
    "/labels/export",
    summary="Labels as a BEIR folder",
    response_class=StreamingResponse,
    responses=_ZIP,
)
@_EXPORTS
async def read_labels(collection: CollectionDep, state: StateDep) -> StreamingResponse:
    """A zip of a folder that `secondpass evaluate` and `secondpass calibrate` read, with all
    documents. Judgements of documents that are gone are left out.
    """
    return await _export(collection, state, "labels")


@router.get(
    "/feedback/export",
    summary="Feedback as a BEIR folder",
    response_class=StreamingResponse,
    responses=_ZIP,
)
@_EXPORTS
async def read_feedback(collection: CollectionDep, state: StateDep) -> StreamingResponse:
    """As `GET /labels/export`. A click without a judgement has the grade 1."""
    return await _export(collection, state, "feedback")


def _checked(asked: Asked, query: str, ids: Sequence[str]) -> LabelStore:
    """The labels of the collection. Raises `InvalidInputError` for what cannot be labelled.

    A document that the key may not see is as one that is not there.
    """
    try:
        check_filled(query, "query", asked.collection.searcher.limits.query_chars)
    except InvalidInputError as error:
        raise InvalidInputError(f"query {error}", "query") from error
    with asked.collection.folder.store.view() as view:
        there = view.satisfying(set(ids), asked.caller.within)
    for place, id_ in enumerate(ids):
        if id_ not in there:
            field = f"hits.{place}.id"
            raise InvalidInputError(f"{field}: there is no document with this id", field)
    return asked.collection.folder.labels


async def _export(
    collection: LiveCollection, state: ServerState, kind: LabelKind
) -> StreamingResponse:
    pieces, file = zipped(collection.folder, kind), f"{collection.name}-{kind}.zip"
    return await archive_answer(pieces, state, file, MEDIA_TYPE)


def _page(collection: LiveCollection, kind: LabelKind, limit: int, cursor: str | None) -> Response:
    # Written here, in a thread: a page may have all 100,000 judged hits.
    labels = collection.folder.labels
    found = labels.queries(kind, int(cursor[1:]) if cursor else 0, limit + 1)
    page, more = found[:limit], len(found) > limit
    body = LabelsBody(
        queries=list(map(LabelledQueryBody.of, page)),
        counts=LabelCountsBody.of(labels.counts(kind)),
        cursor=page[-1].id if more else None,
    )
    return Response(body.model_dump_json(), media_type="application/json")


def _delete(collection: LiveCollection, kind: LabelKind, query_id: str | None) -> DeletedLabelsBody:
    number = int(query_id[1:]) if query_id else None
    return DeletedLabelsBody(deleted=collection.folder.labels.delete(kind, number))
