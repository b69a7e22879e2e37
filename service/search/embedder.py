"""Vectors of texts that a request brings along."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, NamedTuple

import numpy as np

from service.errors import UnprocessableTextError
from service.protocols import Encoder
from service.scheduling.batcher import Batcher, OwnerThread
from service.scheduling.gate import Deadline, Gate, Limits
from service.scheduling.shares import SHARES, PartSize, one_caller
from service.text.normalizer import readable, require_unicode
from service.types import Piece, Vectors

Side = Literal["query", "passage"]
"""What a text is. It decides the text's prefix and window."""

CHARS_PER_TOKEN = 16
"""More characters than a token has, on average: the rest of a longer text is not even counted."""

PASS_S = 0.05
LEAST_CHARS, MOST_CHARS = 1024, 32_768
_CHARS_AROUND = 16
"""Texts go through the encoder together while a pass takes about `PASS_S`, as in `Searcher`."""


class _Text(NamedTuple):
    text: str
    side: Side
    field: str


class _Encoded(NamedTuple):
    vector: Vectors
    tokens: int
    truncated: bool


@dataclass(frozen=True, slots=True)
class Embeddings:
    """Unit vectors, float32 (n, dim), the tokens that were read, the places of texts cut short."""

    vectors: Vectors
    tokens: int
    truncated: list[int]


class Embedder:
    """Encodes the texts of many requests together. From one event loop."""

    def __init__(self, encoder: Encoder, limits: Limits, preparing: OwnerThread) -> None:
        """`preparing` is the thread that counts tokens."""
        self._preparing = preparing
        self.encoder, self._limits = encoder, limits
        self._gate = Gate(limits.queue, "embeddings")
        size = PartSize(4 * LEAST_CHARS, least=LEAST_CHARS, most=MOST_CHARS, seconds=PASS_S)
        self._batcher = Batcher(
            "embedder", self._encode, cost=lambda one: len(one.text) + _CHARS_AROUND, budget=size
        )
        self.close = self._batcher.close

    async def embed(self, texts: Mapping[str, str], side: Side) -> Embeddings:
        """Vectors in the order of the texts, each of what fits the encoder's window.

        Each text has its field of the request as key. Raises `UnprocessableTextError` for one that
        is empty after cleaning, `OverloadedError` (queue full) and `DeadlineError`.
        """
        deadline = Deadline(self._limits.timeout_ms / 1000)
        with one_caller() as caller, self._gate.permit(), SHARES.at_work(caller.account):
            return await self.vectors(texts, side, deadline)

    async def vectors(self, texts: Mapping[str, str], side: Side, deadline: Deadline) -> Embeddings:
        """As `embed`, for a request that has its permit already."""
        most = CHARS_PER_TOKEN * self._budget(side)
        items = [_Text(text[:most], side, field) for field, text in texts.items()]
        tasks = [asyncio.ensure_future(self._batcher.run(item, deadline)) for item in items]
        try:
            encoded = await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
        return Embeddings(
            np.stack([one.vector for one in encoded]),
            sum(one.tokens for one in encoded),
            [
                place
                for place, (one, text) in enumerate(zip(encoded, texts.values(), strict=True))
                if one.truncated or len(text) > most
            ],
        )

    async def pieces(self, texts: Mapping[str, str]) -> list[list[Piece]]:
        """The tokens of each text as it is; raises as `embed`, and `NotAvailableError`."""
        for field, text in texts.items():
            require_unicode(text, field)
        deadline = Deadline(self._limits.timeout_ms / 1000)
        with one_caller() as caller, self._gate.permit(), SHARES.at_work(caller.account):
            return await self._preparing.run(
                deadline, partial(self.encoder.pieces, [*texts.values()])
            )

    def _budget(self, side: Side) -> int:
        return self.encoder.query_budget if side == "query" else self.encoder.passage_budget

    def _encode(self, items: Sequence[_Text]) -> list[_Encoded]:
        encoder, found = self.encoder, dict[int, _Encoded]()
        texts = [self._cleaned(item) for item in items]
        counts = encoder.count_tokens(texts)
        for side in sorted({item.side for item in items}):
            places = [place for place, item in enumerate(items) if item.side == side]
            encode = encoder.encode_queries if side == "query" else encoder.encode_passages
            budget = self._budget(side)
            for place, vector in zip(places, encode([texts[i] for i in places]), strict=True):
                tokens = counts[place]
                found[place] = _Encoded(vector, min(tokens, budget), tokens > budget)
        return [found[place] for place in range(len(items))]

    def _cleaned(self, item: _Text) -> str:
        text = readable(item.text, self.encoder.identity.prefixes, field=item.field).text
        if not text:
            raise UnprocessableTextError(f"{item.field} is empty after cleaning", item.field)
        return text
