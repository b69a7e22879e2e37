"""A probability in one word."""

from dataclasses import dataclass

from service.types import Word

ORDER: dict[Word, int] = {"uncalibrated": -1, "low": 0, "medium": 1, "high": 2}


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Probabilities (0 to 1) from which a hit is `high`, or else `medium`."""

    high: float = 0.8
    medium: float = 0.5

    def word(self, probability: float | None) -> Word:
        """`uncalibrated` for None: a word is never guessed."""
        if probability is None:
            return "uncalibrated"
        if probability >= self.high:
            return "high"
        return "medium" if probability >= self.medium else "low"
