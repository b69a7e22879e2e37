"""A small store with an encoder of eight dimensions."""

from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from service.store.document_store import DocumentStore
from service.types import Document, EncodedDocument, IndexIdentity, Metadata, Span, Vectors

Encoded = Callable[..., EncodedDocument]


@pytest.fixture
def identity() -> IndexIdentity:
    return IndexIdentity("e5-small", "ab" * 32, 8, "query: ", "passage: ", 256, 1)


@pytest.fixture
def store(tmp_path: Path, identity: IndexIdentity) -> Iterator[DocumentStore]:
    store = DocumentStore(tmp_path / "store.db")
    store.set_identity(identity)
    yield store
    store.close()


def unit_vectors(rng: np.random.Generator, n: int) -> Vectors:
    vectors: Vectors = rng.standard_normal((n, 8), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


@pytest.fixture
def encoded() -> Encoded:
    rng = np.random.default_rng(0)

    def make(
        id_: str,
        text: str = "one two",
        *,
        title: str = "",
        metadata: Metadata | None = None,
        passages: int = 2,
    ) -> EncodedDocument:
        borders = [len(text) * i // passages for i in range(passages)] + [len(text)]
        spans = [Span(*pair) for pair in pairwise(borders)]
        document = Document(id_, text, title, metadata or {})
        return EncodedDocument(document, spans, unit_vectors(rng, passages))

    return make
