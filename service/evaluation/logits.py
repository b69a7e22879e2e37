"""Logits kept on disk, so that a long rerank that was interrupted goes on where it stopped."""

import hashlib
import sqlite3
import threading
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from service.errors import StoreError
from service.pipeline.passage_states import RememberingReranker
from service.protocols import PackingReranker, Reranker, StateReranker
from service.settings import Settings
from service.types import PairScore

_SCHEMA = """
CREATE TABLE IF NOT EXISTS logits (key BLOB PRIMARY KEY, logit REAL NOT NULL, cut INTEGER NOT NULL)
WITHOUT ROWID
"""


class CachedReranker(AbstractContextManager["CachedReranker"]):
    """A reranker that scores each (query, passage) pair once. Implements `protocols.Reranker`.

    A logit's key is the SHA-256 of the weights' hash, `variant`, query and passage: `variant` names
    whatever else decides a logit, such as the window. What was scored is on the disk when `score`
    returns. May be used from several threads, and its file by several processes at once.

    Example:
        with CachedReranker(reranker, path, variant="512") as cached:
            scores = cached.score([("query", "passage")])
    """

    def __init__(self, reranker: Reranker, path: Path, *, variant: str) -> None:
        """Open or make the file at `path`. Raises `StoreError` where it cannot be used."""
        self.reranker = reranker
        self.reused = 0
        """Logits that came from the disk so far."""
        self._path = path
        self._prefix = f"{reranker.weights_sha256}\0{variant}\0".encode()
        self._lock = threading.Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(path, timeout=60, check_same_thread=False)
            self._database.execute("PRAGMA journal_mode=WAL")
            self._database.execute("PRAGMA synchronous=NORMAL")
            self._database.execute(_SCHEMA)
        except (OSError, sqlite3.Error) as error:
            raise StoreError(f"{path}: the logits' file cannot be used: {error}") from error

    @property
    def model(self) -> str:
        """The model's name."""
        return self.reranker.model

    @property
    def weights_sha256(self) -> str:
        """The hash of the model's files."""
        return self.reranker.weights_sha256

    def score(self, pairs: Sequence[tuple[str, str]], /) -> list[PairScore]:
        """Logits in input order, from the disk where they are there.

        Raises as the reranker does, and `StoreError` where the file cannot be read or written.
        """
        keys = [self._key(query, passage) for query, passage in pairs]
        with self._lock:
            known = self._read(keys)
            self.reused += sum(key in known for key in keys)
            missing = {k: p for k, p in zip(keys, pairs, strict=True) if k not in known}
            if missing:
                scores = self.reranker.score(list(missing.values()))
                fresh = dict(zip(missing, scores, strict=True))
                self._write(fresh)
                known |= fresh
        return [known[key] for key in keys]

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def __exit__(self, *_: object) -> None:
        self.close()

    def _key(self, query: str, passage: str) -> bytes:
        # The query's length parts it from the passage, whatever either holds.
        text = f"{len(query)}\0{query}{passage}".encode("utf-8", "surrogatepass")
        return hashlib.sha256(self._prefix + text).digest()

    def _read(self, keys: Sequence[bytes]) -> dict[bytes, PairScore]:
        known: dict[bytes, PairScore] = {}
        try:
            for key in keys:
                statement = "SELECT logit, cut FROM logits WHERE key = ?"
                if found := self._database.execute(statement, [key]).fetchone():
                    known[key] = PairScore(found[0], bool(found[1]))
        except sqlite3.Error as error:
            raise StoreError(f"{self._path}: cannot be read: {error}") from error
        return known

    def _write(self, fresh: dict[bytes, PairScore]) -> None:
        rows = [(key, score.logit, score.truncated) for key, score in fresh.items()]
        try:
            with self._database:
                self._database.executemany("INSERT OR REPLACE INTO logits VALUES (?, ?, ?)", rows)
        except sqlite3.Error as error:
            raise StoreError(f"{self._path}: cannot be written: {error}") from error


def cached(reranker: Reranker, settings: Settings) -> CachedReranker:
    """`reranker` with its logits kept under the cache folder, one file a model's weights."""
    name = f"{reranker.weights_sha256[:16]}.db"
    path = settings.cache_dir / "evaluation" / "logits" / name
    own = reranker.reranker if isinstance(reranker, RememberingReranker) else reranker
    return CachedReranker(reranker, path, variant=_variant(own, settings))


def _variant(reranker: Reranker | PackingReranker, settings: Settings) -> str:
    """What decides a logit beside the weights; fp32 is the same wherever it runs."""
    variant = f"window {settings.rerank_max_length}"
    backend = getattr(reranker, "backend", "torch")
    if backend in {"torch-bf16", "onnx-int8"}:
        variant += f", {backend}"
    if settings.rerank_window and hasattr(reranker, "backend"):
        variant += f", best {settings.rerank_window}"
    if isinstance(reranker, StateReranker):
        variant += ", eight bits"  # logits of states with more are other ones, of the same weights
    return variant
