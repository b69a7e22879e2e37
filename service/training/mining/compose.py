"""Rows made of levels and of draws: smart, random, and dense beside BM25."""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from service.collection import LevelledCollection, TrainingRow
from service.training.mining.choice import Choice, Mined, Ranking, choose
from service.training.mining.examples import Examples
from service.training.mining.lexical import rank_bm25
from service.training.mining.neighbours import Encode, rank_dense, rescored
from service.training.mining.queries import QueryFor
from service.training.mining.report import MiningReport
from service.training.texts import passage_text, without_prefix


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


def mine_random(
    examples: Examples,
    choice: Choice = Choice(),  # noqa: B008
    *,
    query_for: QueryFor | None = None,
) -> Mined:
    """Rows whose negatives are drawn from all wrong passages; ranks and scores do not matter."""
    anywhere, drawn = replace(choice, rank_min=1), rank_random(examples, choice)
    return choose(examples, [drawn], anywhere, strategy="random", query_for=query_for)


def rank_random(examples: Examples, choice: Choice) -> Iterator[Ranking]:
    """Each query's draw, when its turn comes: all of them would not fit into memory."""
    for query, positives in zip(examples.queries, examples.positives, strict=True):
        count = min(len(examples.passages), choice.rank_max + len(positives))
        draw = random.Random(f"{choice.seed}:{query}")  # noqa: S311
        places = np.array(draw.sample(range(len(examples.passages)), count), np.int64)
        nothing = np.full(len(positives), np.nan)
        yield Ranking(places, np.full(count, np.nan), nothing)


def mine_both(
    encode_queries: Encode,
    encode_passages: Encode,
    examples: Examples,
    choice: Choice = Choice(),  # noqa: B008
    *,
    query_for: QueryFor | None = None,
) -> Mined:
    """Rows whose negatives come from the model's neighbours and from BM25 in turn.

    Each list has its own ranks; all scores are the model's cosines, so that the margin holds for
    what BM25 found as well. Arguments as for `mine_dense`.
    """
    queries, passages = encode_queries(examples.queries), encode_passages(examples.passages)
    dense = rank_dense(queries, passages, examples, choice)
    lexical = rescored(rank_bm25(examples, choice), queries, passages, examples)
    return choose(examples, [dense, lexical], choice, strategy="both", query_for=query_for)


def _others(ids: Sequence[str], texts: Mapping[str, str], right: set[str]) -> list[str]:
    """Distinct texts of documents that none of the right ones has, nor is empty."""
    return sorted({texts[id_] for id_ in ids} - right - {""})
