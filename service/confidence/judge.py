"""The one rule that gives a hit its probability and its word: high, medium or low."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from service.confidence.calibration import MIXED, Calibration, Ordering
from service.types import EncoderIdentity, Word

ORDER: dict[Word, int] = {"uncalibrated": -1, "low": 0, "medium": 1, "high": 2}

HIGH, MEDIUM = 0.8, 0.5
"""Thresholds that apply if neither the settings nor the calibration name any."""


@dataclass(frozen=True, slots=True)
class Thresholds:
    """The lowest probabilities of a `high` and a `medium` hit; above 1 the word is never given."""

    high: float = HIGH
    medium: float = MEDIUM

    def word(self, probability: float | None) -> Word:
        """`uncalibrated` for None: a word is never guessed."""
        if probability is None:
            return "uncalibrated"
        if probability >= self.high:
            return "high"
        return "medium" if probability >= self.medium else "low"

    @classmethod
    def of(
        cls, artifact: Calibration | None, high: float | None = None, medium: float | None = None
    ) -> Self:
        """Where the words begin: as given, else as fitted, else the default.

        If `medium` would be above `high`, the one that was not given gives way.
        """
        fitted = {
            word: math.inf if fit.probability is None else fit.probability
            for word, fit in (artifact.thresholds if artifact else {}).items()
        }
        from_high = fitted.get("high", HIGH) if high is None else high
        from_medium = fitted.get("medium", MEDIUM) if medium is None else medium
        if high is None and medium is not None:
            return cls(max(from_high, from_medium), from_medium)
        return cls(from_high, min(from_medium, from_high))


@dataclass(frozen=True, slots=True)
class Judge:
    """What a calibration artifact, or none, says for the loaded models.

    `weight_override` is the operator's share of the reranker for every language. Hits are then
    uncalibrated, unless the artifact says the same share.
    """

    encoder: EncoderIdentity
    reranker_weights_sha256: str | None
    artifact: Calibration | None
    thresholds: Thresholds
    weight_override: float | None = None
    rerank_depth: int = 100
    """Candidates that are reranked, at most."""
    reranker_variant: str = ""

    @property
    def name(self) -> str | None:
        """The artifact's name, or None where none fits the encoder."""
        return self.artifact.name if self.artifact and self._fits_encoder else None

    @property
    def knows_reranker(self) -> bool:
        """Does the artifact hold for both models, with no override of the operator's?"""
        return self._fits_both and self.weight_override is None

    @property
    def fits_depth(self) -> bool:
        """Are fused scores, if any, those of the depth that their curve was fitted at?"""
        artifact = self.artifact
        if artifact is None or "fused" not in artifact.curves | artifact.mixed_curves:
            return True
        return self.rerank_depth == artifact.rerank_depth

    def rerank_weight(self, language: str) -> float:
        """Share of the reranker, 0 to 1, for a query in this language.

        The operator's, else the artifact's (0 for a language it does not name), which also holds
        for another variant of the same weights. For a reranker that no artifact knows it is 1: a
        cross-encoder on its own is what its authors measured.
        """
        if self.weight_override is not None:
            return self.weight_override
        artifact = self.artifact
        if artifact is None or not self._fits_encoder:
            return 1.0
        fits = artifact.fits_weights(self.reranker_weights_sha256)
        return artifact.share(language) if fits else 1.0

    def probabilities(
        self, scores: Sequence[float], ordering: Ordering, language: str
    ) -> list[float] | None:
        """Probability of each score, or None where no curve was fitted on such scores.

        Searches whose query and passages differ in language have curves of their own. A curve of
        reranked hits holds only for the fitted share. A curve of fused scores also holds only for
        the fitted depth, as these are z-scored within the candidates.
        """
        artifact = self.artifact
        if artifact is None or not self._fits_encoder:
            return None
        if ordering != "retrieval" and not (
            self._fits_both and self.rerank_weight(language) == artifact.share(language)
        ):
            return None
        if ordering == "fused" and not self.fits_depth:
            return None
        curves = artifact.mixed_curves if language == MIXED else artifact.curves
        return curves[ordering].probability(scores) if ordering in curves else None

    @property
    def _fits_encoder(self) -> bool:
        return self.artifact is not None and self.artifact.fits_encoder(self.encoder)

    @property
    def _fits_both(self) -> bool:
        return (
            self.artifact is not None
            and self._fits_encoder
            and self.artifact.fits_reranker(self.reranker_weights_sha256, self.reranker_variant)
        )
