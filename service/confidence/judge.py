"""What the loaded models make of a score: how much the reranker counts, and how sure a hit is."""

from collections.abc import Sequence
from dataclasses import dataclass

from service.confidence.calibration import Calibration, Ordering
from service.confidence.thresholds import Thresholds
from service.types import EncoderIdentity


@dataclass(frozen=True, slots=True)
class Judge:
    """A calibration artifact, or none, seen from the models that are loaded.

    `weight_override` is the operator's own share of the reranker for every language. It leaves
    hits uncalibrated, unless it is what the artifact says anyway.
    """

    encoder: EncoderIdentity
    reranker_weights_sha256: str | None
    artifact: Calibration | None
    thresholds: Thresholds
    weight_override: float | None = None
    rerank_depth: int = 100
    """Candidates that are reranked, at most."""

    @property
    def name(self) -> str | None:
        """The artifact's name, or None where none fits the encoder."""
        return self.artifact.name if self._fits_encoder() and self.artifact else None

    @property
    def knows_reranker(self) -> bool:
        """Does the artifact hold for both models, with no override of the operator's?"""
        return self._fits_both() and self.weight_override is None

    def rerank_weight(self, language: str) -> float:
        """Share of the reranker, 0 to 1, for a query in this language.

        The operator's, or the artifact's (0 for a language it does not name), or, for a reranker
        that no artifact knows, 1: a cross-encoder on its own is what its authors measured.
        """
        if self.weight_override is not None:
            return self.weight_override
        if self.artifact is not None and self._fits_both():
            return self.artifact.share(language)
        return 1.0

    @property
    def fits_depth(self) -> bool:
        """Are fused scores, if any, those of the depth that their curve was fitted at?"""
        if self.artifact is None:
            return True
        if "fused" not in self.artifact.curves | self.artifact.mixed_curves:
            return True
        return self.rerank_depth == self.artifact.rerank_depth

    def probabilities(
        self, scores: Sequence[float], ordering: Ordering, language: str
    ) -> list[float] | None:
        """Probability of each score, or None where no curve was fitted on such scores.

        Searches whose query and passages differ in language have curves of their own. A curve of
        reranked hits holds for the fitted share alone. One of fused scores holds for the fitted
        depth alone, as these are z-scored within the candidates.
        """
        if self.artifact is None:
            return None
        curve = self.artifact.curves_in(language).get(ordering)
        known = self._fits_encoder() if ordering == "retrieval" else self._fits_both()
        if curve is None or not known:
            return None
        if ordering != "retrieval" and self.rerank_weight(language) != self.artifact.share(
            language
        ):
            return None
        if ordering == "fused" and not self.fits_depth:
            return None
        return curve.probability(scores)

    def _fits_encoder(self) -> bool:
        return self.artifact is not None and self.artifact.fits_encoder(self.encoder)

    def _fits_both(self) -> bool:
        return (
            self.artifact is not None
            and self._fits_encoder()
            and self.artifact.fits_reranker(self.reranker_weights_sha256)
        )
