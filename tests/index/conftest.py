"""The small store of `tests/store`, whose vectors these tests index."""

from tests.store.conftest import encoded, identity, store

__all__ = ["encoded", "identity", "store"]
