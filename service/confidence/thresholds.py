"""A probability in one word."""

from dataclasses import dataclass

from service.types import Word

ORDER: dict[Word, int] = {"uncalibrated": -1, "low": 0, "medium": 1, "high": 2}


HIGH, MEDIUM = 0.8, 0.5
"""Thresholds where neither the settings nor a calibration name any."""


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Probabilities from which a hit is `high`, or else `medium`; above 1 the word is not given."""

    high: float = HIGH
    medium: float = MEDIUM

    def word(self, probability: float | None) -> Word:
        """`uncalibrated` for None: a word is never guessed."""
        if probability is None:
            return "uncalibrated"
        if probability >= self.high:
            return "high"
        return "medium" if probability >= self.medium else "low"
