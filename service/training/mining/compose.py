"""Rows by one strategy: from neighbours, BM25, siblings and draws, or from levels."""

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from service.datasets import LevelledCollection, TrainingRow
from service.training.batch_texts import passage_text, without_prefix
from service.training.mining import rankings
from service.training.mining.choice import Choice, Mined, MiningReport, Ranking, choose
from service.training.mining.examples import Examples, QueryFor
from service.types import Vectors

_SOURCES: Mapping[str, Sequence[str]] = {
    "dense": ("dense",),
    "bm25": ("bm25",),
    "both": ("dense", "bm25"),
    "mixed": ("dense", "bm25", "siblings", "random"),
    "random": ("random",),
}


def mine_smart(levelled: LevelledCollection, *, seed: int = 0) -> Mined:
    """To each correct document one hard negative (*related*) and one easy one (*irrelevant*).

    Both are drawn at random, with `seed` and the ids, and stand in that order. Queries without a
    document at one of the two levels give no row.
    """
    report = MiningReport(levelled.name, "smart", queries=len(levelled.queries))
    report.passages = len(levelled.documents)
    texts = {id_: passage_text(document) for id_, document in levelled.documents.items()}
    rows = []
    for query in levelled.queries:
        right = {texts[id_] for id_ in query.correct}
        asked, correct = without_prefix(query.query), [i for i in query.correct if texts[i]]
        hard, easy = (_others(ids, texts, right) for ids in (query.related, query.irrelevant))
        report.pairs += len(correct)
        if not asked or not hard or not easy:
            report.empty += len(correct)
            continue
        for id_ in correct:
            draw = random.Random(f"{seed}:{query.query_id}:{id_}")  # noqa: S311
            negatives = (draw.choice(hard), draw.choice(easy))
            rows.append(TrainingRow(asked, (texts[id_],), negatives))
            report.rejected["not needed"] += len(hard) + len(easy) - 2
    report.rows, report.negatives = len(rows), 2 * len(rows)
    return Mined(rows, report)


def mine(
    strategy: str,
    examples: Examples,
    choice: Choice,
    vectors: tuple[Vectors, Vectors] | None = None,
    query_for: QueryFor | None = None,
) -> Mined:
    """Rows whose negatives come from the strategy's sources in turn, each with ranks of its own.

    `strategy` is `dense` (nearest passages by inner product), `bm25`, `both` of these, `random`
    (any passage, without a score), or `mixed`: these three and siblings, which are passages of
    the right ones' articles in a drawn order.

    `examples` come from `from_collection` or `from_rows`. `vectors` are those of their queries
    (n, dim) and passages (m, dim), float32, of unit length. With them all scores are cosines, so
    that the margin holds for what BM25 found as well. `query_for` is asked for the query of a
    negative that no label gives, where the choice wants `negative_queries`.
    """
    found = [_rankings(source, examples, choice, vectors) for source in _SOURCES[strategy]]
    if strategy == "random":
        choice = replace(choice, rank_min=1)  # ranks of a draw do not matter
    return choose(examples, found, choice, strategy=strategy, query_for=query_for)


def _rankings(
    source: str, examples: Examples, choice: Choice, vectors: tuple[Vectors, Vectors] | None
) -> Iterable[Ranking]:
    if source == "random":
        return rankings.rank_random(examples, choice)
    if source == "dense":
        if vectors is None:
            raise ValueError("the nearest passages are found by vectors")
        return rankings.rank_dense(*vectors, examples, choice)
    rank = rankings.rank_bm25 if source == "bm25" else rankings.rank_siblings
    found: Iterable[Ranking] = rank(examples, choice)
    return found if vectors is None else rankings.rescored(found, *vectors, examples)


def _others(ids: Sequence[str], texts: Mapping[str, str], right: set[str]) -> list[str]:
    return sorted({texts[id_] for id_ in ids} - right - {""})
