"""A reranker that wants all candidates of a query: its parts, the deadline, what is calibrated."""

import asyncio
import gc
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from service.confidence.calibration import Calibration, Curve
from service.confidence.judge import Judge
from service.confidence.words import Thresholds
from service.errors import InferenceError
from service.index.catalog import CollectionRecord
from service.index.data_folder import DataFolder
from service.pipeline.gate import Deadline
from service.pipeline.ingest import Ingestor
from service.pipeline.opening import settings_of
from service.pipeline.recall import Found
from service.pipeline.rerank import Ranking, SecondStage
from service.protocols import WholeReranker
from service.settings import Settings
from service.types import Document, PairScore
from tests.fixtures.doubles import HashEncoder
from tests.fixtures.live import retriever_of

ENCODER = HashEncoder()
COUNT = 20
PARTS = 3
TEXT = "the tide rises and falls twice a day because of the moon and its pull on the sea number"
QUERY = f"{TEXT} 7"


class TwoPasses:
    """Scores by the passage's number: ten at a time roughly, then all, the highest exactly."""

    model = "two passes"
    weights_sha256 = "f" * 64

    def __init__(self, before: Callable[[int], object] = lambda _step: None) -> None:
        self._before = before
        self.threads: set[int] = set()
        self.let_go = 0

    def score(self, pairs: Sequence[tuple[str, str]], /) -> list[PairScore]:
        return list(self.steps(pairs))[-1][0]

    def steps(self, pairs: Sequence[tuple[str, str]], /) -> Iterator[tuple[list[PairScore], bool]]:
        rough = [PairScore(number(passage) / 100, False) for _query, passage in pairs]
        exact = [PairScore(s.logit + (s.logit > 0.15), False) for s in rough]
        try:
            for step, known in enumerate((rough[:10], rough, exact)):
                self.threads.add(threading.get_ident())
                self._before(step)
                yield known, step == PARTS - 1
        finally:
            self.let_go += 1


class OverIn(Deadline):
    """A deadline that passes in one of the parts of the work, however slow the machine is."""

    def __init__(self, step: int) -> None:
        super().__init__(30)
        self._step, self._next = step, 0

    @property
    def parts(self) -> int:
        """How many were asked for."""
        return self._next

    def left(self) -> float:
        """Looked at once before each part."""
        step, self._next = self._next, self._next + 1
        return 0.1 if step == self._step else super().left()

    def wait(self, step: int) -> None:
        """In that part, until it has passed."""
        if step == self._step:
            time.sleep(0.4)


def number(passage: str) -> int:
    return int(passage.rsplit(maxsplit=1)[-1])


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Found]]:
    path: Path = tmp_path_factory.mktemp("data")
    with DataFolder.open(path) as folder:
        folder.store.set_identity(ENCODER.identity)
        documents = [Document(f"d{i:02d}", f"{TEXT} {i}") for i in range(COUNT)]
        Ingestor(folder.store, ENCODER, overlap=0).ingest(documents)
        retriever = retriever_of(folder)
        yield retriever.find(ENCODER.encode_queries([QUERY]), COUNT, {}).found


def ranked(
    found: list[Found],
    reranker: TwoPasses,
    *,
    deadline: Deadline | None = None,
    keep: int = 4,
    fitted_keep: int = 4,
    depth: int = 100,
    share: float = 1.0,
) -> Ranking:
    curve = Curve(slope=1.0, intercept=0.0, n=1000, positive=100, ece=0.0, brier=0.0)
    artifact = Calibration(
        name="test",
        date="2026-01-01",
        encoder_weights_sha256=ENCODER.identity.weights_sha256,
        query_prefix="query: ",
        passage_prefix="passage: ",
        normalizer_version=1,
        reranker_weights_sha256="f" * 64,
        rerank_weights={"en": share},
        rerank_keep=fitted_keep,
        curves={"retrieval": curve, "fused": curve, "rerank": curve},
        data={},
    )
    judge = Judge(
        ENCODER.identity, "f" * 64, artifact, Thresholds(), rerank_depth=depth, rerank_keep=keep
    )
    stage = SecondStage(reranker, judge, 8)
    try:
        return asyncio.run(stage.rank(QUERY, [QUERY], found, deadline or Deadline(30)))
    finally:
        stage.close()


def numbers(ranking: Ranking) -> list[int]:
    return [number(row.candidate.passage.text) for row in ranking.rows]


def test_the_last_scores_count_and_all_parts_run_in_the_models_thread(found: list[Found]) -> None:
    reranker = TwoPasses()
    assert isinstance(reranker, WholeReranker)
    ranking = ranked(found, reranker)
    assert numbers(ranking) == sorted(range(COUNT), reverse=True)
    assert [row.score for row in ranking.rows[:5]] == [1.19, 1.18, 1.17, 1.16, 0.15]
    assert (ranking.report.status, ranking.report.scored) == ("complete", COUNT)
    assert None not in {row.probability for row in ranking.rows}
    assert len(reranker.threads) == 1
    assert threading.get_ident() not in reranker.threads


@pytest.mark.parametrize(
    ("slow", "scored", "reason"),
    [(1, 10, "follows in stage one's order"), (2, COUNT, "gone through all layers")],
)
def test_out_of_time_it_orders_by_what_is_known(
    found: list[Found], slow: int, scored: int, reason: str
) -> None:
    deadline = OverIn(slow)
    ranking = ranked(found, TwoPasses(deadline.wait), deadline=deadline)
    assert (ranking.report.status, ranking.report.scored) == ("partial", scored)
    assert ranking.report.requested == COUNT
    assert reason in (ranking.report.reason or "")
    first = [number(c.passage.text) for c in found[:scored]]
    assert numbers(ranking)[:scored] == sorted(first, reverse=True)
    assert max(row.score for row in ranking.rows[:scored]) < 1
    assert [row.candidate.rank for row in ranking.rows[scored:]] == list(range(scored + 1, 21))
    assert {row.probability for row in ranking.rows} == {None}


def test_nobody_waits_in_line_once_the_last_scores_are_there(found: list[Found]) -> None:
    deadline = OverIn(PARTS)
    assert ranked(found, TwoPasses(), deadline=deadline).report.status == "complete"
    assert deadline.parts == PARTS


def test_a_search_that_nobody_waits_for_keeps_nothing(found: list[Found]) -> None:
    """Its states are the generator's: they go when it does, and no collector has to come by."""
    deadline = OverIn(1)
    reranker = TwoPasses(deadline.wait)
    gc.disable()
    try:
        ranked(found, reranker, deadline=deadline)
    finally:
        gc.enable()
    assert reranker.let_go == 1


def test_out_of_time_before_any_score_is_stage_ones_order(found: list[Found]) -> None:
    deadline = OverIn(0)
    ranking = ranked(found, TwoPasses(deadline.wait), deadline=deadline)
    assert (ranking.report.status, ranking.report.scored) == ("partial", 0)
    assert [row.candidate.rank for row in ranking.rows] == list(range(1, COUNT + 1))


def test_a_part_that_fails_leaves_stage_ones_order(found: list[Found]) -> None:
    def fail(step: int) -> None:
        if step == 1:
            raise InferenceError("two passes failed")

    ranking = ranked(found, TwoPasses(fail))
    assert ranking.report.status == "failed"
    assert [row.candidate.rank for row in ranking.rows] == list(range(1, COUNT + 1))


@pytest.mark.parametrize("share", [1.0, 0.4])
@pytest.mark.parametrize(
    ("keep", "fitted", "calibrated"),
    [(4, 4, True), (4, 0, False), (0, 4, False), (4, 6, False), (100, 0, True), (0, 200, True)],
)
def test_only_what_was_kept_as_it_was_fitted_is_calibrated(
    found: list[Found], share: float, keep: int, fitted: int, calibrated: bool
) -> None:
    ranking = ranked(found, TwoPasses(), keep=keep, fitted_keep=fitted, share=share)
    assert (None not in {row.probability for row in ranking.rows}) is calibrated
    assert ranking.report.status == "complete"


@pytest.mark.parametrize(("keep", "calibrated"), [(4, False), (0, True), (100, True)])
def test_as_many_of_fewer_candidates_are_another_choice(
    found: list[Found], keep: int, calibrated: bool
) -> None:
    ranking = ranked(found, TwoPasses(), keep=keep, fitted_keep=keep, depth=50)
    assert (None not in {row.probability for row in ranking.rows}) is calibrated


@pytest.mark.parametrize(
    ("own", "keep"),
    [({}, 20), ({"rerank_depth": 30}, 20), ({"reranker": "ours"}, 20), ({"reranker": "none"}, 0)],
)
def test_a_collection_with_a_reranker_of_its_own_is_not_held_to_the_servers_number(
    own: dict[str, str | int], keep: int
) -> None:
    record = CollectionRecord(created=datetime.now(UTC), settings=own)
    assert settings_of(record, Settings(reranker="ours", rerank_keep=20)).rerank_keep == keep
