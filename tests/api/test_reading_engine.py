"""On the real models: an engine that searches beside the one that owns the data folder."""

import asyncio

import pytest
from fastapi.testclient import TestClient

from service.index.state_store import StateStore
from service.pipeline.engine import Engine
from service.pipeline.following import open_following
from service.pipeline.query import Query
from service.settings import Settings
from tests.fixtures.library import DOCUMENTS, QUESTIONS


def test_it_answers_alike_and_takes_the_token_states_that_the_owner_made(
    settings: Settings, engine: Engine, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[int] = []
    real = StateStore.get

    def get(self: StateStore, texts: list[str]) -> dict[str, bytes]:
        got = real(self, texts)
        if self._read_only:
            found.append(len(got))
        return got

    monkeypatch.setattr(StateStore, "get", get)
    follower = open_following(settings, engine.models)
    with follower.engine:
        assert follower.engine.checks() == {"models": "ok", "index": "ok"}
        for query, wanted in QUESTIONS.items():
            result = asyncio.run(follower.engine.searcher.search(Query(query=query)))
            assert result.rerank.status == "complete"
            assert result.hits[0].id == wanted
            answer = client.post("/search", json={"query": query}).json()
            assert [hit.probability for hit in result.hits] == [
                hit["probability"] for hit in answer["hits"]
            ]
    assert max(found) >= len(DOCUMENTS)
