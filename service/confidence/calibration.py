"""The calibration artifact: which weights it belongs to, how it ranks, what its scores mean."""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from service.errors import ModelSourceError
from service.types import EncoderIdentity

Ordering = Literal["retrieval", "fused", "rerank"]
"""What orders the hits: the cosine, the cosine moved by the logit, or the logit."""

Method = Literal["platt", "isotonic"]

Measure = Literal["logit", "confidence", "query_tokens"]
"""What is known of each search: its first hit's logit and word (as `ORDER`), its query's length."""

EVERY_LANGUAGE = "*"
"""Key of the share for every language that is not named."""

MIXED = "und"
"""The language of a search whose query and passages differ. `EVERY_LANGUAGE` does not include it,
and it has its own curves."""


class Curve(BaseModel):
    """From a score to a probability; rises strictly over the whole line, so no order changes.

    `platt`: 1 / (1 + exp(-(slope * score + intercept))). J. Platt, "Probabilistic Outputs for
    Support Vector Machines", 1999.

    `isotonic`: straight lines between `knots` (score, probability), both rising; beyond the first
    and last knot the tails of the Platt curve, scaled to meet them. The knots are the centres of
    the levels of an isotonic regression (Oron, Flournoy, "Centered Isotonic Regression", 2017),
    because within a level all scores would share one probability.

    `ece`, `brier` and `log_loss` are those of the labels it was fitted on, cross-validated; `n`
    hits, `positive` of them relevant.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: Method = "platt"
    slope: float = Field(gt=0, allow_inf_nan=False)
    intercept: float = Field(allow_inf_nan=False)
    knots: tuple[tuple[float, float], ...] = ()
    n: int = Field(ge=1)
    positive: int = Field(ge=1)
    ece: float = Field(ge=0, le=1)
    brier: float = Field(ge=0, le=1)
    log_loss: float | None = None

    @model_validator(mode="after")
    def _check_knots(self) -> "Curve":
        if (self.method == "isotonic") != bool(self.knots):
            raise ValueError("an isotonic curve has knots, a Platt curve has none")
        flat = np.array(self.knots or [(0.0, 0.5)], np.float64)
        if not np.isfinite(flat).all() or (np.diff(flat, axis=0) <= 0).any():
            raise ValueError("knots must be finite and rise in score and in probability")
        if not 0.0 < flat[0, 1] <= flat[-1, 1] < 1.0:
            raise ValueError("a knot's probability must be above 0 and below 1")
        return self

    def probability(self, scores: Sequence[float], /) -> list[float]:
        """Probabilities of relevance, 0 to 1, in input order; higher score, higher probability."""
        found = probabilities(np.asarray(scores, float), self.slope, self.intercept, self.knots)
        return [float(p) for p in found]


def probabilities(
    scores: NDArray[np.float64],
    slope: float,
    intercept: float,
    knots: Sequence[tuple[float, float]] = (),
) -> NDArray[np.float64]:
    """`Curve.probability` for scores of shape (n,) and a curve that is not a record yet."""
    x = slope * scores + intercept
    if not knots:
        alone: NDArray[np.float64] = np.exp(_log_sigmoid(x))
        return alone
    at, values = np.array(knots, np.float64).T
    first, last = slope * at[0] + intercept, slope * at[-1] + intercept
    # The exponents are at most 0 on the tail that each belongs to; elsewhere they are not used.
    below = values[0] * np.exp(np.minimum(_log_sigmoid(x) - _log_sigmoid(first), 0.0))
    above = 1.0 - (1.0 - values[-1]) * np.exp(
        np.minimum(_log_sigmoid(-x) - _log_sigmoid(-last), 0.0)
    )
    between = np.interp(scores, at, values)
    tails = np.where(scores < at[0], below, above)
    outside = (scores < at[0]) | (scores > at[-1])
    result: NDArray[np.float64] = np.where(outside, tails, between)
    return result


class WordThreshold(BaseModel):
    """From which probability a hit gets a word, and how precise the word was on held-out labels.

    `probability` is the smallest from which the word's hits were relevant at least `precision` of
    the time; None where there was none, so that the word is not given. `found` is the precision on
    queries that the threshold was not chosen on (cross-fitted), with its 95 % Wilson interval
    `low` to `high`, over `n` hits, which are the share `coverage` of all.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    precision: float = Field(gt=0, le=1)
    probability: float | None = Field(ge=0, le=1)
    n: int = Field(ge=0)
    coverage: float = Field(ge=0, le=1)
    found: float | None
    low: float | None
    high: float | None


class Histogram(BaseModel):
    """How many values are below the first border, between two, and from the last one on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    borders: tuple[float, ...]
    counts: tuple[int, ...]

    @model_validator(mode="after")
    def _check(self) -> "Histogram":
        if not np.isfinite(self.borders).all() or (np.diff(self.borders) <= 0).any():
            raise ValueError("borders must be finite and rise")
        if len(self.counts) != len(self.borders) + 1 or min(self.counts) < 0:
            raise ValueError("there must be one count more than borders, none of them negative")
        return self

    def place(self, value: float) -> int:
        """The place of the value's count."""
        return bisect_right(self.borders, value)


class Adjustment(BaseModel):
    """How few labels moved a curve: its log odds became `shift + scale * log odds`.

    `low` and `high` end 95 % intervals; `together` is the covariance of the shift and the logarithm
    of the scale. `hits` of `queries` were judged.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    shift: float
    shift_low: float
    shift_high: float
    scale: float = Field(gt=0)
    scale_low: float
    scale_high: float
    together: float
    hits: int
    queries: int


class Calibration(BaseModel):
    """Bound to one encoder and one variant of one reranker; with others hits are `uncalibrated`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[4] = 4
    name: str
    date: str
    encoder_weights_sha256: str
    query_prefix: str
    passage_prefix: str
    normalizer_version: int
    reranker_weights_sha256: str | None
    reranker_variant: str = ""
    """As `Reranker.variant`: the window and the precision also decide what a logit means."""
    rerank_weights: dict[str, float]
    """Language code -> share of the reranker, 0 to 1. `*` is for languages that are not named,
    `und` for searches whose query and passages differ. What has no share is not reranked."""
    rerank_depth: int = Field(100, ge=0)
    """Candidates that were reranked; fused scores of another number mean something else."""
    thresholds: dict[Literal["high", "medium"], WordThreshold] = Field(default_factory=dict)
    curves: dict[Ordering, Curve]
    mixed_curves: dict[Ordering, Curve] = Field(default_factory=dict)
    """For searches whose query and passages differ; without these they are uncalibrated."""
    reference: dict[Measure, Histogram] = Field(default_factory=dict)
    """The labelled searches as they are; drift is measured against it, or not without it."""
    data: dict[str, str]
    """Collection -> SHA-256 over its three files, or over its labels."""
    adjusted_from: str | None = None
    """The artifact whose curves were moved by few labels; None for curves of their own."""
    adjustments: dict[Ordering, Adjustment] = Field(default_factory=dict)
    """How the curves of that artifact were moved; those not named are as they were."""

    def share(self, language: str) -> float:
        """The reranker's share in this language; 0 where it was not fitted."""
        return share_in(self.rerank_weights, language)

    def fits_encoder(self, encoder: EncoderIdentity) -> bool:
        """Are cosines of this encoder what the `retrieval` curve was fitted on?"""
        return (
            self.encoder_weights_sha256 == encoder.weights_sha256
            and self.query_prefix == encoder.query_prefix
            and self.passage_prefix == encoder.passage_prefix
            and self.normalizer_version == encoder.normalizer_version
        )

    def fits_weights(self, weights_sha256: str | None) -> bool:
        """Are these the reranker weights that the shares were fitted on, in whatever variant?"""
        return weights_sha256 is not None and self.reranker_weights_sha256 == weights_sha256

    def fits_reranker(self, weights_sha256: str | None, variant: str) -> bool:
        """Are logits of this reranker what the other curves were fitted on?"""
        return self.fits_weights(weights_sha256) and self.reranker_variant == variant


def share_in(rerank_weights: Mapping[str, float], language: str) -> float:
    """`Calibration.share` for shares that are not in an artifact yet."""
    otherwise = 0.0 if language == MIXED else rerank_weights.get(EVERY_LANGUAGE, 0.0)
    return rerank_weights.get(language, otherwise)


def load_calibration(path: Path) -> Calibration:
    """Read an artifact; raises `ModelSourceError` when it is not one."""
    try:
        return Calibration.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, ValidationError) as error:
        raise ModelSourceError(f"{path} is not a readable calibration artifact: {error}") from error


def shipped_calibrations() -> list[Calibration]:
    """The artifacts in this package, by file name."""
    folder = files("service.confidence").joinpath("artifacts")
    found = sorted((e for e in folder.iterdir() if e.name.endswith(".json")), key=lambda e: e.name)
    return [Calibration.model_validate_json(e.read_text(encoding="utf-8")) for e in found]


def _log_sigmoid(x: NDArray[np.float64] | float) -> NDArray[np.float64]:
    result: NDArray[np.float64] = -np.logaddexp(0.0, -np.asarray(x, np.float64))
    return result
