"""Random requests: what pages, boosts, folds and groups may change, and what they may not."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.confidence.calibration import Calibration, Curve
from service.confidence.judge import Judge, Thresholds
from service.scheduling.gate import Limits
from service.search.arrangement import MOST_ALSO
from service.search.boosts import Boost
from service.search.grouping import group_value
from service.search.query import Hit, Query, Result
from service.search.searcher import Searcher
from service.search.second_stage import SecondStage
from service.store.data_folder import DataFolder
from service.types import Document
from service.write.ingestor import Ingestor
from tests.fixtures.doubles import HashEncoder, ScriptedReranker
from tests.fixtures.live import retriever_of

Ask = Callable[[Query], Result]

FEW, MANY = 100, 10_000
WORDS = ("tide", "moon", "lock", "ship", "tomato", "rope")
QUERIES = ("tide and moon", "a ship in a lock", "tomato rope", "moon")
KINDS = (None, "news", "guide", ["guide", "news"], [], 1, 1.0, True, "1")


def _document(n: int) -> Document:
    """Every third text comes again with another number; some are long, so of several passages."""
    words = " ".join(WORDS[(n // 3 + step) % 6] for step in range(4 + n % 2))
    text = f"{words} of the sea, as told in part {n % 3} " * (1 + 8 * (n % 7 == 0))
    metadata = {"kind": KINDS[n % 9], "n": n, "day": f"2026-01-{1 + n % 28:02d}"}
    return Document(f"d{n:02d}", text, metadata={k: v for k, v in metadata.items() if n % 5 or v})


def _artifact() -> Calibration:
    curve = Curve(slope=3.0, intercept=-1.0, n=1000, positive=100, ece=0.0, brier=0.0)
    return Calibration(
        name="test",
        date="2026-01-01",
        encoder_weights_sha256=HashEncoder.identity.weights_sha256,
        query_prefix="query: ",
        passage_prefix="passage: ",
        normalizer_version=1,
        reranker_weights_sha256="f" * 64,
        rerank_weights={"en": 0.5, "und": 0.5, "*": 0.5},
        curves={"retrieval": curve, "fused": curve},
        mixed_curves={"retrieval": curve, "fused": curve},
        data={},
    )


@pytest.fixture(scope="module")
def ask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ask]:
    with DataFolder.open(tmp_path_factory.mktemp("data")) as folder, asyncio.Runner() as runner:
        folder.store.set_identity(HashEncoder.identity)
        Ingestor(folder.store, HashEncoder(), overlap=0).ingest(_document(n) for n in range(64))
        reranker = ScriptedReranker(lambda passage: float(len(set(passage.split())) % 5))
        judge = Judge(
            HashEncoder.identity, "f" * 64, _artifact(), Thresholds(0.7, 0.4), rerank_depth=100
        )
        stage = SecondStage(reranker, judge, 8)
        searcher = Searcher(HashEncoder(), retriever_of(folder), stage, Limits(2000, 8, 30_000))
        yield lambda query: runner.run(searcher.search(query))
        searcher.close()


_weights = st.sampled_from([-1.0, -0.3, 0.2, 1.0])
_boosts = st.one_of(
    st.builds(
        Boost,
        st.just("kind"),
        _weights,
        st.lists(st.sampled_from(["news", "guide", 1, True]), min_size=1, max_size=3).map(tuple),
    ),
    st.builds(Boost, st.just("n"), _weights, st.just(()), st.floats(0.5, 50), st.integers(0, 64)),
    st.builds(
        Boost, st.just("day"), _weights, st.just(()), st.floats(0.5, 50), st.just("2026-01-14")
    ),
)
_requests = st.builds(
    Query,
    st.sampled_from(QUERIES),
    top_k=st.integers(1, 30),
    num_candidates=st.integers(1, 100),
    rerank=st.booleans(),
    filters=st.sampled_from([{}, {"kind": "guide"}, {"n": {"gte": 10, "lt": 50}}]),
    mode=st.sampled_from(["dense", "sparse", "hybrid"]),
    min_confidence=st.sampled_from([None, "low", "medium", "high"]),
    min_probability=st.one_of(st.none(), st.floats(0, 1)),
    boost=st.lists(_boosts, max_size=5).map(tuple),
    diversity=st.booleans(),
    group_by=st.sampled_from([None, "kind", "day", "none"]),
    group_size=st.integers(1, 10),
).map(lambda q: q if q.rerank else replace(q, min_confidence=None, min_probability=None))


def check(ask: Ask, query: Query) -> None:
    plain = ask(
        replace(
            query,
            top_k=1000,
            boost=(),
            diversity=False,
            group_by=None,
            min_confidence=None,
            min_probability=None,
        )
    )
    pages = [ask(replace(query, offset=0))]
    while cursor := pages[-1].next_cursor:
        pages.append(ask(replace(query, cursor=cursor)))
    whole = replace(pages[0], hits=[hit for page in pages for hit in page.hits])
    for page in pages[:-1]:
        assert len(page.hits) == query.top_k
    for number in {1, len(pages) - 1}:
        at = number * query.top_k
        page = ask(replace(query, offset=at))
        assert page.hits == whole.hits[at : at + query.top_k]
    _check_hits(query, plain, whole)


def _check_hits(query: Query, plain: Result, whole: Result) -> None:
    shown = [one for hit in whole.hits for one in (hit, *(hit.group.hits if hit.group else ()))]
    ids = [hit.id for hit in shown]
    assert len(set(ids)) == len(ids)
    before = {hit.id: hit for hit in plain.hits}
    places = {hit.id: place for place, hit in enumerate(plain.hits)}
    for hit in shown:
        assert _judged(hit) == _judged(before[hit.id])
    assert whole.answerable == plain.answerable
    wanted = {id_ for id_, hit in before.items() if _reaches(hit, query) or not plain.hits}
    hidden = sum(hit.group.size - 1 - len(hit.group.hits) for hit in whole.hits if hit.group)
    also = [one.id for hit in shown for one in hit.also]
    assert not {*also} & {*ids}
    assert len(set(also)) == len(also)
    assert {*ids, *also} <= wanted
    if not hidden:
        assert len(shown) + sum(hit.folded for hit in shown) == len(wanted)
        if all(hit.folded <= MOST_ALSO for hit in shown):
            assert {*ids, *also} == wanted
    by_rank = sorted(shown, key=lambda hit: hit.rank)
    if not query.boost:
        assert [hit.id for hit in by_rank] == sorted(ids, key=places.__getitem__)
        assert {hit.boost for hit in shown} <= {None}
    else:
        assert all(-1.0 <= (hit.boost or 0.0) <= 1.0 for hit in shown)
        reranked = [hit.rerank_score is not None for hit in by_rank]
        assert reranked == sorted(reranked, reverse=True)
    assert [hit.rank for hit in whole.hits] == sorted(hit.rank for hit in whole.hits)
    if query.group_by is None:
        assert [hit.rank for hit in whole.hits] == list(range(1, len(whole.hits) + 1))
    else:
        _check_groups(query, whole, query.group_by)


def _check_groups(query: Query, whole: Result, field: str) -> None:
    values = []
    for hit in whole.hits:
        assert hit.group
        together = [hit, *hit.group.hits]
        assert len(together) == min(query.group_size, hit.group.size)
        assert [one.rank for one in together] == sorted(one.rank for one in together)
        assert {repr(group_value(one.metadata, field)) for one in together} <= {
            repr(value) for value in (hit.group.value, 1, 1.0)
        }
        if hit.group.value is not None:
            values.append((isinstance(hit.group.value, bool), hit.group.value))
    assert len(set(values)) == len(values)


def _judged(hit: Hit) -> tuple[object, ...]:
    return hit.probability, hit.confidence, hit.rerank_score, hit.retrieval_score, hit.score


def _reaches(hit: Hit, query: Query) -> bool:
    least = query.min_probability
    if least is not None and (hit.probability is None or hit.probability < least):
        return False
    words = ("low", "medium", "high")
    return (
        query.min_confidence is None or hit.confidence in words[words.index(query.min_confidence) :]
    )


_options = {"deadline": None, "suppress_health_check": [HealthCheck.function_scoped_fixture]}


@settings(max_examples=FEW, **_options)
@given(_requests)
def test_some_random_requests_keep_their_promises(ask: Ask, query: Query) -> None:
    check(ask, query)


@pytest.mark.slow
@pytest.mark.timeout(7200)
@settings(max_examples=MANY, **_options)
@given(_requests)
def test_ten_thousand_random_requests_keep_their_promises(ask: Ask, query: Query) -> None:
    check(ask, query)
