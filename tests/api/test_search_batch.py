"""`POST /search/batch` on the real models: what single searches answer, in one request."""

import asyncio
from collections.abc import Awaitable, Callable

import httpx
import pytest
from fastapi.testclient import TestClient

from service.engine.engine import Engine
from service.scheduling.shares import PartSize
from service.search.query import Query, Result
from tests.fixtures.library import QUESTIONS

Take = Callable[[Result | Exception], Awaitable[bytes]]


def batch(client: TestClient, *queries: dict, path: str = "/search/batch") -> list[dict]:
    answer = client.post(path, json={"queries": list(queries)})
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert set(body) == {"results", "timings_ms", "request_id"}
    assert body["request_id"] == answer.headers["X-Request-ID"]
    assert answer.headers["Server-Timing"] == f"total;dur={body['timings_ms']['total']}"
    return body["results"]


def test_each_result_is_that_of_the_search_alone(client: TestClient) -> None:
    long = " ".join(QUESTIONS)  # beside it, the others are padded
    queries = [{"query": question, "top_k": 5} for question in [*QUESTIONS, long]]
    found = batch(client, *queries)
    assert len(found) == len(queries)
    for query, together in zip(queries, found, strict=True):
        alone = client.post("/search", json=query).json()
        for volatile in ("timings_ms", "request_id"):
            assert together.pop(volatile)
            del alone[volatile]
        ours, theirs = together.pop("hits"), alone.pop("hits")
        assert together == alone
        assert [hit["id"] for hit in ours] == [hit["id"] for hit in theirs]
        for hit, same in zip(ours, theirs, strict=True):
            # One step of what each is rounded to: a score may lie at the edge of two.
            assert hit.pop("retrieval_score") == pytest.approx(
                same.pop("retrieval_score"), abs=1.1e-5
            )
            assert hit.pop("rerank_score") == pytest.approx(same.pop("rerank_score"), abs=1.1e-3)
            assert hit.pop("probability") == pytest.approx(same.pop("probability"), abs=1e-3)
            assert hit == same


def test_all_queries_are_encoded_in_one_pass(
    client: TestClient, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoding, passes = engine.searcher._encoding, []

    def counted(texts):
        passes.append(len(texts))
        return encode(texts)

    encode = encoding._work
    monkeypatch.setattr(encoding, "_work", counted)
    # How much a pass takes follows the machine's speed; here it takes all.
    monkeypatch.setattr(encoding, "_budget", PartSize.fixed(10_000))
    found = batch(client, *({"query": question, "rerank": False} for question in QUESTIONS))
    assert passes == [len(QUESTIONS)]
    assert [body["query"] for body in found] == list(QUESTIONS)


def test_an_entry_that_cannot_be_answered_has_the_error_and_the_others_their_hits(
    client: TestClient,
) -> None:
    good, empty, contradictory, late = batch(
        client,
        {"query": "why are there tides"},
        {"query": "query: "},
        {"query": "tides", "rerank": False, "min_confidence": "low"},
        {"query": "tides", "timeout_ms": 1},
    )
    assert good["hits"][0]["id"] == "sea-tides"
    assert set(empty) == {"error"}
    assert empty["error"]["code"] == "invalid_request"
    assert empty["error"]["details"][0]["field"] == "query"
    assert contradictory["error"]["details"][0]["field"] == "min_confidence"
    assert late["error"]["code"] == "deadline_exceeded"
    assert late["error"]["request_id"] == good["request_id"]


@pytest.mark.parametrize(
    ("queries", "field"),
    [
        ([], "queries"),
        ("tides", "queries"),
        ([{"query": "tides"}, {"query": "tides", "top_k": 0}], "queries.1.top_k"),
        ([{"query": "tides"}, {}], "queries.1.query"),
        ([{"query": "tides", "colour": "red"}], "queries.0.colour"),
        ([{"query": "tides"}] * 65, "queries"),
        ([{"query": "tides"}] * 1001, "queries"),
    ],
)
def test_a_malformed_request_is_refused_as_a_whole_and_names_the_place(
    client: TestClient, queries: object, field: str
) -> None:
    answer = client.post("/search/batch", json={"queries": queries})
    assert answer.status_code == 422
    assert answer.json()["error"]["details"][0]["field"] == field


def test_a_batch_without_a_permit_is_turned_away_as_a_whole(
    client: TestClient, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    queries = [{"query": "why are there tides", "rerank": False}] * 3
    monkeypatch.setattr(engine.searcher.gate, "_limit", 1)
    assert all("hits" in body for body in batch(client, *queries))
    monkeypatch.setattr(engine.searcher.gate, "_limit", 0)
    answer = client.post("/search/batch", json={"queries": queries})
    assert (answer.status_code, answer.json()["error"]["code"]) == (429, "overloaded")
    assert int(answer.headers["Retry-After"]) > 0


def test_an_error_has_the_shape_that_it_has_alone(client: TestClient) -> None:
    queries = [{"query": "tides", "timeout_ms": 1}, {"query": "query: "}]
    for query, found in zip(queries, batch(client, *queries), strict=True):
        alone = client.post("/search", json=query).json()
        assert alone["error"].pop("request_id") != found["error"].pop("request_id")
        assert found == alone


def test_other_requests_get_their_turn_while_a_large_answer_is_written(
    client: TestClient, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns = 0
    search_each = engine.searcher.search_each
    while_written: list[int] = []

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async def counted(queries: list[Query], take: Take) -> list[bytes]:
        async def taken(answer: Result | Exception) -> bytes:
            before = turns
            written = await take(answer)
            while_written.append(turns - before)
            return written

        return await search_each(queries, taken)

    async def run() -> None:
        monkeypatch.setattr(engine.searcher, "search_each", counted)
        beside = asyncio.create_task(others())
        transport = httpx.ASGITransport(client.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as caller:
            queries = [{"query": "tides", "rerank": False}] * 40
            answer = await caller.post("/search/batch", json={"queries": queries})
        beside.cancel()
        assert len(answer.json()["results"]) == 40

    asyncio.run(run())
    assert len(while_written) == 40
    assert min(while_written) > 0


def test_a_named_collection_is_searched_as_well(client: TestClient) -> None:
    path = "/collections/default/search/batch"
    assert batch(client, {"query": "tides", "top_k": 1}, path=path)[0]["hits"]
    answer = client.post("/collections/nowhere/search/batch", json={"queries": [{"query": "a"}]})
    assert answer.status_code == 404


def test_an_unforeseen_fault_of_one_search_tells_nothing_and_leaves_the_others(
    client: TestClient, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = engine.searcher.retriever.find

    def failing(*arguments, text, **options):
        if text == "tides":
            raise RuntimeError("a secret of the house")
        return find(*arguments, text=text, **options)

    monkeypatch.setattr(engine.searcher.retriever, "find", failing)
    bad, good = batch(client, {"query": "tides"}, {"query": "growing plants"})
    assert bad["error"]["code"] == "internal"
    assert "secret" not in str(bad)
    assert good["hits"]
