"""Queries as the encoder reads them: encoded in blocks, and kept on disk."""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load, save

from service.evaluation.kept_rows import KeptRows
from service.scheduling.ahead import ahead
from service.search.searcher import Searcher
from service.text.chunker import CHUNKER_VERSION
from service.types import EncodedQuery, TokenStates

BLOCK = 64
"""Queries that are encoded together."""

Encode = Callable[[Sequence[str]], list[EncodedQuery]]


class QueryCache(AbstractContextManager["QueryCache"]):
    """Encodes each query of a searcher once, with the token states that its reranker reads.

    A query's key is the SHA-256 of the encoder's identity, a vector that it gives, the layers, and
    the text. The vector changes with what runs the encoder, which its identity does not name.
    """

    def __init__(self, searcher: Searcher, folder: Path) -> None:
        """Keep them in a file of `folder` for the encoder's weights. Raises `StoreError`."""
        self._encode = searcher.encode
        encoder, reranker = searcher.encoder, searcher.second_stage.reranker
        layers = reranker.layers(encoder.identity) if reranker else ()
        decided = json.dumps([asdict(encoder.identity), layers, CHUNKER_VERSION])
        probe = hashlib.sha256(encoder.encode_queries(["ready"]).tobytes())
        self._prefix = f"{decided}\0{probe.hexdigest()}\0".encode()
        path = folder / f"{encoder.identity.weights_sha256[:16]}.db"
        columns = "windows TEXT NOT NULL, tokens INTEGER NOT NULL, arrays BLOB NOT NULL"
        self._rows = KeptRows(path, "queries", columns)

    def encode(self, texts: Sequence[str]) -> list[EncodedQuery]:
        """Normalised queries as `Searcher.encode` gives them. Raises `StoreError` too."""
        keys = [self._key(text) for text in texts]
        known = {key: _unpacked(*row) for key, row in self._rows.read(keys).items()}
        missing = {k: text for k, text in zip(keys, texts, strict=True) if k not in known}
        if missing:
            fresh = dict(zip(missing, self._encode(list(missing.values())), strict=True))
            self._rows.write({key: _packed(query) for key, query in fresh.items()})
            known |= fresh
        return [known[key] for key in keys]

    def __exit__(self, *_: object) -> None:
        self._rows.close()

    def _key(self, text: str) -> bytes:
        return hashlib.sha256(self._prefix + text.encode("utf-8", "surrogatepass")).digest()


def encoded_queries(
    searcher: Searcher, queries: Sequence[str], encode: Encode
) -> Iterator[tuple[str, EncodedQuery]]:
    """Each query normalised, and encoded together with others. Raises as the models do."""

    def block(start: int) -> list[tuple[str, EncodedQuery]]:
        texts = [searcher.normalize_query(query)[0] for query in queries[start : start + BLOCK]]
        return list(zip(texts, encode(texts), strict=True))

    with ahead(map(block, range(0, len(queries), BLOCK)), "encoding") as blocks:
        yield from chain.from_iterable(blocks)


def _packed(query: EncodedQuery) -> tuple[str, int, bytes]:
    arrays: dict[str, NDArray[Any]] = {"vectors": query.vectors}
    for place, seen in enumerate(query.states):
        arrays |= {
            f"ids {place}": seen.ids,
            f"states {place}": seen.states,
            f"pooled {place}": seen.pooled,
            f"truncated {place}": np.array(seen.truncated),
        }
    contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    return json.dumps(query.windows), query.tokens, save(contiguous)


def _unpacked(windows: str, tokens: int, data: bytes) -> EncodedQuery:
    arrays = load(data)
    states = tuple(
        TokenStates(
            arrays[f"ids {place}"],
            arrays[f"states {place}"],
            arrays[f"pooled {place}"],
            bool(arrays[f"truncated {place}"]),
        )
        for place in range((len(arrays) - 1) // 4)
    )
    return EncodedQuery(tuple(json.loads(windows)), arrays["vectors"], tokens, states)
