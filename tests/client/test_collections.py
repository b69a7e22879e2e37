"""Collections and snapshots with both clients, over a real connection."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from secondpass_client import (
    AsyncSearchClient,
    ConflictError,
    InvalidRequestError,
    NotFoundError,
    SearchClient,
    UnexpectedAnswerError,
)
from service.api.app import create_app
from tests.fixtures.hash_models import hash_settings, open_hash_engine
from tests.fixtures.hash_server import ROWS
from tests.fixtures.loopback import serving


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    settings = hash_settings(tmp_path_factory.mktemp("data"))
    with serving(create_app(settings, lambda: open_hash_engine(settings))) as url:
        with SearchClient(url) as client:
            client.put_documents(ROWS, wait=True)
        yield url


@pytest.fixture
def client(url: str) -> Iterator[SearchClient]:
    with SearchClient(url, retries=0) as client:
        yield client
        for alias in client.aliases():
            if alias != "default":
                client.delete_alias(alias)
        client.set_alias("default", "main")
        for collection in client.collections():
            if collection.name != "main":
                client.delete_collection(collection.name)


def test_a_model_beside_the_live_one(client: SearchClient) -> None:
    made = client.create_collection("next", {"encoder": "minilm-l6"})
    assert (made.documents, made.encoder["model"]) == (0, "minilm-l6")
    begun = client.copy_collection("next", source="default")
    assert (begun.source, begun.state) == ("main", "running")
    while (there := client.collection("next")).copy.state == "running" or there.staged:
        time.sleep(0.01)
    assert (there.documents, there.copy.copied) == (len(ROWS), len(ROWS))
    assert client.set_alias("default", "next") == {"default": "next"}
    assert client.search("tides").models.encoder == "minilm-l6"
    with pytest.raises(ConflictError):
        client.delete_collection("next")
    client.set_alias("default", "main")
    client.delete_collection("next")
    with pytest.raises(NotFoundError):
        client.collection("next")


def test_an_archive_goes_out_and_comes_in(client: SearchClient, tmp_path: Path) -> None:
    path = tmp_path / "main.tar"
    client.snapshot(path)
    made = client.restore(path, "again")
    assert (made.name, made.documents) == ("again", len(ROWS))
    with pytest.raises(ConflictError):
        client.restore(path, "again")
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InvalidRequestError):
        client.restore(path, "damaged")
    assert [collection.name for collection in client.collections()] == ["again", "main"]
    with pytest.raises(NotFoundError):
        client.snapshot(tmp_path / "none.tar", "none")
    assert [p.name for p in tmp_path.iterdir()] == ["main.tar"]


def test_the_same_without_blocking(url: str, client: SearchClient, tmp_path: Path) -> None:
    path = tmp_path / "main.tar"

    async def run() -> None:
        async with AsyncSearchClient(url, retries=0) as asking:
            await asking.snapshot(path, "main")
            made = await asking.restore(path, "again", re_embed=True)
            assert made.name == "again"
            created = await asking.create_collection("empty", {"rerank_depth": 5})
            assert created.settings == {"rerank_depth": 5}
            assert (await asking.copy_collection("empty", "again", mirror=True)).mirror
            assert await asking.set_alias("live", "empty") == {"default": "main", "live": "empty"}
            assert (await asking.collection("live")).name == "empty"
            await asking.delete_alias("live")
            await asking.delete_collection("empty")
            assert [c.name for c in await asking.collections()] == ["again", "main"]
            assert await asking.aliases() == {"default": "main"}
            with pytest.raises(NotFoundError):
                await asking.snapshot(tmp_path / "none.tar", "none")

    asyncio.run(run())


def test_a_download_that_is_cut_off_never_takes_the_place_of_a_whole_one(tmp_path: Path) -> None:
    path = tmp_path / "main.tar"
    path.write_bytes(b"the one before")
    cut = httpx.MockTransport(lambda _request: httpx.Response(200, content=b"half of it"))
    with SearchClient(transport=cut) as client, pytest.raises(UnexpectedAnswerError):
        client.snapshot(path)
    assert path.read_bytes() == b"the one before"
    assert [p.name for p in tmp_path.iterdir()] == ["main.tar"]
