"""An answer has a limit in bytes, and no long text is worked on by the event loop."""

import asyncio
import threading
from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from service.api.schemas import common
from service.api.schemas.common import written
from service.api.schemas.document_schemas import DocumentsPage, StoredDocumentBody
from tests.fixtures.hash_models import hash_settings
from tests.fixtures.hash_server import running

MANY = [{"id": f"d{i}", "text": f"ferry {i}", "metadata": {"a": "x" * 9000}} for i in range(30)]
ALL = {"query": "ferry", "top_k": 30}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with running(hash_settings(tmp_path_factory.mktemp("data"))) as client:
        stored = client.post("/documents?wait=true", json={"documents": MANY}).json()
        assert stored["accepted"] == len(MANY)
        yield client


def test_a_search_whose_answer_is_too_large_says_what_to_do(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = client.post("/search", json=ALL)
    assert [hit["id"] for hit in right.json()["hits"]]
    monkeypatch.setattr(common, "MOST_BYTES", 100_000)
    answer = client.post("/search", json=ALL)
    assert answer.status_code == 422
    error = answer.json()["error"]
    assert error["details"][0]["field"] == "top_k"
    assert "more than 100000 bytes; ask for fewer hits" in error["message"]
    few = client.post("/search", json={**ALL, "top_k": 9})
    assert few.json()["hits"] == right.json()["hits"][:9]


def test_a_batch_has_the_limit_of_one_answer(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = client.post("/search", json=ALL)
    monkeypatch.setattr(common, "MOST_BYTES", 2 * len(alone.content) + 50_000)
    few = {**ALL, "top_k": 1}
    answer = client.post("/search/batch", json={"queries": [ALL, ALL, ALL, few, ALL]})
    assert answer.status_code == 200
    assert len(answer.content) < 2 * len(alone.content) + 60_000
    results = answer.json()["results"]
    assert ["hits" in result for result in results] == [True, True, False, True, False]
    assert results[0]["hits"] == alone.json()["hits"]
    assert results[2]["error"]["code"] == "invalid_request"


def test_a_page_of_documents_is_what_its_parts_are(client: TestClient) -> None:
    page = client.get("/documents?limit=3").json()
    assert [document["id"] for document in page["documents"]] == ["d0", "d1", "d10"]
    assert page["documents"][0] == client.get("/documents/d0").json()
    assert page["cursor"]
    last = client.get("/documents", params={"limit": 1000}).json()
    assert (len(last["documents"]), last["cursor"]) == (30, None)


def test_other_requests_get_their_turn_while_a_long_page_is_written() -> None:
    long = StoredDocumentBody(
        id="a", title="", text="x" * 200_000, metadata={}, version=1, indexed=True, problem=None
    )
    page, turns = DocumentsPage(documents=[], cursor=None), 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async def run() -> bytes:
        beside = asyncio.create_task(others())
        whole, row = (body.model_dump_json().encode() for body in (page, long))
        content = await written(whole, "documents", [row] * 9, 2**40)
        beside.cancel()
        return content

    content = asyncio.run(run())
    assert len(DocumentsPage.model_validate_json(content).documents) == 9
    assert turns >= 4


@pytest.mark.parametrize("length", [100, 50_000])
def test_a_query_with_much_to_clean_is_not_cleaned_by_the_event_loop(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, length: int
) -> None:
    searcher = client.app.state.server.engine.searcher
    threads, normalize = set[str](), searcher.normalize_query

    def noted(query: object) -> object:
        threads.add(threading.current_thread().name)
        return normalize(query)

    monkeypatch.setattr(searcher, "normalize_query", noted)
    answer = client.post("/search", json={"query": "ferry" + " " * length, "top_k": 1})
    assert answer.json()["hits"]
    (name,) = threads
    assert name.startswith("asyncio_") == (length > 1000), name
