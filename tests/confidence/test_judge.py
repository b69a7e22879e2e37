from dataclasses import replace

import pytest
from pydantic import ValidationError

from service.confidence.calibration import (
    Calibration,
    Curve,
    WordThreshold,
    load_calibration,
    shipped_calibrations,
)
from service.confidence.judge import Judge, Thresholds
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


def test_another_variant_keeps_the_share_and_is_uncalibrated() -> None:
    artifact = ARTIFACT.model_copy(update={"reranker_variant": "window 512"})
    same = judge(artifact=artifact, reranker_variant="window 512")
    other = judge(artifact=artifact, reranker_variant="window 128")
    assert same.knows_reranker
    assert same.probabilities([1.0], "fused", "en")
    assert not other.knows_reranker
    assert other.rerank_weight("en") == 0.35
    assert other.probabilities([1.0], "fused", "en") is None
    assert other.probabilities([0.0], "retrieval", "en") == [0.5]


def test_cosines_stay_calibrated_under_another_reranker() -> None:
    other = judge(reranker_weights_sha256="c" * 64)
    assert other.probabilities([0.0], "retrieval", "en") == [0.5]


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
    assert other.probabilities([0.9], "retrieval", "en") is None
    assert other.probabilities([0.9], "fused", "en") is None


def test_each_ordering_has_its_own_curve() -> None:
    (by_cosine,) = judge().probabilities([1.0], "retrieval", "en") or []
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


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{}",
        '{"format": 3}',
        "no json",
        ARTIFACT.model_dump_json().replace('"format":4', '"format":3'),
    ],
)
def test_what_is_no_artifact_is_refused(tmp_path, content: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(content)
    with pytest.raises(ModelSourceError, match="not a readable calibration"):
        load_calibration(path)


def test_shipped_artifacts_are_readable_and_named_after_their_models() -> None:
    assert all(artifact.curves for artifact in shipped_calibrations())


def test_a_shipped_artifact_without_thresholds_has_the_default_ones() -> None:
    (first,) = (a for a in shipped_calibrations() if a.name == "e5-small+minilm-l6-v0")
    assert first.share("en") == 0.15
    assert first.share("ja") == first.share("und") == 0.0
    assert Thresholds.of(first) == Thresholds(0.8, 0.5)
    assert first.curves["retrieval"].probability([0.9]) == pytest.approx([0.5016], abs=1e-4)


EVERYWHERE = ARTIFACT.model_copy(
    update={"rerank_weights": {"*": 1.0, "sw": 0.0}, "curves": {"rerank": curve(3.0)}}
)


def test_one_share_for_every_language_is_served_and_calibrated() -> None:
    everywhere = judge(artifact=EVERYWHERE)
    assert {everywhere.rerank_weight(code) for code in ("en", "ja", "vi")} == {1.0}
    (probability,) = everywhere.probabilities([1.0], "rerank", "vi") or []
    assert probability == pytest.approx(0.9526, abs=1e-4)


def test_a_named_language_goes_its_own_way_beside_every_language() -> None:
    everywhere = judge(artifact=EVERYWHERE)
    assert everywhere.rerank_weight("sw") == 0.0
    assert everywhere.probabilities([1.0], "rerank", "sw") is not None


def test_mixed_searches_are_in_only_where_they_are_named() -> None:
    assert judge(artifact=EVERYWHERE).rerank_weight("und") == 0.0
    named = EVERYWHERE.model_copy(update={"rerank_weights": {"*": 1.0, "und": 0.6}})
    assert judge(artifact=named).rerank_weight("und") == 0.6
    assert judge(artifact=named).rerank_weight("vi") == 1.0


def test_mixed_searches_have_curves_of_their_own_or_none() -> None:
    shares = {"*": 1.0, "und": 0.6}
    named = EVERYWHERE.model_copy(update={"rerank_weights": shares})
    assert judge(artifact=named).probabilities([1.0], "rerank", "und") is None
    assert judge().probabilities([1.0], "retrieval", "und") is None
    mixed = {"retrieval": curve(0.5), "fused": curve(1.0)}
    fitted = named.model_copy(update={"mixed_curves": mixed})
    (by_both,) = judge(artifact=fitted).probabilities([1.0], "fused", "und") or []
    (by_cosine,) = judge(artifact=fitted).probabilities([1.0], "retrieval", "und") or []
    assert by_both == pytest.approx(0.7311, abs=1e-4)
    assert by_cosine == pytest.approx(0.6225, abs=1e-4)
    assert judge(artifact=fitted).probabilities([1.0], "fused", "en") is None
    (within,) = judge(artifact=fitted).probabilities([1.0], "rerank", "en") or []
    assert within == pytest.approx(0.9526, abs=1e-4)
    # At another depth only the order that rests on it loses its curve.
    shallow = judge(artifact=fitted, rerank_depth=20)
    assert not shallow.fits_depth
    assert shallow.probabilities([1.0], "fused", "und") is None
    assert shallow.probabilities([1.0], "rerank", "en") is not None


def test_fused_scores_are_calibrated_at_the_fitted_depth_and_logits_at_any() -> None:
    assert judge(rerank_depth=20).probabilities([1.0], "fused", "en") is None
    assert judge(rerank_depth=20).probabilities([1.0], "retrieval", "en") is not None
    shallow = ARTIFACT.model_copy(update={"rerank_depth": 20})
    assert judge(artifact=shallow, rerank_depth=20).probabilities([1.0], "fused", "en")
    everywhere = judge(artifact=EVERYWHERE, rerank_depth=20)
    assert everywhere.probabilities([1.0], "rerank", "en") is not None


def word(precision: float, probability: float | None) -> WordThreshold:
    return WordThreshold(
        precision=precision,
        probability=probability,
        n=100,
        coverage=0.1,
        found=precision,
        low=0.4,
        high=1.0,
    )


@pytest.mark.parametrize(
    ("fitted", "given", "expected"),
    [
        ({}, (None, None), (0.8, 0.5)),
        ({"high": 0.9, "medium": 0.6}, (None, None), (0.9, 0.6)),
        ({"high": 0.9, "medium": 0.6}, (0.7, None), (0.7, 0.6)),
        ({"high": 0.9, "medium": 0.6}, (0.5, None), (0.5, 0.5)),
        ({"high": 0.9, "medium": 0.6}, (None, 0.95), (0.95, 0.95)),
        ({"high": None, "medium": 0.6}, (None, None), (float("inf"), 0.6)),
        ({"high": 0.9, "medium": None}, (None, None), (0.9, 0.9)),
    ],
)
def test_words_begin_where_settings_or_else_the_calibration_say(fitted, given, expected) -> None:
    rows = {name: word(0.9, value) for name, value in fitted.items()}
    artifact = ARTIFACT.model_copy(update={"thresholds": rows})
    assert Thresholds.of(artifact, *given) == Thresholds(*expected)


def test_a_word_that_no_probability_reaches_is_never_given() -> None:
    never = Thresholds.of(ARTIFACT.model_copy(update={"thresholds": {"high": word(0.99, None)}}))
    assert never.word(1.0) == "medium"


@pytest.mark.parametrize(
    "knots",
    [
        ((0.1, 0.2), (0.1, 0.4)),
        ((0.1, 0.4), (0.2, 0.4)),
        ((0.1, 0.0), (0.2, 0.4)),
        ((0.1, 0.2), (0.2, 1.0)),
        (),
    ],
)
def test_knots_that_would_change_an_order_are_refused(knots) -> None:
    plain = curve(1.0).model_dump()
    with pytest.raises(ValidationError):
        Curve(**{**plain, "method": "isotonic", "knots": knots})
