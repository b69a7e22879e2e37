"""An engine that searches beside the one that owns the data folder."""

import asyncio
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from service.errors import StoreError
from service.pipeline import following
from service.pipeline.collections import Collections
from service.pipeline.engine import Engine
from service.pipeline.following import Follower, open_following
from service.pipeline.gate import Deadline
from service.pipeline.live_collection import LiveCollection
from service.pipeline.query import Query
from service.types import Document
from tests.fixtures.hash_models import HashPool, hash_settings, open_hash_engine


@pytest.fixture
def owner(tmp_path: Path) -> Iterator[Engine]:
    with open_hash_engine(hash_settings(tmp_path / "data")) as engine:
        yield engine


@pytest.fixture
def collections(owner: Engine) -> Iterator[Collections]:
    collections = Collections(owner, hash_settings(owner.folder.path))
    yield collections
    collections.close()


@pytest.fixture
def follower(owner: Engine, monkeypatch: pytest.MonkeyPatch) -> Iterator[Follower]:
    monkeypatch.setattr(following, "_LOOK_EVERY_S", 0.02)
    follower = open_following(hash_settings(owner.folder.path), HashPool())
    with follower.engine:
        yield follower


def write(live: LiveCollection, *texts: str) -> None:
    documents = [Document(f"d{i}", text) for i, text in enumerate(texts)]

    async def put() -> None:
        written = await live.documents.put(documents, Deadline(10))
        assert await live.documents.wait([w.version for w in written], Deadline(10))

    asyncio.run(put())


def found(live: LiveCollection | None, query: str) -> list[str]:
    assert live is not None
    result = asyncio.run(live.searcher.search(Query(query=query, rerank=False)))
    return [hit.text for hit in result.hits]


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_it_answers_as_the_owner_does(owner: Engine, follower: Follower) -> None:
    write(owner.collection(), "high tide", "low tide", "spring tide at full moon")
    assert found(follower.serving("default"), "moon") == found(owner.collection(), "moon")
    assert len(found(follower.serving("main"), "moon")) == 3


def test_an_alias_leads_elsewhere_at_once(
    owner: Engine, collections: Collections, follower: Follower
) -> None:
    write(owner.collection(), "tide")
    collections.create("other", {})
    write(owner.collection("other"), "moon")
    wait_for(lambda: follower.serving("other") is not None)
    for name, text in [("other", "moon"), ("main", "tide"), ("other", "moon")]:
        collections.set_alias("default", name)
        assert found(follower.serving("default"), "tide") == [text]


def test_what_is_not_open_here_is_the_owners(
    collections: Collections, follower: Follower, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follower, "follow", lambda: None)
    collections.create("other", {})
    collections.set_alias("default", "other")
    assert follower.serving("other") is None
    assert follower.serving("default") is None
    assert follower.serving("nowhere") is None
    assert follower.serving("main") is not None


def test_a_collection_that_is_gone_is_let_go_and_another_of_its_name_is_another(
    owner: Engine, collections: Collections, follower: Follower, monkeypatch: pytest.MonkeyPatch
) -> None:
    follow = follower.follow
    monkeypatch.setattr(follower, "follow", lambda: None)
    collections.create("other", {})
    write(owner.collection("other"), "moon")
    follow()
    assert found(follower.serving("other"), "moon") == ["moon"]
    collections.drop("other")
    assert follower.serving("other") is None
    collections.create("other", {})
    write(owner.collection("other"), "sun")
    assert follower.serving("other") is None, "what is open here is the one before"
    follow()
    assert found(follower.serving("other"), "moon") == ["sun"]
    collections.drop("other")
    follow()
    assert "other" not in follower.engine.collections


def test_it_takes_the_generations_that_the_owner_builds(owner: Engine, follower: Follower) -> None:
    write(owner.collection(), "high tide", "low tide")
    index = follower.engine.searcher.retriever.index
    assert found(follower.serving("main"), "tide")
    built = owner.collection().indexer.compact()
    wait_for(lambda: index.latest.generation == built.name)
    assert follower.engine.checks() == {"models": "ok", "index": "ok"}


def test_a_step_that_fails_is_not_the_last(
    collections: Collections, follower: Follower, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = iter([StoreError("the disk is gone")])
    real = follower.follow

    def follow() -> None:
        for failure in failures:
            raise failure
        real()

    monkeypatch.setattr(follower, "follow", follow)
    collections.create("other", {})
    wait_for(lambda: follower.serving("other") is not None)


def test_it_needs_no_lock_and_leaves_the_folder_as_it_is(owner: Engine, follower: Follower) -> None:
    before = {path.name for path in owner.folder.path.iterdir()}
    follower.engine.close()
    assert {path.name for path in owner.folder.path.iterdir()} == before
    write(owner.collection(), "tide")
    assert found(owner.collection(), "tide") == ["tide"]
