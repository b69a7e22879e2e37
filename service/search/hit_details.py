"""What a search adds to its hits when it is asked to: highlights and explanations."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from service.errors import DeadlineError, ModelError
from service.scheduling.gate import Deadline
from service.search.explainer import Explainer
from service.search.highlights import highlights
from service.search.query import Hit, Query
from service.search.retriever import Found
from service.search.second_stage import Ranking, SecondStage
from service.types import EncodedQuery

BY_WORDS = "highlights come from words alone: no reranker of this server compares tokens"
INCOMPLETE = "highlights and explanations are missing: {}"


async def with_details(
    stage: SecondStage,
    query: Query,
    encoded: EncodedQuery,
    found: Sequence[Found],
    ranking: Ranking,
    hits: Sequence[Hit],
    deadline: Deadline,
) -> tuple[list[Hit], list[str]]:
    """The hits with what the query asks for, and warnings.

    Hits that cannot have it in time stay as they are. The work is in the reranker's thread, one
    hit at a time.
    """
    explainer = Explainer(found, ranking) if query.explain else None
    detail = partial(_with_details, stage, query, encoded, explainer)
    done: list[Hit] = []
    warnings = []
    if query.highlights and not (stage.reranker and stage.reranker.reads == "states"):
        warnings.append(BY_WORDS)
    try:
        for hit in hits:
            done += [await stage.run(deadline, partial(detail, hit))]
    except DeadlineError:
        warnings.append(INCOMPLETE.format("the time ran out"))
    except ModelError:
        warnings.append(INCOMPLETE.format("the reranker failed"))
    return [*done, *hits[len(done) :]], warnings


def _with_details(
    stage: SecondStage, query: Query, encoded: EncodedQuery, explainer: Explainer | None, hit: Hit
) -> Hit:
    (passage,) = stage.passages([hit.found])
    matches = stage.reranker.matches(encoded, passage) if stage.reranker else None
    window, read = encoded.windows[passage.window], passage.text
    marked = explained = None
    if query.highlights:
        marked = highlights(window, hit.text, read, matches, query.highlights)
    if explainer:
        explained = explainer.of(hit.found, window, read, matches)
    return replace(hit, highlights=marked, explanation=explained)
