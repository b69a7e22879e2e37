"""Nearest neighbours through FAISS: exact up to a size, a graph (HNSW) above it.

FAISS holds each distinct vector once, as a *row*; a table says which passages have it. Repeated
passages are common, and copies would tear the graph apart: with 20 vectors of 300 copies each
among 20,000, recall@100 of HNSW fell from 0.99 to 0.87.

FAISS chooses rows, but its scores are float32 sums whose last bits depend on how many queries came
together. So every chosen row is scored again in float64, and an exact search proves from a bound
of the rounding error that no row outside the chosen ones belongs among the best k.
"""

import copy
import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, Self

import faiss
import numpy as np
from numpy.typing import NDArray

from service.errors import IndexDamagedError, InferenceError
from service.types import Candidate, Ids, Vectors

Kind = Literal["flat", "hnsw"]

INDEX_FILE = "index.faiss"
PASSAGES_FILE = "passages.npy"

# HNSW: links of a node, and how many nodes are kept in view while building and searching. Among
# 90,000 passages of texts, recall@100 was 0.987 with 200 nodes in view and 0.997 with 600.
_LINKS = 32
_BUILD_WIDTH = 200
_SEARCH_WIDTH = 600

_SPARE_ROWS = 16
"""Rows fetched beyond k, so that a second look for ties at the cut-off is rarely needed."""

Rows = NDArray[np.int64]
Mask = NDArray[np.bool_]


class FaissIndex:
    """A `VectorIndex`, made by `build` or `load`. Safe to search from many threads."""

    FILES = frozenset({INDEX_FILE, PASSAGES_FILE})

    def __init__(self, index: Any, passage_ids: Ids, row_of_passage: Rows) -> None:
        """`passage_ids` ascending; `row_of_passage` says where in `index` each one's vector is."""
        self._index = index
        self._rows = index if _kind_of(index) == "flat" else faiss.downcast_index(index.storage)
        self._passage_ids = passage_ids
        self._row_of_passage = row_of_passage
        # The passages of row r are _by_row[_starts[r] : _starts[r + 1]], ascending.
        self._by_row = np.argsort(row_of_passage, kind="stable")
        self._starts = np.searchsorted(
            row_of_passage[self._by_row], np.arange(index.ntotal + 1, dtype=np.int64)
        )
        self._kept: Mask | None = None
        self._kept_rows: Rows | None = None
        # Largest error of a float32 inner product of two unit vectors, in any order of summing
        # (Higham, Accuracy and Stability of Numerical Algorithms, section 3.1), taken twice.
        self._rounding = 2 * index.d * 2.0**-24

    @classmethod
    def build(
        cls,
        batches: Iterable[tuple[Ids, Vectors]],
        *,
        dimension: int,
        kind: str,
        expected: int = 0,
    ) -> Self:
        """Index unit vectors; passage ids ascend within and over batches.

        `expected` is about how many there will be, to make room for them at once.
        """
        index = _empty(dimension, kind, expected)
        row_of_digest: dict[bytes, int] = {}
        ids: list[Ids] = [np.empty(0, np.int64)]
        rows: list[Rows] = [np.empty(0, np.int64)]
        for batch_ids, vectors in batches:
            known = len(row_of_digest)
            batch_rows = [
                row_of_digest.setdefault(_digest(vector), len(row_of_digest)) for vector in vectors
            ]
            ids.append(batch_ids)
            rows.append(np.array(batch_rows, np.int64))
            distinct, first_seen = np.unique(rows[-1], return_index=True)
            index.add(vectors[first_seen[distinct >= known]])
        if 2 * index.ntotal < expected:  # many copies of few: without the room for the others
            index = faiss.clone_index(index)
        return cls(index, np.concatenate(ids), np.concatenate(rows))

    def without(self, removed: Ids) -> Self:
        kept = np.ones(self.built_size, np.bool_) if self._kept is None else self._kept.copy()
        kept[self._places(removed)] = False
        other = copy.copy(self)  # shares everything large
        other._kept, other._kept_rows = kept, self._rows_of(kept)
        return other

    @property
    def kind(self) -> Kind:
        return _kind_of(self._index)

    @property
    def dimension(self) -> int:
        return int(self._index.d)

    def __len__(self) -> int:
        return len(self._passage_ids) if self._kept is None else int(self._kept.sum())

    @property
    def built_size(self) -> int:
        return len(self._passage_ids)

    @property
    def last_passage(self) -> int:
        return int(self._passage_ids[-1]) if len(self._passage_ids) else 0

    def passages(self) -> tuple[Ids, Vectors]:
        """What can be found: ids, ascending, and float32 (n, dim) vectors."""
        kept = slice(None) if self._kept is None else self._kept
        rows = self._row_of_passage[kept]
        return self._passage_ids[kept], self._rows.reconstruct_batch(rows)

    def search(self, vectors: Vectors, k: int, allowed: Ids | None = None) -> list[list[Candidate]]:
        if k < 1 or vectors.ndim != 2 or vectors.shape[1] != self.dimension:
            raise ValueError(f"cannot search {vectors.shape} in {self.dimension} dimensions, k={k}")
        if not np.isfinite(vectors).all():
            raise InferenceError("a query vector is not finite")
        mask, pool = self._narrowed(allowed)
        if self._available(pool) == 0:
            return [[] for _ in vectors]
        return [
            self._candidates(vector, rows, k, mask)
            for vector, rows in zip(vectors, self._nearest_rows(vectors, k, pool), strict=True)
        ]

    def save(self, folder: Path) -> None:
        """Write the index's files into `folder`. Raises `OSError`."""
        with (folder / INDEX_FILE).open("wb") as file:
            # Through a Python file, since FAISS itself does not notice a failing last write.
            faiss.write_index(self._index, faiss.PyCallbackIOWriter(file.write))
        np.save(folder / PASSAGES_FILE, np.stack([self._passage_ids, self._row_of_passage]))

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote. The caller must have verified the files' checksums before.

        FAISS trusts what it reads: a forged file could run code. Raises `IndexDamagedError`.
        """
        try:
            index = faiss.read_index(str(folder / INDEX_FILE))
            passage_ids, row_of_passage = np.load(folder / PASSAGES_FILE, allow_pickle=False)
        except (RuntimeError, ValueError, OSError, EOFError) as error:
            raise IndexDamagedError(f"the index in {folder} cannot be read: {error}") from error
        if len(row_of_passage) and row_of_passage.max() >= index.ntotal:
            raise IndexDamagedError(f"the files of the index in {folder} do not fit each other")
        return cls(index, passage_ids, row_of_passage)

    def _narrowed(self, allowed: Ids | None) -> tuple[Mask | None, Rows | None]:
        """Which passages may be found, and the rows that they have; None for all."""
        if allowed is None:
            return self._kept, self._kept_rows
        mask = np.zeros(len(self._passage_ids), np.bool_)
        mask[self._places(allowed)] = True
        if self._kept is not None:
            mask &= self._kept
        return mask, self._rows_of(mask)

    def _places(self, ids: Ids) -> Rows:
        """Where in `_passage_ids` those of `ids` are that it has."""
        places = np.searchsorted(self._passage_ids, ids)
        inside = places < len(self._passage_ids)
        places, ids = places[inside], ids[inside]
        found: Rows = places[self._passage_ids[places] == ids]
        return found

    def _rows_of(self, mask: Mask) -> Rows | None:
        counts = np.bincount(self._row_of_passage[mask], minlength=self._index.ntotal)
        rows = np.flatnonzero(counts)
        return rows if len(rows) < self._index.ntotal else None

    def _available(self, pool: Rows | None) -> int:
        return int(self._index.ntotal) if pool is None else len(pool)

    def _nearest_rows(self, vectors: Vectors, k: int, pool: Rows | None) -> list[Rows]:
        # Scanning half of the rows is still quick.
        if self.kind == "flat" or 2 * self._available(pool) <= self._index.ntotal:
            return self._exact(vectors, k, pool)
        return self._through_graph(vectors, k, pool)

    def _exact(self, vectors: Vectors, k: int, pool: Rows | None) -> list[Rows]:
        # A list of rows even where it is all of them: without one, FAISS starts its threads for a
        # single query too, and on a busy machine waiting for them takes longer than the search.
        rows_to_scan = np.arange(self._index.ntotal) if pool is None else pool
        params = faiss.SearchParameters(sel=faiss.IDSelectorArray(rows_to_scan))
        fetched = min(self._available(pool), k + _SPARE_ROWS)
        scores, rows = self._rows.search(vectors, fetched, params=params)
        if fetched == self._available(pool):
            return list(rows)
        return [
            self._completed(vector, near, float(last), k, pool)
            for vector, near, last in zip(vectors, rows, scores[:, -1], strict=True)
        ]

    def _completed(
        self, vector: NDArray[np.float32], near: Rows, last: float, k: int, pool: Rows | None
    ) -> Rows:
        """`near` and, if one beyond it could be among the best k, all rows that could."""
        kth = float(np.sort(self._scores(vector, near))[-k])
        if last + self._rounding < kth:
            return near
        params = None
        if pool is not None:
            bits = np.packbits(self._chosen(pool), bitorder="little")
            params = faiss.SearchParameters(sel=faiss.IDSelectorBitmap(bits))
        _, _, rows = self._rows.range_search(vector[None], kth - self._rounding, params=params)
        return np.asarray(rows, np.int64)

    def _through_graph(self, vectors: Vectors, k: int, pool: Rows | None) -> list[Rows]:
        """Nearest rows of all, of which the allowed ones are kept; an exact search for too few.

        A filter given to the walk itself goes wrong where it goes with the topic: the walk gives up
        among neighbours that are not allowed. Recall@100 fell to 0.3 in such a case.
        """
        total, available = self._index.ntotal, self._available(pool)
        fetched = min(total, 2 * k * total // available)
        params = faiss.SearchParametersHNSW(efSearch=max(_SEARCH_WIDTH, fetched))
        _, rows = self._index.search(vectors, fetched, params=params)
        chosen = np.ones(total, np.bool_) if pool is None else self._chosen(pool)
        # FAISS fills up with -1 where the walk led to too few.
        kept = [near[(near >= 0) & chosen[near]] for near in rows]
        return [
            near if len(near) >= min(k, available) else self._exact(vector[None], k, pool)[0]
            for vector, near in zip(vectors, kept, strict=True)
        ]

    def _chosen(self, pool: Rows) -> Mask:
        chosen = np.zeros(self._index.ntotal, np.bool_)
        chosen[pool] = True
        return chosen

    def _scores(self, vector: NDArray[np.float32], rows: Rows) -> NDArray[np.float64]:
        stored = self._rows.reconstruct_batch(rows).astype(np.float64)
        products: NDArray[np.float64] = (stored * vector.astype(np.float64)).sum(axis=1)
        return products.clip(-1.0, 1.0)

    def _candidates(
        self, vector: NDArray[np.float32], rows: Rows, k: int, mask: Mask | None
    ) -> list[Candidate]:
        """The best k passages of `rows`: (-score, passage id) is a total order."""
        lengths = self._starts[rows + 1] - self._starts[rows]
        shift = np.repeat(self._starts[rows] - (np.cumsum(lengths) - lengths), lengths)
        places = self._by_row[shift + np.arange(lengths.sum())]
        scores = np.repeat(self._scores(vector, rows), lengths)
        if mask is not None:
            places, scores = places[mask[places]], scores[mask[places]]
        best = np.lexsort((places, -scores))[:k]
        ids = self._passage_ids[places[best]]
        return [
            Candidate(id_, score)
            for id_, score in zip(ids.tolist(), scores[best].tolist(), strict=True)
        ]


def _empty(dimension: int, kind: str, expected: int) -> Any:
    if kind == "flat":
        index = rows = faiss.IndexFlatIP(dimension)
    else:
        index = faiss.IndexHNSWFlat(dimension, _LINKS, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = _BUILD_WIDTH
        rows = faiss.downcast_index(index.storage)
    # A vector that grows by doubling is in memory two or three times while it does.
    rows.codes.resize(expected * rows.code_size)
    rows.codes.resize(0)
    return index


def _digest(vector: NDArray[np.float32]) -> bytes:
    # 128 bits: two different vectors never share one in practice.
    return hashlib.blake2b(vector.tobytes(), digest_size=16).digest()


def _kind_of(index: Any) -> Kind:
    return "hnsw" if isinstance(index, faiss.IndexHNSWFlat) else "flat"
