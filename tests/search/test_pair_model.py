"""Pairs of queries: verdicts that depend on nothing but the pair."""

import asyncio
import threading
import time

import numpy as np
import pytest

from service.errors import DeadlineError, OverloadedError, UnprocessableTextError
from service.scheduling.gate import Limits
from service.search.pair_model import Comparison, PairModel, cosine
from tests.fixtures.pairs import LIMITS, THRESHOLD, PairEncoder

PAIRS = [
    ("two tides a day", "a day two tides"),
    ("two tides a day", "a worn chain"),
    ("the face of the moon", "the face the moon shows"),
    ("chain", "sprockets"),
]


def compare(model: PairModel, pairs: list[tuple[str, str]], **options: int) -> Comparison:
    try:
        return asyncio.run(model.compare(pairs, **options))
    finally:
        model.close()


def pair_model(threshold: float = THRESHOLD, limits: Limits = LIMITS, **options) -> PairModel:
    return PairModel(PairEncoder(**options), threshold, limits)


def test_a_pair_is_the_same_from_the_threshold_on() -> None:
    verdicts = compare(pair_model(), PAIRS).verdicts
    assert [verdict.same for verdict in verdicts] == [True, False, True, False]
    assert verdicts[0].similarity == 1.0
    exactly = verdicts[2].similarity
    assert compare(pair_model(exactly), PAIRS).verdicts[2].same
    assert not compare(pair_model(exactly + 1e-6), PAIRS).verdicts[2].same


def test_alone_or_among_others_and_either_way_round_it_is_one_verdict() -> None:
    together = compare(pair_model(), PAIRS).verdicts
    for (a, b), verdict in zip(PAIRS, together, strict=True):
        assert compare(pair_model(), [(a, b)]).verdicts == [verdict]
        assert compare(pair_model(), [(b, a)]).verdicts == [verdict]


def test_a_text_that_comes_again_is_encoded_once_and_none_beside_another() -> None:
    model = pair_model()
    compare(model, [*PAIRS, *PAIRS])
    assert model.encoder.batches == [1] * len({text for pair in PAIRS for text in pair})


def test_queries_are_cleaned_and_lose_typed_prefixes() -> None:
    verdicts = compare(pair_model(), [("query: two  tides", "two\u200b tides")]).verdicts
    assert verdicts[0].similarity == 1.0


def test_a_query_that_is_not_read_to_its_end_is_told() -> None:
    short, fits, long = "tide", "tide " * 60, "tide " * 61
    verdicts = compare(pair_model(), [(long, short), (short, long), (fits, short)]).verdicts
    assert [verdict.truncated for verdict in verdicts] == [True, True, False]


@pytest.mark.parametrize("text", ["", "  \u200b", "query:", "x" * 2001, "\ud800"])
@pytest.mark.parametrize("side", [0, 1])
def test_a_wrong_text_is_named_by_its_place(text: str, side: int) -> None:
    wrong = ("fine", text) if side else (text, "fine")
    with pytest.raises(UnprocessableTextError) as caught:
        compare(pair_model(), [("a", "b"), wrong])
    assert caught.value.field == f"pairs.1.{'ab'[side]}"


def test_time_that_runs_out_is_a_deadline_error() -> None:
    with pytest.raises(DeadlineError):
        compare(pair_model(before=lambda: time.sleep(0.1)), PAIRS, timeout_ms=50)


def test_sixteen_at_once_share_one_thread_and_each_gets_its_own_verdicts() -> None:
    model = pair_model()

    async def run() -> list[Comparison]:
        return await asyncio.gather(*(model.compare(PAIRS[i % 4 :]) for i in range(16)))

    together = asyncio.run(run())
    model.close()
    alone = compare(pair_model(), PAIRS).verdicts
    assert [c.verdicts for c in together] == [alone[i % 4 :] for i in range(16)]
    assert len(model.encoder.threads) == 1
    assert threading.get_ident() not in model.encoder.threads


def test_a_full_queue_turns_away_at_once() -> None:
    model = pair_model(limits=Limits(2000, 2, 30_000), before=lambda: time.sleep(0.02))

    async def run() -> list[object]:
        asked = (model.compare(PAIRS) for _ in range(5))
        return await asyncio.gather(*asked, return_exceptions=True)

    answers = asyncio.run(run())
    model.close()
    assert sum(isinstance(answer, OverloadedError) for answer in answers) == 3


def test_the_cosine_needs_no_unit_vectors_and_stays_within_its_limits() -> None:
    a = np.array([3.0, 4.0], np.float32)
    assert cosine(a, a * 7) == 1.0
    assert cosine(a, -a) == -1.0
    assert cosine(a, np.array([4.0, 3.0], np.float32)) == 0.96
