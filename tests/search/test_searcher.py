"""The way of a search over a real store and index, with models that can be made to fail."""

import asyncio
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from service.confidence.calibration import Calibration, Curve
from service.confidence.judge import Judge, Thresholds
from service.errors import (
    DeadlineError,
    InferenceError,
    InvalidInputError,
    OverloadedError,
    UnprocessableTextError,
)
from service.scheduling.gate import Deadline, Limits
from service.scheduling.shares import SHARES, on_behalf_of
from service.search.lane import SIDE_BY_SIDE, Lane
from service.search.query import Query, Result
from service.search.searcher import Searcher
from service.search.second_stage import SecondStage
from service.store.data_folder import DataFolder
from service.types import Document
from service.write.ingestor import Ingestor
from tests.fixtures.doubles import HashEncoder, ScriptedReranker
from tests.fixtures.live import retriever_of, search_many

ENCODER = HashEncoder()
ENGLISH = "the tide rises and falls twice a day because of the moon and its pull on the sea number"
DOCUMENTS = [
    Document(f"d{i:02d}", f"{ENGLISH} {i}", metadata={"even": i % 2 == 0, "n": i})
    for i in range(60)
]
QUERY = f"{ENGLISH} 7"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DataFolder]:
    path: Path = tmp_path_factory.mktemp("data")
    with DataFolder.open(path) as opened:
        opened.store.set_identity(ENCODER.identity)
        Ingestor(opened.store, ENCODER, overlap=0).ingest(DOCUMENTS)
        yield opened


def artifact(weight: float = 0.35, mixed: float | None = None) -> Calibration:
    curve = Curve(slope=60.0, intercept=-57.0, n=1000, positive=100, ece=0.0, brier=0.0)
    return Calibration(
        name="test",
        date="2026-01-01",
        encoder_weights_sha256=ENCODER.identity.weights_sha256,
        query_prefix="query: ",
        passage_prefix="passage: ",
        normalizer_version=1,
        reranker_weights_sha256="f" * 64,
        rerank_weights={"en": weight, "und": mixed or 0.0},
        curves={"retrieval": curve, "fused": curve},
        mixed_curves={} if mixed is None else {"retrieval": curve, "fused": curve},
        data={},
    )


def searcher(
    folder: DataFolder,
    reranker: ScriptedReranker | None,
    calibration: Calibration | None = None,
    queue: int = 8,
    reranks: int = 8,
    per_document: int = 4,
) -> Searcher:
    weights = reranker.weights_sha256 if reranker else None
    judge = Judge(ENCODER.identity, weights, calibration, Thresholds())
    retriever = retriever_of(folder, per_document)
    return Searcher(
        ENCODER, retriever, SecondStage(reranker, judge, reranks), Limits(2000, queue, 30_000)
    )


def ask(searching: Searcher, query: Query) -> Result:
    try:
        return asyncio.run(searching.search(query))
    finally:
        searching.close()


def last_number(passage: str) -> float:
    return float(passage.rsplit(maxsplit=1)[-1])


def test_an_unknown_reranker_decides_the_order_alone(folder: DataFolder) -> None:
    result = ask(searcher(folder, ScriptedReranker(last_number)), Query(QUERY, num_candidates=100))
    assert [hit.id for hit in result.hits] == [f"d{i}" for i in range(59, 49, -1)]
    assert result.rerank.status == "complete"
    assert (result.rerank.requested, result.rerank.scored) == (60, 60)
    assert [hit.rerank_score for hit in result.hits] == [float(i) for i in range(59, 49, -1)]
    assert {hit.confidence for hit in result.hits} == {"uncalibrated"}
    assert result.answerable is None


def test_ranks_are_one_based_and_the_retrieval_rank_is_kept(folder: DataFolder) -> None:
    result = ask(searcher(folder, ScriptedReranker(last_number)), Query(QUERY))
    assert [hit.rank for hit in result.hits] == list(range(1, 11))
    plain = ask(searcher(folder, None), Query(QUERY, top_k=100))
    ranks = {hit.id: hit.retrieval_rank for hit in plain.hits}
    assert all(hit.retrieval_rank == ranks[hit.id] for hit in result.hits)


def test_top_k_never_changes_who_wins(folder: DataFolder) -> None:
    few = ask(searcher(folder, ScriptedReranker(last_number)), Query(QUERY, top_k=3))
    many = ask(searcher(folder, ScriptedReranker(last_number)), Query(QUERY, top_k=50))
    assert few.hits == many.hits[:3]
    assert few.rerank == many.rerank


def test_rerank_false_keeps_stage_ones_order_and_is_uncalibrated(folder: DataFolder) -> None:
    reranker = ScriptedReranker(last_number)
    result = ask(searcher(folder, reranker, artifact()), Query(QUERY, rerank=False))
    assert result.hits[0].id == "d07"
    assert [hit.retrieval_rank for hit in result.hits] == list(range(1, 11))
    assert (result.rerank.status, result.rerank.scored) == ("skipped", 0)
    assert reranker.calls == []
    assert {(h.confidence, h.probability) for h in result.hits} == {("uncalibrated", None)}
    assert result.models["calibration"] == "none"


def test_a_fused_order_is_calibrated_and_its_probabilities_fall_with_the_rank(
    folder: DataFolder,
) -> None:
    result = ask(searcher(folder, ScriptedReranker(last_number), artifact()), Query(QUERY))
    probabilities = [hit.probability for hit in result.hits]
    assert None not in probabilities
    assert probabilities == sorted(probabilities, reverse=True)
    assert result.models["order"] == "fused (rerank_score 0.35)"
    assert result.models["calibration"] == "test"
    assert result.language == "en"
    assert result.answerable is True


def test_a_language_without_gain_is_skipped_with_the_reason_and_stays_calibrated(
    folder: DataFolder,
) -> None:
    reranker = ScriptedReranker(last_number)
    result = ask(searcher(folder, reranker, artifact(weight=0.0)), Query(QUERY))
    assert result.rerank.status == "skipped"
    assert "(en)" in (result.rerank.reason or "")
    assert reranker.calls == []
    assert result.hits[0].probability is not None


def test_a_query_in_another_language_than_the_passages_is_not_reranked(folder: DataFolder) -> None:
    result = ask(
        searcher(folder, ScriptedReranker(last_number), artifact()),
        Query("Почему прилив бывает два раза в сутки и при чём здесь луна?"),
    )
    assert result.rerank.status == "skipped"
    assert "different languages" in (result.rerank.reason or "")
    assert result.answerable is None
    assert {hit.confidence for hit in result.hits} == {"uncalibrated"}


@pytest.mark.parametrize(("share", "status"), [(0.0, "skipped"), (0.6, "complete")])
def test_a_query_in_another_language_is_served_as_the_calibration_found_for_such(
    folder: DataFolder, share: float, status: str
) -> None:
    query = "Почему прилив бывает два раза в сутки и при чём здесь луна?"
    reranker = ScriptedReranker(last_number)
    result = ask(searcher(folder, reranker, artifact(mixed=share)), Query(query))
    assert (result.rerank.status, result.language) == (status, "und")
    assert None not in [hit.probability for hit in result.hits]
    assert result.answerable is not None
    ordered = "fused (rerank_score 0.6)" if share else "retrieval_score"
    assert result.models["order"] == ordered


def test_a_failing_reranker_leaves_stage_ones_order_and_says_so(folder: DataFolder) -> None:
    def fail() -> None:
        raise InferenceError("not finite")

    result = ask(searcher(folder, ScriptedReranker(last_number, fail), artifact()), Query(QUERY))
    assert result.rerank.status == "failed"
    assert result.hits[0].id == "d07"


def test_a_deadline_in_the_rerank_gives_a_partial_answer(folder: DataFolder) -> None:
    ask(searcher(folder, None), Query(QUERY))  # loads what tells the language
    slow = ScriptedReranker(last_number, lambda: time.sleep(0.3))
    result = ask(searcher(folder, slow, artifact()), Query(QUERY, top_k=60, timeout_ms=800))
    assert result.rerank.status == "partial"
    assert 0 < result.rerank.scored < 60
    scored = [hit for hit in result.hits if hit.rerank_score is not None]
    assert result.hits[: len(scored)] == scored
    assert {hit.confidence for hit in result.hits} == {"uncalibrated"}
    assert result.answerable is None
    rest = [hit.retrieval_rank for hit in result.hits[len(scored) :]]
    assert rest == sorted(rest)


def test_no_time_at_all_for_stage_one_is_a_deadline_error(folder: DataFolder) -> None:
    class Slow(HashEncoder):
        def encode_queries(self, texts):
            time.sleep(0.3)
            return super().encode_queries(texts)

    searching = searcher(folder, None)
    searching.encoder = Slow()
    with pytest.raises(DeadlineError):
        ask(searching, Query(QUERY, timeout_ms=30))


def test_filters_narrow_before_the_candidates_are_taken(folder: DataFolder) -> None:
    result = ask(
        searcher(folder, ScriptedReranker(last_number)),
        Query(QUERY, num_candidates=5, top_k=10, filters={"n": [40, 41, 42], "even": True}),
    )
    assert {hit.id for hit in result.hits} == {"d40", "d42"}
    assert result.rerank.requested == 2


def test_a_filter_that_nothing_meets_gives_no_hits_and_is_not_answerable(
    folder: DataFolder,
) -> None:
    result = ask(
        searcher(folder, ScriptedReranker(last_number), artifact()),
        Query(QUERY, filters={"n": 1000}),
    )
    assert result.hits == []
    assert result.answerable is False
    assert result.rerank.status == "complete"


def test_min_confidence_leaves_out_what_is_below(folder: DataFolder) -> None:
    everything = ask(
        searcher(folder, ScriptedReranker(last_number), artifact()), Query(QUERY, top_k=60)
    )
    words = [hit.confidence for hit in everything.hits]
    assert {"high", "low"} <= set(words)
    high = ask(
        searcher(folder, ScriptedReranker(last_number), artifact()),
        Query(QUERY, top_k=60, min_confidence="high"),
    )
    assert high.hits == [hit for hit in everything.hits if hit.confidence == "high"]


def test_min_confidence_without_calibration_is_not_applied_and_says_so(folder: DataFolder) -> None:
    result = ask(
        searcher(folder, ScriptedReranker(last_number)), Query(QUERY, min_confidence="high")
    )
    assert len(result.hits) == 10
    assert "min_confidence" in result.warnings[0]


def test_min_confidence_contradicts_rerank_false(folder: DataFolder) -> None:
    with pytest.raises(InvalidInputError) as caught:
        ask(searcher(folder, None), Query(QUERY, rerank=False, min_confidence="low"))
    assert caught.value.field == "min_confidence"


def test_a_passage_prefix_typed_in_a_query_is_removed_and_reported(folder: DataFolder) -> None:
    typed = ask(searcher(folder, None), Query(f"passage: {QUERY}"))
    plain = ask(searcher(folder, None), Query(QUERY))
    assert typed.hits == plain.hits
    assert "passage:" in typed.warnings[0]
    assert ask(searcher(folder, None), Query(f"Query : {QUERY}")).warnings == []


@pytest.mark.parametrize("text", ["", "   ", "\u200b\u00ad", "query:", "x" * 2001])
def test_an_empty_or_too_long_query_names_the_limit(folder: DataFolder, text: str) -> None:
    with pytest.raises(UnprocessableTextError, match="1 to 2000 characters") as caught:
        ask(searcher(folder, None), Query(text))
    assert caught.value.field == "query"


def test_a_full_queue_turns_away_at_once(folder: DataFolder) -> None:
    slow = ScriptedReranker(last_number, lambda: time.sleep(0.05))
    searching = searcher(folder, slow, artifact(), queue=2)

    async def run() -> list[object]:
        return await asyncio.gather(
            *(searching.search(Query(QUERY)) for _ in range(5)), return_exceptions=True
        )

    results = asyncio.run(run())
    searching.close()
    assert sum(isinstance(result, OverloadedError) for result in results) == 3
    answers = [result for result in results if isinstance(result, Result)]
    assert [answer.hits for answer in answers] == [answers[0].hits] * 2
    assert len(slow.threads) == 1


def test_slices_run_beside_each_other_where_the_reranker_allows_it(folder: DataFolder) -> None:
    both = threading.Barrier(2)
    reranker = ScriptedReranker(last_number, lambda: both.wait(5))
    reranker.concurrent = True
    searching = searcher(folder, reranker, artifact())

    async def run() -> list[Result]:
        return await asyncio.gather(*(searching.search(Query(QUERY)) for _ in range(2)))

    results = asyncio.run(run())
    searching.close()
    assert [result.rerank.status for result in results] == ["complete"] * 2
    assert results[0].hits == results[1].hits


def test_a_client_pays_for_slices_that_run_beside_each_other(folder: DataFolder) -> None:
    reranker = ScriptedReranker(last_number, lambda: time.sleep(0.2))
    reranker.concurrent = True
    searching = searcher(folder, reranker, artifact())
    with on_behalf_of("remote pays"), SHARES.at_work("remote pays"):
        before = SHARES.had("remote pays")
        ask(searching, Query(QUERY))
        paid = SHARES.had("remote pays") - before
    assert paid >= 0.2


def test_too_many_reranks_are_turned_away_but_searches_without_go_on(folder: DataFolder) -> None:
    begun, go = threading.Event(), threading.Event()

    def wait() -> None:
        begun.set()
        go.wait(5)

    searching = searcher(folder, ScriptedReranker(last_number, wait), artifact(), reranks=1)

    async def run() -> list[object]:
        first = asyncio.create_task(searching.search(Query(QUERY)))
        assert await asyncio.to_thread(begun.wait, 5)
        others = (searching.search(Query(QUERY)), searching.search(Query(QUERY, rerank=False)))
        answers = await asyncio.gather(*others, return_exceptions=True)
        go.set()
        return [*answers, await first]

    second, plain, first = asyncio.run(run())
    searching.close()
    assert isinstance(second, OverloadedError)
    assert isinstance(plain, Result)
    assert isinstance(first, Result)
    assert first.rerank.status == "complete"


def test_a_query_longer_than_the_window_is_told_of(folder: DataFolder) -> None:
    result = ask(searcher(folder, None), Query("tide " * 61))
    assert "61 tokens and the encoder reads 60: it was read in 2 parts" in result.warnings[0]
    assert ask(searcher(folder, None), Query("tide " * 60)).warnings == []


def test_one_long_document_cannot_fill_the_candidates(tmp_path: Path) -> None:
    long = Document("long", "\n\n".join(f"{ENGLISH} {ENGLISH} {ENGLISH} {i}." for i in range(30)))
    others = [Document(f"o{i}", f"gardens and tools and seeds {i}") for i in range(10)]
    with DataFolder.open(tmp_path) as folder:
        folder.store.set_identity(ENCODER.identity)
        report = Ingestor(folder.store, ENCODER, overlap=0).ingest([long, *others])
        assert report.passages > 25
        result = ask(searcher(folder, None, per_document=2), Query(ENGLISH, num_candidates=8))
    assert {hit.id for hit in result.hits} == {"long"} | {
        h.id for h in result.hits if h.id != "long"
    }
    assert len(result.hits) == 7
    hit = next(hit for hit in result.hits if hit.id == "long")
    assert hit.text == long.text[hit.start : hit.end]


def test_many_searches_are_encoded_together_and_answered_in_their_order(
    folder: DataFolder,
) -> None:
    passes: list[int] = []

    class Counting(HashEncoder):
        def encode_queries(self, texts):
            passes.append(len(texts))
            return super().encode_queries(texts)

    searching = searcher(folder, ScriptedReranker(last_number), artifact(), queue=80)
    searching.encoder = Counting()
    queries = [Query(f"{ENGLISH} {i}", top_k=i + 1) for i in range(20)]
    found = asyncio.run(search_many(searching, queries))
    searching.close()
    assert sum(passes) == 20
    assert len(passes) < 6
    assert [len(answer.hits) for answer in found] == [i + 1 for i in range(20)]
    for query, answer in zip(queries, found, strict=True):
        alone = ask(searcher(folder, ScriptedReranker(last_number), artifact()), query)
        assert replace(answer, timings_ms={}) == replace(alone, timings_ms={})


def test_what_is_wrong_with_one_of_many_is_wrong_with_that_one(folder: DataFolder) -> None:
    class Poisoned(HashEncoder):
        def encode_queries(self, texts):
            if any("arsenic" in text for text in texts):
                raise InferenceError("not finite")
            return super().encode_queries(texts)

    searching = searcher(folder, ScriptedReranker(last_number), artifact(), queue=16)
    searching.encoder = Poisoned()
    queries = [Query(QUERY), Query(""), Query("arsenic"), Query(QUERY, top_k=3), Query(QUERY)]
    found = asyncio.run(search_many(searching, queries))
    searching.close()
    kinds = [Result, UnprocessableTextError, InferenceError, Result, Result]
    assert [type(answer) for answer in found] == kinds
    assert searching.in_flight == 0


def test_many_searches_of_one_caller_take_only_their_share_of_the_reranks(
    folder: DataFolder,
) -> None:
    searching = searcher(folder, ScriptedReranker(last_number), artifact(), queue=20, reranks=2)

    async def run() -> list[Result | Exception]:
        return await search_many(searching, [Query(QUERY)] * 12)

    found = asyncio.run(run())
    searching.close()
    assert {answer.rerank.status for answer in found} == {"complete"}


def test_a_single_search_does_not_wait_for_all_of_a_large_batch(folder: DataFolder) -> None:
    slow = ScriptedReranker(last_number, lambda: time.sleep(0.01))
    searching = searcher(folder, slow, artifact(), queue=40)

    async def run() -> int:
        batch = asyncio.create_task(search_many(searching, [Query(QUERY)] * 20))
        await asyncio.sleep(0.05)
        await searching.search(Query(QUERY))
        answered = len(slow.calls)
        await batch
        return answered

    answered = asyncio.run(run())
    searching.close()
    assert answered < len(slow.calls) / 2


def test_a_batch_leaves_its_client_half_of_the_permits_and_others_theirs(
    folder: DataFolder,
) -> None:
    begun, go = threading.Event(), threading.Event()

    def wait() -> None:
        begun.set()
        go.wait(10)

    searching = searcher(folder, ScriptedReranker(last_number, wait), artifact(), queue=16)

    async def run() -> list[list[Result | Exception]]:
        with on_behalf_of("greedy"):
            batches = [asyncio.create_task(search_many(searching, [Query(QUERY)] * 20))]
            assert await asyncio.to_thread(begun.wait, 10)
            assert searching.in_flight == 2
            batches.append(asyncio.create_task(search_many(searching, [Query(QUERY)] * 3)))
            await asyncio.sleep(0)
            assert searching.in_flight == 3
            batches.append(asyncio.create_task(search_many(searching, [Query(QUERY)])))
            await asyncio.sleep(0)
            with pytest.raises(OverloadedError, match="4 searches of this client"):
                await searching.search(Query(QUERY))
        with on_behalf_of("modest"):
            other = asyncio.create_task(search_many(searching, [Query(QUERY)]))
        await asyncio.sleep(0)
        go.set()
        return await asyncio.gather(*batches, other)

    found = asyncio.run(run())
    searching.close()
    assert [[type(answer) for answer in batch] for batch in found] == [
        [Result] * count for count in (20, 3, 1, 1)
    ]
    assert searching.in_flight == 0


def test_a_batch_makes_do_with_the_permits_that_are_left_and_is_turned_away_without_any(
    folder: DataFolder,
) -> None:
    searching = searcher(folder, None, queue=8)

    async def run() -> None:
        with searching.gate.permits(7):
            found = await search_many(searching, [Query(QUERY)] * 5)
            assert [type(answer) for answer in found] == [Result] * 5
        with searching.gate.permits(8), pytest.raises(OverloadedError):
            await search_many(searching, [Query(QUERY)])
        assert await search_many(searching, []) == []

    asyncio.run(run())
    searching.close()


def test_the_time_of_a_batch_s_entries_counts_from_its_beginning(folder: DataFolder) -> None:
    slow = ScriptedReranker(last_number, lambda: time.sleep(0.05))
    searching = searcher(folder, slow, artifact(), queue=2)  # one entry at a time
    asked = [Query(QUERY, timeout_ms=None), Query(QUERY, timeout_ms=40)]
    first, second = asyncio.run(search_many(searching, asked))
    searching.close()
    assert isinstance(first, Result)
    assert isinstance(second, DeadlineError)


def test_waiting_for_a_turn_ends_with_the_time_and_costs_nobody_a_turn() -> None:
    async def run() -> None:
        lane = Lane()
        for _ in range(3):
            async with lane.turn(Deadline(10)), lane.turn(Deadline(10)):
                with pytest.raises(DeadlineError):
                    async with asyncio.timeout(5), lane.turn(Deadline(0.02)):
                        pytest.fail("there is no third turn")

    assert SIDE_BY_SIDE == 2
    asyncio.run(run())
