"""The calibration artifact: which weights it belongs to, how it ranks, what its scores mean."""

import math
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from service.errors import ModelSourceError
from service.types import EncoderIdentity

Ordering = Literal["retrieval", "fused", "rerank"]
"""What orders the hits: the cosine, the cosine moved by the logit, or the logit alone."""


class Curve(BaseModel):
    """Platt scaling: probability = 1 / (1 + exp(-(slope * score + intercept))).

    J. Platt, "Probabilistic Outputs for Support Vector Machines", 1999. `ece` and `brier` are
    those of the labels it was fitted on, cross-validated; `n` hits, `positive` of them relevant.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    slope: float = Field(gt=0, allow_inf_nan=False)
    intercept: float = Field(allow_inf_nan=False)
    n: int = Field(ge=1)
    positive: int = Field(ge=1)
    ece: float = Field(ge=0, le=1)
    brier: float = Field(ge=0, le=1)

    def probability(self, scores: Sequence[float], /) -> list[float]:
        """Probabilities of relevance, 0 to 1, in input order; higher score, higher probability."""
        return [_sigmoid(self.slope * score + self.intercept) for score in scores]


class Calibration(BaseModel):
    """Bound to one pair of models; any other pair is `uncalibrated`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    name: str
    date: str
    encoder_weights_sha256: str
    query_prefix: str
    passage_prefix: str
    normalizer_version: int
    reranker_weights_sha256: str | None
    rerank_weights: dict[str, float]
    """Language code -> share of the reranker; a language that is not named is not reranked."""
    curves: dict[Ordering, Curve]
    data: dict[str, str]
    """Collection -> SHA-256 over its three files."""

    def fits_encoder(self, encoder: EncoderIdentity) -> bool:
        """Are cosines of this encoder what the `retrieval` curve was fitted on?"""
        return (
            self.encoder_weights_sha256 == encoder.weights_sha256
            and self.query_prefix == encoder.query_prefix
            and self.passage_prefix == encoder.passage_prefix
            and self.normalizer_version == encoder.normalizer_version
        )

    def fits_reranker(self, weights_sha256: str | None) -> bool:
        """Are these the reranker weights that the other curves were fitted on?"""
        return weights_sha256 is not None and self.reranker_weights_sha256 == weights_sha256


def load_calibration(path: Path) -> Calibration:
    """Read an artifact; raises `ModelSourceError` when it is not one."""
    try:
        return Calibration.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, ValidationError) as error:
        raise ModelSourceError(f"{path} is not a readable calibration artifact: {error}") from error


def shipped_calibrations() -> list[Calibration]:
    """The artifacts in this package, by file name."""
    folder = files("service.confidence").joinpath("artifacts")
    texts = {e.name: e.read_text(encoding="utf-8") for e in folder.iterdir()}
    names = sorted(name for name in texts if name.endswith(".json"))
    return [Calibration.model_validate_json(texts[name]) for name in names]


def _sigmoid(x: float) -> float:
    return 1.0 / (1.0 + math.exp(-x)) if x >= 0 else math.exp(x) / (1.0 + math.exp(x))
