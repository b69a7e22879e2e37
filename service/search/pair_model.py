"""Do two queries mean the same? The pair model's cosine against its threshold."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from service.protocols import Encoder
from service.scheduling.batcher import OwnerThread
from service.scheduling.gate import Deadline, Gate, Limits
from service.scheduling.shares import SHARES, one_caller
from service.search.query import Timings
from service.text.normalizer import normalize
from service.types import Vectors

DECIMALS = 6
"""A similarity is rounded to this; float32 is no more exact."""


@dataclass(frozen=True, slots=True)
class QueryVector:
    """A query's vector, shape (dim,); `truncated` if the model did not read its end."""

    vector: Vectors
    truncated: bool


@dataclass(frozen=True, slots=True)
class PairVerdict:
    """A pair's cosine (-1 to 1), whether it reaches the threshold, and whether a text was cut."""

    similarity: float
    same: bool
    truncated: bool


@dataclass(frozen=True, slots=True)
class Comparison:
    """Verdicts in the order of the pairs."""

    verdicts: list[PairVerdict]
    timings_ms: dict[str, float]


def cosine(first: Vectors, second: Vectors) -> float:
    """Cosine of two vectors, rounded; the same either way round, 1.0 for equal ones."""
    a, b = first.astype(np.float64), second.astype(np.float64)
    similarity = float(np.dot(a, b) / np.sqrt(np.dot(a, a) * np.dot(b, b)))
    return round(max(-1.0, min(1.0, similarity)), DECIMALS)


class PairModel:
    """A bi-encoder with the cosine from which two queries mean the same. From one event loop."""

    def __init__(self, encoder: Encoder, threshold: float, limits: Limits) -> None:
        self.encoder, self.threshold, self.limits = encoder, threshold, limits
        self._gate = Gate(limits.queue, "comparisons")
        self._thread = OwnerThread("pairs")

    @property
    def name(self) -> str:
        """The model's name."""
        return self.encoder.identity.model

    def close(self) -> None:
        """Stop the model's thread; waits for the work that runs."""
        self._thread.close()

    async def compare(
        self, pairs: Sequence[tuple[str, str]], timeout_ms: int | None = None
    ) -> Comparison:
        """Judge each pair. The verdict of a pair does not depend on the other pairs.

        Raises `UnprocessableTextError` (empty or too long; the field is `pairs.<index>.a` or
        `.b`), `OverloadedError` (queue full) and `DeadlineError`.
        """
        with one_caller() as caller, self._gate.permit(), SHARES.at_work(caller.account):
            timings = Timings()
            deadline = Deadline((timeout_ms or self.limits.timeout_ms) / 1000)
            with timings.stage("normalize"):
                cleaned = await self._thread.run(deadline, partial(self._normalize, pairs))
            with timings.stage("encode"):
                distinct = dict.fromkeys(text for pair in cleaned for text in pair)
                encoded = {text: await self.encode(text, deadline) for text in distinct}
            return Comparison(
                [self._judge(encoded[a], encoded[b]) for a, b in cleaned], timings.finish()
            )

    async def encode(self, text: str, deadline: Deadline) -> QueryVector:
        """A normalised query's vector. Raises `DeadlineError` and `InferenceError`."""
        return await self._thread.run(deadline, partial(self._encode, text))

    def _normalize(self, pairs: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
        prefixes = self.encoder.identity.prefixes
        clean = partial(normalize, max_chars=self.limits.query_chars, prefixes=prefixes)
        return [
            (clean(a, field=f"pairs.{index}.a").text, clean(b, field=f"pairs.{index}.b").text)
            for index, (a, b) in enumerate(pairs)
        ]

    def _encode(self, text: str) -> QueryVector:
        # One text at a time: padding beside longer texts would change the last digits of its
        # vector, and so a verdict at the threshold. Other requests get their turn as well.
        vector = self.encoder.encode_queries([text])[0]
        return QueryVector(vector, self.encoder.count_tokens([text])[0] > self.encoder.query_budget)

    def _judge(self, first: QueryVector, second: QueryVector) -> PairVerdict:
        similarity = cosine(first.vector, second.vector)
        truncated = first.truncated or second.truncated
        return PairVerdict(similarity, similarity >= self.threshold, truncated)
