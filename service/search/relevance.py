"""From the scores of texts that a request brings along to numbers between 0 and 1."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp

from service.confidence.calibration import Ordering
from service.confidence.judge import Judge
from service.protocols import Reranker


@dataclass(frozen=True, slots=True)
class Scale:
    """From scores to relevance.

    `reranker` is None where the scores are cosines. `share` is its part in the score of a search.
    """

    judge: Judge
    reranker: Reranker | None
    language: str
    share: float

    def probabilities(self, scores: Sequence[float]) -> list[float] | None:
        """Calibrated; None where no calibration fits."""
        if self.reranker and self.share < 1.0:
            return None  # a curve of fused scores holds for the candidates of a search alone
        ordering: Ordering = "rerank" if self.reranker else "retrieval"
        return self.judge.probabilities(scores, ordering, self.language)

    def relevance(self, scores: Sequence[float]) -> list[float]:
        """Probabilities, or where there are none numbers that rise with the scores."""
        return self.probabilities(scores) or [self._squashed(score) for score in scores]

    def _squashed(self, score: float) -> float:
        if self.reranker is None:
            return (1.0 + score) / 2.0
        if self.reranker.reads == "states":
            # Logits of any scale: a logistic function would make most of them the same.
            return 0.5 + 0.5 * score / (1.0 + abs(score))
        return 1.0 / (1.0 + exp(-score)) if score > -700.0 else 0.0
