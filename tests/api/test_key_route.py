"""What a key is told of itself, by the route and by both clients."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from secondpass_client import AsyncSearchClient, SearchClient, UnauthorizedError
from secondpass_client.records import KeyInfo, KeyLimits
from service.api.app import create_app
from service.store.key_file import KeyFile
from tests.fixtures.hash_models import hash_settings, open_hash_engine
from tests.fixtures.loopback import serving

RIGHTS = {
    "scopes": ("search", "write"),
    "collections": ("main",),
    "filters": {"not": {"customer": "a secret name"}},
    "limits": {"rate": 50.0, "share": 0.5},
}


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """The address of a server with keys, and one of them."""
    settings = hash_settings(tmp_path_factory.mktemp("data"))
    key = KeyFile.of(settings).create("website", **RIGHTS)
    with serving(create_app(settings, lambda: open_hash_engine(settings))) as url:
        yield url, key


def test_a_key_is_told_its_rights_and_limits_but_not_its_filter(keyed: tuple[str, str]) -> None:
    url, key = keyed
    limits = KeyLimits(rate=50.0, burst=None, share=0.5)
    with SearchClient(url, api_key=key) as client:
        found = client.key()
    assert found == KeyInfo("website", ["search", "write"], ["main"], True, None, limits)


def test_a_stranger_is_told_nothing(keyed: tuple[str, str]) -> None:
    async def ask() -> None:
        async with AsyncSearchClient(keyed[0]) as client:
            await client.key()

    with pytest.raises(UnauthorizedError):
        asyncio.run(ask())


def test_a_server_without_keys_has_none(tmp_path: Path) -> None:
    settings = hash_settings(tmp_path)
    app = create_app(settings, lambda: open_hash_engine(settings))
    with serving(app) as url, SearchClient(url) as client:
        assert client.key() is None
