from dataclasses import replace

import pytest

from service.confidence.calibration import (
    Calibration,
    Curve,
    load_calibration,
    shipped_calibrations,
)
from service.confidence.judge import Judge
from service.confidence.words import Thresholds
from service.errors import ModelSourceError
from service.types import EncoderIdentity

ENCODER = EncoderIdentity("e5-small", "a" * 64, 384, "query: ", "passage: ", 256, 1)
RERANKER = "b" * 64


def curve(slope: float) -> Curve:
    return Curve(slope=slope, intercept=0.0, n=1000, positive=100, ece=0.01, brier=0.02)


ARTIFACT = Calibration(
    name="test",
    date="2026-01-01",
    encoder_weights_sha256=ENCODER.weights_sha256,
    query_prefix="query: ",
    passage_prefix="passage: ",
    normalizer_version=1,
    reranker_weights_sha256=RERANKER,
    rerank_weights={"en": 0.35},
    curves={"retrieval": curve(1.0), "fused": curve(2.0)},
    data={},
)


def judge(**changes: object) -> Judge:
    return replace(Judge(ENCODER, RERANKER, ARTIFACT, Thresholds()), **changes)


def test_weight_is_the_artifacts_for_a_named_language_and_none_for_others() -> None:
    assert judge().rerank_weight("en") == 0.35
    assert judge().rerank_weight("ja") == 0.0


def test_an_unknown_reranker_orders_alone_and_uncalibrated() -> None:
    other = judge(reranker_weights_sha256="c" * 64)
    assert other.rerank_weight("en") == 1.0
    assert other.probabilities([1.0], "rerank", "en") is None
    assert other.probabilities([1.0], "fused", "en") is None


def test_cosines_stay_calibrated_under_another_reranker() -> None:
    other = judge(reranker_weights_sha256="c" * 64)
    assert other.probabilities([0.0], "retrieval") == [0.5]


@pytest.mark.parametrize(
    "encoder",
    [
        replace(ENCODER, weights_sha256="d" * 64),
        replace(ENCODER, query_prefix=""),
        replace(ENCODER, passage_prefix=""),
        replace(ENCODER, normalizer_version=2),
    ],
)
def test_another_encoder_is_uncalibrated(encoder: EncoderIdentity) -> None:
    other = judge(encoder=encoder)
    assert other.name is None
    assert other.probabilities([0.9], "retrieval") is None
    assert other.probabilities([0.9], "fused", "en") is None


def test_each_ordering_has_its_own_curve() -> None:
    (by_cosine,) = judge().probabilities([1.0], "retrieval") or []
    (by_both,) = judge().probabilities([1.0], "fused", "en") or []
    assert by_cosine == pytest.approx(0.7311, abs=1e-4)
    assert by_both == pytest.approx(0.8808, abs=1e-4)


def test_the_operators_own_weight_is_uncalibrated_unless_it_is_the_fitted_one() -> None:
    assert judge(weight_override=0.5).rerank_weight("ja") == 0.5
    assert judge(weight_override=0.5).probabilities([1.0], "fused", "en") is None
    assert judge(weight_override=0.35).probabilities([1.0], "fused", "en") is not None


@pytest.mark.parametrize(
    ("probability", "word"),
    [
        (None, "uncalibrated"),
        (0.0, "low"),
        (0.4999, "low"),
        (0.5, "medium"),
        (0.8, "high"),
        (1.0, "high"),
    ],
)
def test_words_begin_at_their_thresholds(probability: float | None, word: str) -> None:
    assert Thresholds().word(probability) == word


def test_probability_of_an_extreme_score_does_not_overflow() -> None:
    assert curve(1.0).probability([-1e6, 1e6]) == [0.0, 1.0]


def test_an_artifact_survives_its_file(tmp_path) -> None:
    path = tmp_path / "a.json"
    path.write_text(ARTIFACT.model_dump_json())
    assert load_calibration(path) == ARTIFACT


@pytest.mark.parametrize("content", ["", "{}", '{"format": 2}', "no json"])
def test_what_is_no_artifact_is_refused(tmp_path, content: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(content)
    with pytest.raises(ModelSourceError, match="not a readable calibration"):
        load_calibration(path)


def test_shipped_artifacts_are_readable_and_named_after_their_models() -> None:
    assert all(artifact.curves for artifact in shipped_calibrations())
