"""An empty store of each kind, for the vectors of an encoder of eight dimensions."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from service.store.document_store import DocumentStore
from service.store_protocol import Store
from service.types import IndexIdentity
from tests.store.conftest import encoded, identity

__all__ = ["encoded", "identity"]

OpenStore = Callable[[], Store]

STORES: dict[str, Callable[[Path], Store]] = {
    "sqlite": lambda folder: DocumentStore(folder / "store.db"),
}


@pytest.fixture(params=STORES)
def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> OpenStore:
    """Open one and the same store, without an identity at first."""
    return lambda: STORES[request.param](tmp_path)


@pytest.fixture
def store(open_store: OpenStore, identity: IndexIdentity) -> Iterator[Store]:
    store = open_store()
    store.set_identity(identity)
    yield store
    store.close()
