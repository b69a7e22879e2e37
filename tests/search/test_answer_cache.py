"""Answers served again: only where nothing but the wording differs, and never silently."""

import asyncio
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from service.errors import InferenceError
from service.scheduling.gate import Deadline
from service.search import answer_cache
from service.search.answer_cache import AnswerCache
from service.search.boosts import Boost
from service.search.pair_model import PairModel, cosine
from service.search.query import Query, RerankReport, Result
from service.search.searcher import Searcher
from service.store.data_folder import DataFolder
from service.store.filter_grammar import both
from service.text import language
from service.types import Document, Facet, FacetValue
from service.write.ingestor import Ingestor
from tests.fixtures.doubles import HashEncoder, ScriptedReranker
from tests.fixtures.pairs import (
    LIMITS,
    THRESHOLD,
    PairEncoder,
    fill,
    searcher_with_cache,
)
from tests.fixtures.stores import now

FIRST = "why does the tide rise twice a day"
PARAPHRASE = "why does the tide rise a day twice"
NEAR = "why does the tide rise twice each day"
MOON = "the moon shows the earth one face"
OTHER = "how is a worn bicycle chain replaced"


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[DataFolder]:
    with fill(tmp_path) as opened:
        yield opened


def pair_model(**options) -> PairModel:
    return PairModel(PairEncoder(**options), THRESHOLD, LIMITS)


def ask(searcher: Searcher, *queries: Query | str) -> list[Result]:
    """The answers, one after another."""

    async def run() -> list[Result]:
        asked = (q if isinstance(q, Query) else Query(q) for q in queries)
        return [await searcher.search(query) for query in asked]

    return asyncio.run(run())


def cached(results: list[Result]) -> list[bool]:
    return [result.cached is not None for result in results]


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_paraphrase_gets_the_earlier_answer_and_is_told_so(folder: DataFolder) -> None:
    searcher = searcher_with_cache(folder, pair_model())
    first, again, near, other = ask(searcher, FIRST, PARAPHRASE, NEAR, OTHER)
    assert cached([first, again, near, other]) == [False, True, True, False]
    assert again == replace(
        first, query=PARAPHRASE, timings_ms=again.timings_ms, cached=again.cached
    )
    assert again.cached.query_similarity == 1.0
    encode = HashEncoder().encode_queries
    assert near.cached.query_similarity == cosine(encode([FIRST])[0], encode([NEAR])[0]) < 1.0
    assert other.hits[0].id == "chain"


def test_timings_are_those_of_the_search_itself(folder: DataFolder) -> None:
    first, again = ask(searcher_with_cache(folder, pair_model()), FIRST, PARAPHRASE)
    assert list(first.timings_ms) == [
        "normalize", "cache", "encode", "retrieve", "rerank", "total",
    ]  # fmt: skip
    assert list(again.timings_ms) == ["normalize", "cache", "total"]


def test_the_earlier_querys_text_is_not_kept(folder: DataFolder) -> None:
    searcher = searcher_with_cache(folder, pair_model())
    (again,) = ask(searcher, FIRST, PARAPHRASE)[1:]
    assert FIRST not in repr(again)
    assert FIRST not in repr(vars(searcher.answers))


@pytest.mark.parametrize(
    "changed",
    [
        {"top_k": 9},
        {"num_candidates": 99},
        {"rerank": False},
        {"filters": {"n": 1}},
        {"filters": {"n": True}},
        {"filters": {"n": "1"}},
        {"min_confidence": "low"},
        {"timeout_ms": 20_000},
        {"offset": 0},
        {"offset": 1},
        {"min_probability": 0.0},
        {"diversity": True},
        {"group_by": "n"},
        {"group_size": 4},
        {"boost": (Boost("n", 0.5, (1,)),)},
    ],
)
def test_another_request_with_the_same_query_is_answered_itself(
    folder: DataFolder, changed: dict
) -> None:
    searcher = searcher_with_cache(folder, pair_model())
    ask(searcher, FIRST, Query(FIRST, filters={"n": 1.0}), Query(FIRST, filters={"n": [1]}))
    assert cached(ask(searcher, Query(FIRST, **changed))) == [False]


def test_a_window_is_never_shared(folder: DataFolder) -> None:
    searcher = searcher_with_cache(folder, pair_model())
    mine, yours = (Query(FIRST, top_k=1, offset=0, owner=owner) for owner in ("me", "you"))
    answers = ask(searcher, mine, yours, mine)
    assert cached(answers) == [False] * 3
    assert len({answer.next_cursor for answer in answers}) == 3


def test_boosts_share_an_answer_only_where_they_are_equal(folder: DataFolder) -> None:
    searcher = searcher_with_cache(folder, pair_model(), size=12)
    near = Boost("n", 0.5, scale=1, origin=1)
    boosts = [(), (near,), (replace(near, scale=2),), (replace(near, origin=None),), (near, near)]
    asked = [Query(FIRST, boost=each) for each in boosts]
    assert not any(cached(ask(searcher, *asked)))
    assert all(cached(ask(searcher, *asked)))


def test_filters_of_two_keys_share_no_answer(folder: DataFolder) -> None:
    searcher = searcher_with_cache(folder, pair_model(), size=12)
    asked = [
        Query(FIRST, filters=both(key, own))
        for key in ({}, {"n": 1}, {"n": 2}, {"not": {"n": 1}})
        for own in ({}, {"m": {"exists": False}}, {"or": [{"n": 1}, {"n": 2}]})
    ]
    assert not any(cached(ask(searcher, *asked)))
    assert all(cached(ask(searcher, *asked)))


def test_numbers_must_be_equal_and_in_order(folder: DataFolder) -> None:
    searcher = searcher_with_cache(folder, PairModel(PairEncoder(), 0.5, LIMITS))
    long = "what changed in the tide tables of the northern harbours between"
    answers = ask(
        searcher, f"{long} 2019 and 2021", f"{long} 2021 and 2019", f"{long} 2019 and 2022",
        f"2019 and 2021 {long}", f"{long} years",
    )  # fmt: skip
    assert cached(answers) == [False, False, False, True, False]


def test_exponents_signs_and_fractions_are_numbers(folder: DataFolder) -> None:
    searcher = searcher_with_cache(folder, PairModel(PairEncoder(), 0.5, LIMITS))
    long = "how do the tide tables of the northern harbours change at"
    answers = ask(searcher, *(f"{long} {end}" for end in ("x²", "x³", "-5", "5", "½", "¼", "x²")))
    assert cached(answers) == [False] * 6 + [True]


def test_another_language_is_another_query(folder: DataFolder) -> None:
    everything = PairModel(PairEncoder(), -1.0, LIMITS)
    searcher = searcher_with_cache(folder, everything)
    vietnamese = "Vì sao thủy triều lên xuống mỗi ngày hai lần?"
    japanese = "なぜ潮は一日に二回満ちるのですか"
    answers = ask(searcher, FIRST, vietnamese, japanese, NEAR, "Vì sao có thủy triều mỗi ngày?")
    assert cached(answers) == [False, False, False, True, True]
    assert answers[4].hits == answers[1].hits


def keep(cache: AnswerCache, text: str, mark: int, template: Result) -> None:
    """Keep an answer that is known by its `documents`."""

    async def run() -> None:
        lookup = await cache.look_up(Query(text), text, Deadline(10))
        cache.keep(lookup, replace(template, documents=mark))

    asyncio.run(run())


def find(cache: AnswerCache, text: str) -> Result | None:
    return asyncio.run(cache.look_up(Query(text), text, Deadline(10))).found


@pytest.fixture
def template(folder: DataFolder) -> Result:
    return ask(searcher_with_cache(folder, pair_model()), FIRST)[0]


def cache_of(model: PairModel, size: int, **options) -> AnswerCache:
    return AnswerCache(model, size=size, ttl_s=60.0, version=lambda: "v1", **options)


def spoken(text: str) -> str:
    code, probability = language.identify(text)
    return code if probability >= language.SURE else "und"


def test_the_nearest_earlier_query_answers_as_a_plain_search_would_find_it(
    template: Result,
) -> None:
    sentence = "why when how does the tide moon rise fall each day twice sea coast pull"
    words = sentence.split()
    rng = np.random.default_rng(3)
    texts = [" ".join(rng.choice(words, 6, replace=False)) for _ in range(60)]
    cache = cache_of(PairModel(PairEncoder(), 0.6, LIMITS), 100)
    # All are kept, also those that an earlier one would have answered.
    for mark, text in enumerate(texts):
        keep(cache, text, mark, template)
    encode = HashEncoder().encode_queries
    found = 0
    for text in (" ".join(rng.choice(words, 5, replace=False)) for _ in range(40)):
        measured = {
            i: cosine(encode([text])[0], encode([kept])[0])
            for i, kept in enumerate(texts)
            if spoken(kept) == spoken(text)
        }
        nearest = max(measured.values(), default=0.0)
        answer = find(cache, text)
        if nearest < 0.6:
            assert answer is None
            continue
        found += 1
        assert answer.cached.query_similarity == nearest
        assert answer.documents == min(i for i in measured if measured[i] == nearest)
    assert found > 20


def test_of_nearly_equal_queries_the_nearer_one_answers(template: Result) -> None:
    class Angles(PairEncoder):
        """Each word turns the vector a little further: by less than a float32 product may err."""

        def encode_queries(self, texts):
            turns = [0.003 * len(text.split()) for text in texts]
            vectors = np.zeros((len(texts), self.identity.dimension), np.float32)
            vectors[:, 0], vectors[:, 1] = np.cos(turns), np.sin(turns)
            return vectors

    cache = cache_of(PairModel(Angles(), 0.9, LIMITS), 8)
    for mark, text in enumerate(
        ["why does the tide rise and fall so", "why does the tide rise and"]
    ):
        keep(cache, text, mark, template)
    assert find(cache, "why does the tide rise").documents == 1


def test_of_equally_near_queries_the_older_one_answers(template: Result) -> None:
    cache = cache_of(pair_model(), 8)
    for mark, text in enumerate([OTHER, FIRST, PARAPHRASE, FIRST]):
        keep(cache, text, mark, template)
    assert find(cache, FIRST).documents == 1


def test_the_oldest_goes_when_the_cache_is_full(template: Result) -> None:
    cache = cache_of(pair_model(), 2)
    for mark, text in enumerate([FIRST, OTHER, MOON]):
        keep(cache, text, mark, template)
        assert len(cache) == min(mark + 1, 2)
    assert find(cache, FIRST) is None
    assert find(cache, OTHER).documents == 1


def test_the_oldest_go_when_the_answers_have_too_many_bytes(
    template: Result, monkeypatch: pytest.MonkeyPatch
) -> None:
    hit = replace(template.hits[0], title="", text="", metadata={})
    empty = len(repr([hit]).encode())
    monkeypatch.setattr(answer_cache, "MOST_BYTES", 2 * (empty + 600))
    cache = cache_of(pair_model(), 8)
    contents = [{"text": "ä" * 300}, {"metadata": {"n": "x" * 590}}, {"title": "x" * 600}]
    for mark, (text, content) in enumerate(zip([FIRST, OTHER, MOON], contents, strict=True)):
        keep(cache, text, mark, replace(template, hits=[replace(hit, **content)]))
    assert [find(cache, text) is None for text in (FIRST, OTHER, MOON)] == [True, False, False]
    values = Facet([FacetValue("x" * 2000, 1)], 0, 0)
    for huge in ({"hits": [replace(hit, text="x" * 2000)]}, {"facets": {"n": values}}):
        keep(cache, FIRST, 3, replace(template, **{"hits": [hit], **huge}))
        assert [find(cache, text) is None for text in (FIRST, OTHER, MOON)] == [True, False, False]


def test_an_answer_in_anothers_place_does_not_hide_that_the_next_is_over(
    template: Result,
) -> None:
    clock = Clock()
    cache = cache_of(pair_model(), 2, clock=clock)
    for text in (FIRST, OTHER, "the moon shows the earth one face"):
        keep(cache, text, 0, template)
        clock.now += 10.0
    clock.now += 45.0
    assert find(cache, OTHER) is None
    assert len(cache) == 1


def test_an_answer_ends_with_its_time_to_live_however_often_it_was_served(
    folder: DataFolder,
) -> None:
    clock = Clock()
    searcher = searcher_with_cache(folder, pair_model(), ttl_s=60.0, clock=clock)
    ask(searcher, FIRST)
    clock.now += 59.5
    (again,) = ask(searcher, PARAPHRASE)
    assert again.cached.age_ms == 59_500
    clock.now += 0.5
    late, fresh = ask(searcher, PARAPHRASE, FIRST)
    assert late.cached is None
    assert fresh.cached.age_ms == 0
    assert len(searcher.answers) == 1


def test_any_change_of_the_index_ends_all_answers(folder: DataFolder) -> None:
    searcher = searcher_with_cache(folder, pair_model())
    ask(searcher, FIRST, OTHER)
    new = Document("new", f"{FIRST} is answered here")
    Ingestor(folder.store, HashEncoder(), overlap=0).ingest([new])
    changed, again = ask(searcher, PARAPHRASE, FIRST)
    assert cached([changed, again]) == [False, True]
    assert again.hits[0].id == "new"
    assert again.revision == now(folder.store).revision
    assert len(searcher.answers) == 1


def test_an_answer_that_the_index_changed_under_is_not_kept(template: Result) -> None:
    versions = iter(["v1", "v2", "v2", "v2"])
    cache = AnswerCache(pair_model(), size=4, ttl_s=60, version=lambda: next(versions))
    keep(cache, FIRST, 1, template)
    assert len(cache) == 0
    keep(cache, FIRST, 2, template)
    assert len(cache) == 1


@pytest.mark.parametrize(
    ("report", "kept"),
    [
        (RerankReport("complete", 4, 4), True),
        (RerankReport("skipped", 4, 0, "no reranker"), True),
        (RerankReport("partial", 4, 2, "the time ran out"), False),
        (RerankReport("failed", 4, 0, "the reranker failed"), False),
    ],
)
def test_answers_that_are_partial_or_failed_are_not_kept(
    template: Result, report: RerankReport, kept: bool
) -> None:
    cache = cache_of(pair_model(), 4)
    keep(cache, FIRST, 1, replace(template, rerank=report))
    assert len(cache) == kept


def test_a_reranker_that_failed_is_asked_again(folder: DataFolder) -> None:
    fails = [True, False]

    def fail_once() -> None:
        if fails.pop(0):
            raise InferenceError("not finite")

    reranker = ScriptedReranker(lambda passage: float(len(passage)), fail_once)
    searcher = searcher_with_cache(folder, pair_model(), reranker)
    answers = ask(searcher, FIRST, PARAPHRASE, NEAR)
    assert [answer.rerank.status for answer in answers] == ["failed", "complete", "complete"]
    assert cached(answers) == [False, False, True]


def test_warnings_are_the_callers_own(folder: DataFolder) -> None:
    searcher = searcher_with_cache(folder, pair_model())
    typed, plain, again = ask(searcher, f"passage: {FIRST}", FIRST, f"passage: {PARAPHRASE}")
    assert cached([typed, plain, again]) == [False, False, True]
    assert plain.warnings == []
    assert again.warnings == typed.warnings != []


def test_a_query_beyond_the_pair_models_window_is_always_searched(folder: DataFolder) -> None:
    class Narrow(PairEncoder):
        query_budget = 8

    searcher = searcher_with_cache(folder, PairModel(Narrow(), THRESHOLD, LIMITS))
    long = f"{FIRST} here"
    assert cached(ask(searcher, FIRST, long, long, FIRST)) == [False, False, False, True]
    assert len(searcher.answers) == 1


def test_a_pair_model_that_fails_costs_no_answer(folder: DataFolder) -> None:
    def fail() -> None:
        raise InferenceError("not finite")

    searcher = searcher_with_cache(folder, pair_model(before=fail))
    answers = ask(searcher, FIRST, FIRST)
    assert cached(answers) == [False, False]
    assert answers[0].hits[0].id == "tide"


def test_a_slow_pair_model_takes_half_of_the_time_at_most(folder: DataFolder) -> None:
    searcher = searcher_with_cache(folder, pair_model(before=lambda: time.sleep(1)))
    (answer,) = ask(searcher, Query(FIRST, timeout_ms=800))
    assert answer.hits[0].id == "tide"
    assert 400 <= answer.timings_ms["cache"] < 800
