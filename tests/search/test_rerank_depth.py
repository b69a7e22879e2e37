"""What the rerank's depth and shares for every language do to an answer."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.confidence.calibration import Calibration, Curve
from service.confidence.judge import Judge, Thresholds
from service.scheduling.gate import Deadline
from service.search import second_stage
from service.search.query import encode_queries
from service.search.retriever import Found
from service.search.second_stage import Ranking, SecondStage
from service.store.data_folder import DataFolder
from service.types import Document, StoredPassage
from service.write.ingestor import Ingestor
from tests.fixtures.doubles import HashEncoder, ScriptedReranker
from tests.fixtures.live import retriever_of

ENCODER = HashEncoder()
TEXT = "the tide rises and falls twice a day because of the moon and its pull on the sea number"
QUERY = f"{TEXT} 7"
FOREIGN = "Почему прилив бывает два раза в сутки и при чём здесь луна?"


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Found]]:
    path: Path = tmp_path_factory.mktemp("data")
    with DataFolder.open(path) as folder:
        folder.store.set_identity(ENCODER.identity)
        documents = [Document(f"d{i:02d}", f"{TEXT} {i}") for i in range(30)]
        Ingestor(folder.store, ENCODER, overlap=0).ingest(documents)
        retriever = retriever_of(folder)
        yield retriever.find(ENCODER.encode_queries([QUERY]), 30, {}).found


def last_number(passage: str) -> float:
    return float(passage.rsplit(maxsplit=1)[-1])


def ranked(
    found: list[Found],
    weights: dict[str, float],
    *,
    depth: int = 100,
    fitted_depth: int = 100,
    query: str = QUERY,
    reranker: ScriptedReranker | None = None,
) -> Ranking:
    curve = Curve(slope=1.0, intercept=-15.0, n=1000, positive=100, ece=0.0, brier=0.0)
    artifact = Calibration(
        name="test",
        date="2026-01-01",
        encoder_weights_sha256=ENCODER.identity.weights_sha256,
        query_prefix="query: ",
        passage_prefix="passage: ",
        normalizer_version=1,
        reranker_weights_sha256="f" * 64,
        rerank_weights=weights,
        rerank_depth=fitted_depth,
        curves={"retrieval": curve, "fused": curve, "rerank": curve},
        mixed_curves={"rerank": curve},
        data={},
    )
    judge = Judge(ENCODER.identity, "f" * 64, artifact, Thresholds(), rerank_depth=depth)
    stage = SecondStage(reranker or ScriptedReranker(last_number), judge, 8)
    (asked,) = encode_queries(ENCODER, [query])
    try:
        return asyncio.run(stage.rank(query, asked, found, Deadline(30)))
    finally:
        stage.close()


def test_what_is_below_the_depth_follows_in_stage_ones_order(found: list[Found]) -> None:
    reranker = ScriptedReranker(last_number)
    ranking = ranked(found, {"en": 1.0}, depth=12, reranker=reranker)
    assert sum(reranker.calls) == 12
    assert (ranking.report.status, ranking.report.reason) == ("complete", None)
    assert (ranking.report.requested, ranking.report.scored) == (12, 12)
    first, rest = ranking.rows[:12], ranking.rows[12:]
    numbers = [last_number(row.candidate.passage.text) for row in first]
    assert numbers == sorted(numbers, reverse=True)
    assert {row.candidate.rank for row in first} == set(range(1, 13))
    assert [row.candidate.rank for row in rest] == list(range(13, 31))
    assert {row.probability for row in rest} == {None}
    assert None not in {row.probability for row in first}


def test_a_depth_of_0_is_stage_ones_order_calibrated_for_it(found: list[Found]) -> None:
    reranker = ScriptedReranker(last_number)
    ranking = ranked(found, {"en": 1.0}, depth=0, reranker=reranker)
    assert reranker.calls == []
    assert (ranking.report.status, ranking.report.requested) == ("skipped", 0)
    assert "rerank_depth is 0" in (ranking.report.reason or "")
    assert [row.candidate.rank for row in ranking.rows] == list(range(1, 31))
    assert ranking.rows[0].probability is not None


def test_fused_scores_of_another_depth_than_the_fitted_one_are_uncalibrated(
    found: list[Found],
) -> None:
    other = ranked(found, {"en": 0.4}, depth=12)
    assert {row.probability for row in other.rows} == {None}
    fitted = ranked(found, {"en": 0.4}, depth=12, fitted_depth=12)
    assert fitted.rows[0].probability is not None
    assert [r.candidate.rank for r in fitted.rows] == [r.candidate.rank for r in other.rows]


@pytest.mark.parametrize("weights", [{"*": 1.0}, {"*": 1.0, "und": 1.0}])
def test_a_share_for_every_language_is_served_calibrated(
    found: list[Found], weights: dict[str, float]
) -> None:
    ranking = ranked(found, weights)
    assert ranking.language == "en"
    assert ranking.order == "rerank_score"
    assert last_number(ranking.rows[0].candidate.passage.text) == 29.0
    probabilities = [row.probability for row in ranking.rows]
    assert None not in probabilities
    assert probabilities == sorted(probabilities, reverse=True)


def test_a_mixed_search_is_reranked_where_it_was_fitted_and_only_there(
    found: list[Found],
) -> None:
    within = ranked(found, {"*": 1.0, "und": 1.0}, query=FOREIGN)
    assert (within.language, within.report.status) == ("und", "complete")
    assert within.rows[0].probability is not None
    outside = ranked(found, {"*": 1.0}, query=FOREIGN)
    assert outside.report.status == "skipped"
    assert "different languages" in (outside.report.reason or "")
    assert {row.probability for row in outside.rows} == {None}


def test_no_text_is_cleaned_for_a_passage_whose_states_are_stored(
    found: list[Found], monkeypatch: pytest.MonkeyPatch
) -> None:
    cleaned: list[StoredPassage] = []
    monkeypatch.setattr(second_stage, "stored_text", lambda passage, _: cleaned.append(passage))
    judge = Judge(ENCODER.identity, None, None, Thresholds())
    stage = SecondStage(None, judge, 8, stored=lambda rows: {row.id: b"states" for row in rows})
    given = stage.passages(found)
    stage.close()
    assert [passage.packed for passage in given] == [b"states"] * 30
    assert not cleaned
