"""The kinds of vector index: a new one is a module and a line of `KINDS`."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Protocol, Self

from service.index.faiss_index import FaissIndex
from service.protocols import VectorIndex
from service.types import Ids, Vectors


class KeptIndex(VectorIndex, Protocol):
    """A `VectorIndex` that a generation keeps in its folder."""

    FILES: frozenset[str]
    """The names of all files that `save` writes."""

    @classmethod
    def build(
        cls, batches: Iterable[tuple[Ids, Vectors]], *, dimension: int, kind: str, expected: int = 0
    ) -> Self:
        """Index about `expected` unit vectors; passage ids ascend within and over batches."""

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote, its checksums compared. Raises `IndexDamagedError`."""

    def save(self, folder: Path) -> None:
        """Write the index's files into `folder`. Raises `OSError`."""


KINDS: Mapping[str, type[KeptIndex]] = {"flat": FaissIndex, "hnsw": FaissIndex}


def kind_for(passages: int, hnsw_threshold: int) -> str:
    """Exact search up to and including `hnsw_threshold` passages."""
    return "hnsw" if passages > hnsw_threshold else "flat"
