"""Records that say why a hit is where it is, and why it has its word."""

from dataclasses import dataclass

from service.confidence.calibration import Ordering


@dataclass(frozen=True, slots=True)
class StageRank:
    """The place of a passage among the candidates of one stage, from 1, and its score there."""

    rank: int
    score: float


@dataclass(frozen=True, slots=True)
class TokenMatch:
    """The token of the passage that fits a token of the query best, and what it adds."""

    query: str
    passage: str
    similarity: float
    points: float


@dataclass(frozen=True, slots=True)
class Judgement:
    """What gave a hit its word: a curve of a calibration, read at `score`, and the thresholds.

    A threshold is None where its word is never given.
    """

    calibration: str | None
    curve: Ordering | None
    score: float
    probability: float | None
    high: float | None
    medium: float | None
    reason: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """The stages of one hit. `dense`, `sparse` and `retrieval` rank passages, the others documents.

    `matches` are the greatest; all of them and `similarity_points` add up to the rerank score.
    """

    dense: StageRank
    sparse: StageRank | None
    retrieval: StageRank
    rerank: StageRank | None
    final: StageRank
    similarity_points: float | None
    matches: list[TokenMatch]
    judgement: Judgement
