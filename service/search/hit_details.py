"""What a search adds to its hits when it is asked to: highlights and explanations."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

from service.errors import DeadlineError, ModelError
from service.scheduling.gate import Deadline
from service.search.explainer import Explainer
from service.search.highlights import highlights
from service.search.query import Hit, Query
from service.search.second_stage import Read, SecondStage
from service.types import EncodedQuery, TokenMatches

BY_WORDS = "highlights come from words alone: no reranker of this server compares tokens"
_TOGETHER = 10
"""Hits between which no other search gets the thread: about 30 milliseconds."""

INCOMPLETE = "highlights and explanations are missing: {}"


async def with_details(
    stage: SecondStage,
    read: Read,
    query: Query,
    encoded: EncodedQuery,
    hits: Sequence[Hit],
    explainer: Explainer | None,
    deadline: Deadline,
) -> tuple[list[Hit], list[str]]:
    """The hits, also those of their groups, with what the query asks for, and warnings.

    `read` gives what the reranker reads of them; without an `explainer` none is explained.

    Hits that cannot have it in time stay as they are. The work is in the reranker's thread, a few
    hits at a time.
    """
    detail = partial(
        _with_details, stage, read, query, encoded, explainer if query.explain else None
    )
    flat = [one for hit in hits for one in (hit, *(hit.group.hits if hit.group else ()))]
    done: list[Hit] = []
    warnings = []
    if query.highlights and not (stage.reranker and stage.reranker.reads == "states"):
        warnings.append(BY_WORDS)
    try:
        for start in range(0, len(flat), _TOGETHER):
            done += await stage.run(deadline, partial(detail, flat[start : start + _TOGETHER]))
    except DeadlineError:
        warnings.append(INCOMPLETE.format("the time ran out"))
    except ModelError:
        warnings.append(INCOMPLETE.format("the reranker failed"))
    return _grouped(hits, iter([*done, *flat[len(done) :]])), warnings


def _grouped(hits: Sequence[Hit], flat: Iterator[Hit]) -> list[Hit]:
    """The hits of `flat`, which also has those of groups, grouped as in `hits`."""
    grouped = []
    for hit in hits:
        best, group = next(flat), hit.group
        if group:
            others = [next(flat) for _ in group.hits]
            best = replace(best, group=group._replace(hits=others))
        grouped.append(best)
    return grouped


def _with_details(
    stage: SecondStage,
    read: Read,
    query: Query,
    encoded: EncodedQuery,
    explainer: Explainer | None,
    hits: Sequence[Hit],
) -> list[Hit]:
    # Their texts are cleaned once.
    passages = [replace(one, source=one.text) for one in read([hit.found for hit in hits])]
    found = stage.reranker.matches(encoded, passages) if stage.reranker else None
    every: Sequence[TokenMatches | None] = found or [None] * len(hits)
    detailed = []
    for hit, passage, matches in zip(hits, passages, every, strict=True):
        window, text = encoded.windows[passage.window], passage.text
        marked = explained = None
        if query.highlights:
            marked = highlights(window, hit.text, text, matches, query.highlights)
        if explainer:
            explained = explainer.of(hit.found, window, text, matches)
        detailed.append(replace(hit, highlights=marked, explanation=explained))
    return detailed
