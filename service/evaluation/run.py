"""Ask every query of a collection, once in each stage's order."""

import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from service.types import RerankStatus


@dataclass(frozen=True, slots=True)
class ScoredHit:
    """A hit as far as evaluation looks at it. Scores as in an answer; None where not scored.

    `score` is what ordered it, None where nobody asked.
    """

    document: str
    retrieval_score: float
    rerank_score: float | None
    probability: float | None
    score: float | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer: hits best first, what became of the rerank, the language that was seen.

    `reused` says that some of its logits came from the disk, so that its time means nothing.
    """

    hits: list[ScoredHit]
    status: RerankStatus
    language: str
    milliseconds: float
    reused: bool = False


Ask = Callable[[str, bool], Answer]
"""(query text, rerank?) -> the answer."""


@dataclass(slots=True)
class Runs:
    """Both stages' answers by query id."""

    retrieval: dict[str, Answer] = field(default_factory=dict)
    reranked: dict[str, Answer] = field(default_factory=dict)


def ask_all(
    queries: Mapping[str, str], ask: Ask, on_progress: Callable[[int], None] = lambda _n: None
) -> Runs:
    """Ask each query twice: without the rerank and with it."""
    runs = Runs()
    for number, (query_id, text) in enumerate(queries.items(), start=1):
        runs.retrieval[query_id] = ask(text, False)
        runs.reranked[query_id] = ask(text, True)
        on_progress(number)
    return runs


def ranking(answers: Mapping[str, Answer]) -> dict[str, list[str]]:
    """Query id -> document ids, best first."""
    return {query: [hit.document for hit in answer.hits] for query, answer in answers.items()}


def scored_run(answers: Mapping[str, Answer]) -> dict[str, list[tuple[str, float]]]:
    """Query id -> (document id, what ordered it), best first, as a run file has them."""
    return {
        query: [
            (hit.document, hit.retrieval_score if hit.score is None else hit.score)
            for hit in answer.hits
        ]
        for query, answer in answers.items()
    }


def sample(ids: Iterable[str], count: int | None, seed: int) -> list[str]:
    """`count` of the ids (all for None), drawn with a seed that does not depend on their order."""
    ordered = sorted(ids)
    if count is None or count >= len(ordered):
        return ordered
    return sorted(random.Random(seed).sample(ordered, count))  # noqa: S311 - no secret
