"""Logits kept on disk, so that an interrupted rerank continues where it stopped."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from itertools import count
from pathlib import Path

from service.evaluation.kept_rows import KeptRows
from service.protocols import Reranker
from service.settings import Settings
from service.types import (
    EncodedPassage,
    EncodedQuery,
    EncoderIdentity,
    PairScore,
    TokenMatches,
    TokenStates,
)


class CachedReranker(Reranker, AbstractContextManager["CachedReranker"]):
    """A reranker that scores each (query, passage) pair once.

    A logit's key is the SHA-256 of the weights' hash, `variant`, query and passage: `variant` names
    what else decides a logit, such as the window. Scores are on disk when `score` returns. As many
    threads may use it as may use the reranker, and several processes the file.
    """

    def __init__(self, reranker: Reranker, path: Path, *, variant: str) -> None:
        """Open or make the file at `path`. Raises `StoreError` if it cannot be used."""
        self.reranker = reranker
        self.model, self.weights_sha256 = reranker.model, reranker.weights_sha256
        self.variant, self.reads = variant, reranker.reads
        self.slice_size, self.concurrent = reranker.slice_size, reranker.concurrent
        self.reused = 0
        """Logits that came from disk so far."""
        self._prefix = f"{reranker.weights_sha256}\0{variant}\0".encode()
        self._rows = KeptRows(path, "logits", "logit REAL NOT NULL, cut INTEGER NOT NULL")

    def score(
        self, query: EncodedQuery, slices: Iterable[Sequence[EncodedPassage]], /
    ) -> Iterator[list[PairScore]]:
        """Logits, from disk if they are there.

        Raises as the reranker does, and `StoreError` if the file cannot be read or written.
        """
        missing: dict[bytes, EncodedPassage] = {}
        # One call for the query: a slice of it is what is missing when the next scores are taken.
        scores = self.reranker.score(query, (list(missing.values()) for _ in count()))
        for passages in slices:
            keys = [self._key(query.windows[p.window], p.text) for p in passages]
            known = self._read(keys)
            missing = {k: p for k, p in zip(keys, passages, strict=True) if k not in known}
            if missing:
                fresh = dict(zip(missing, next(scores), strict=True))
                self._rows.write(fresh)
                known |= fresh
            yield [known[key] for key in keys]

    def matches(
        self, query: EncodedQuery, passages: Sequence[EncodedPassage], /
    ) -> list[TokenMatches] | None:
        """The reranker's own."""
        return self.reranker.matches(query, passages)

    def pack(self, texts: Sequence[str], /) -> list[bytes]:
        """The reranker's own."""
        return self.reranker.pack(texts)

    def layers(self, encoder: EncoderIdentity, /) -> tuple[int, ...]:
        """The reranker's own."""
        return self.reranker.layers(encoder)

    def pack_states(self, seen: Sequence[TokenStates], /) -> list[bytes | None]:
        """The reranker's own."""
        return self.reranker.pack_states(seen)

    def close(self) -> None:
        self._rows.close()

    def __exit__(self, *_: object) -> None:
        self.close()

    def _key(self, query: str, passage: str) -> bytes:
        # The query's length separates it from the passage, whatever either holds.
        text = f"{len(query)}\0{query}{passage}".encode("utf-8", "surrogatepass")
        return hashlib.sha256(self._prefix + text).digest()

    def _read(self, keys: Sequence[bytes]) -> dict[bytes, PairScore]:
        rows = self._rows.read(keys)
        self.reused += sum(key in rows for key in keys)
        return {key: PairScore(logit, bool(cut)) for key, (logit, cut) in rows.items()}


def cached(reranker: Reranker, settings: Settings) -> CachedReranker:
    """`reranker` with its logits kept under the cache folder, in a file for its weights."""
    folder, name = settings.cache_dir / "evaluation" / "logits", reranker.weights_sha256[:16]
    return CachedReranker(reranker, folder / f"{name}.db", variant=reranker.variant)
