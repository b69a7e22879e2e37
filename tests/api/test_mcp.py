"""The endpoint for agents, asked by the package's own client over a running server."""

import asyncio
import builtins
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient

from service.api.routes import agents
from service.api.schemas.agent_schemas import FetchAnswer, SearchAnswer
from service.engine.engine import Engine
from service.errors import OverloadedError
from service.scheduling.shares import current_caller
from service.search.excerpts import around_best
from service.settings import Settings
from service.store.key_file import hash_key
from tests.fixtures.hash_models import hash_settings
from tests.fixtures.hash_server import running
from tests.fixtures.library import DOCUMENTS
from tests.fixtures.serving import serving

mcp = pytest.importorskip("mcp", reason='pip install -e ".[mcp]" brings the MCP client')
streamable_http = pytest.importorskip("mcp.client.streamable_http")
http_utils = pytest.importorskip("mcp.shared._httpx_utils")

KEY = "a-long-and-random-key"
QUERY = "why are there two high tides a day"
MESSAGE: dict[str, Any] = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
HEADERS = {"Accept": "application/json, text/event-stream"}


@pytest.fixture(scope="module")
def url(engine: Engine, settings: Settings) -> Iterator[str]:
    asked = settings.model_copy(update={"api_key_hashes": frozenset({hash_key(KEY)})})
    with serving(engine, asked) as address:
        yield address


@asynccontextmanager
async def session(address: str, key: str = KEY, mode: str = "auto") -> AsyncIterator[Any]:
    headers = {"Authorization": f"Bearer {key}"}
    async with http_utils.create_mcp_http_client(headers=headers) as http:
        transport = streamable_http.streamable_http_client(address, http_client=http)
        async with mcp.Client(transport, mode=mode) as client:
            yield client


def call(address: str, tool: str, mode: str = "auto", **arguments: Any) -> Any:
    async def one() -> Any:
        async with session(f"{address}/mcp", mode=mode) as client:
            return await client.call_tool(tool, arguments)

    return asyncio.run(one())


def refused(match: str | None = None) -> Any:
    """What the client raises, in groups of its tasks."""
    error = pytest.RaisesExc(mcp.MCPError, match=match)
    return pytest.RaisesGroup(error, flatten_subgroups=True)


def text_of(result: Any) -> str:
    (content,) = result.content
    return content.text


def tokens(engine: Engine, result: Any) -> int:
    form = SearchAnswer if "hits" in result.structured_content else FetchAnswer
    written = form.model_validate(result.structured_content).model_dump_json()
    return max(engine.searcher.encoder.count_tokens([text_of(result), written]))


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_a_client_finds_the_tools_and_searches(url: str, mode: str) -> None:
    async def use() -> tuple[Any, Any, Any]:
        async with session(f"{url}/mcp", mode=mode) as client:
            tools = (await client.list_tools()).tools
            found = await client.call_tool("search", {"query": QUERY, "top_k": 2})
            whole = await client.call_tool("fetch", {"id": "sea-tides"})
            return tools, found, whole

    tools, found, whole = asyncio.run(use())
    assert [tool.name for tool in tools] == ["search", "fetch"]
    assert list(tools[0].input_schema["properties"]) == ["query", "top_k", "max_tokens", "filters"]
    answer = SearchAnswer.model_validate(found.structured_content)
    assert not found.is_error
    assert answer.answerable
    assert answer.hits[0].id == "sea-tides"
    assert answer.hits[0].confidence == "high"
    assert "Why there are tides (id: sea-tides; confidence: high)" in text_of(found)
    assert text_of(found).startswith("These documents answer the query")
    document = next(one for one in DOCUMENTS if one.id == "sea-tides")
    assert whole.structured_content["text"] == document.text
    assert whole.structured_content["next_start"] is None
    assert whole.structured_content["metadata"] == document.metadata
    assert document.text in text_of(whole)


def test_it_says_in_words_that_nothing_answers(url: str) -> None:
    found = call(url, "search", query="interest rates of the central bank in 1987")
    assert text_of(found).startswith("Nothing here answers this.")
    assert found.structured_content["answerable"] is False
    none = call(url, "search", query=QUERY, filters={"topic": "nonsense"})
    assert none.structured_content["verdict"] == "Nothing here answers this. No document was found."
    assert none.structured_content["hits"] == []


@pytest.mark.parametrize("most", [128, 200, 400, 1000])
def test_answers_keep_within_their_tokens(engine: Engine, url: str, most: int) -> None:
    found = call(url, "search", query=QUERY, top_k=8, max_tokens=most)
    assert found.structured_content["hits"][0]["id"] == "sea-tides"
    shown = len(found.structured_content["hits"])
    assert shown + found.structured_content["left_out"] == 8
    assert tokens(engine, found) <= most
    assert (shown < 8) == (most < 1000)
    assert ("did not fit" in text_of(found)) == (shown < 8)


def test_a_long_passage_is_cut_around_its_match(
    engine: Engine, url: str, long_document: str
) -> None:
    found = call(url, "search", query="how is a sextant used", top_k=1, max_tokens=160)
    (hit,) = found.structured_content["hits"]
    assert hit["id"] == "long"
    assert "sextant" in hit["text"]
    assert hit["text"] == long_document[hit["start"] : hit["end"]]
    assert len(hit["text"]) < 500
    assert tokens(engine, found) <= 160


def test_a_long_document_is_read_in_parts(engine: Engine, url: str, long_document: str) -> None:
    read, start = "", 0
    while start is not None:
        part = call(url, "fetch", id="long", start=start, max_tokens=300)
        assert tokens(engine, part) <= 300
        read += part.structured_content["text"]
        start = part.structured_content["next_start"]
    assert read == long_document


@pytest.fixture(scope="module")
def long_document(url: str) -> Iterator[str]:
    sailing = "Sailors keep a log of wind and weather on every watch of the day. "
    text = 8 * sailing + "A sextant measures the sun above the horizon at noon. " + 8 * sailing
    http = httpx.Client(base_url=url, headers={"Authorization": f"Bearer {KEY}"})
    with http:
        http.put("/documents/long?wait=true", json={"text": text}).raise_for_status()
        yield text
        http.delete("/documents/long").raise_for_status()


@pytest.mark.parametrize(
    ("tool", "arguments", "said"),
    [
        ("search", {"query": ""}, "invalid_request"),
        ("search", {}, "invalid_request: query: Field required"),
        ("search", {"query": "a", "top_k": 99}, "invalid_request: top_k: "),
        ("search", {"query": "a", "nonsense": 1}, "invalid_request: nonsense: "),
        ("search", {"query": "a", "filters": {"and": 3}}, "invalid_request: "),
        ("search", {"query": "a", "max_tokens": 5}, "invalid_request: max_tokens: "),
        ("fetch", {"id": ""}, "invalid_request: id is empty"),
        ("fetch", {"id": "nowhere"}, "not_found: there is no document with this id"),
        ("fetch", {"id": "py-sort", "start": 9999}, "invalid_request: start: the document has"),
    ],
)
def test_an_error_of_a_tool_is_shown_to_the_model(
    url: str, tool: str, arguments: dict[str, Any], said: str
) -> None:
    failed = call(url, tool, **arguments)
    assert failed.is_error
    assert text_of(failed).startswith(said)
    assert failed.structured_content["error"]["request_id"] in text_of(failed)


def test_an_unknown_tool_is_an_error_of_the_protocol(url: str) -> None:
    with refused(match="there are search, fetch"):
        call(url, "delete_everything")


def test_a_full_queue_is_an_error_that_says_when_to_try_again(
    engine: Engine, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(_query: object) -> None:
        raise OverloadedError("2 searches are under way or waiting; try again")

    monkeypatch.setattr(engine.searcher, "search", full)
    failed = call(url, "search", query=QUERY)
    assert failed.is_error
    assert text_of(failed).startswith("overloaded: 2 searches")
    assert "; try again in " in text_of(failed)


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_the_work_is_done_on_behalf_of_the_caller(
    engine: Engine, url: str, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    seen, search = [], engine.searcher.search

    async def watched(query: Any) -> Any:
        seen.append(current_caller().client)
        return await search(query)

    monkeypatch.setattr(engine.searcher, "search", watched)
    call(url, "search", mode, query=QUERY)
    assert len(seen) == 1
    assert seen[0] is not None
    assert seen[0].startswith("key-")


def test_a_stranger_gets_no_answer(url: str) -> None:
    async def use() -> None:
        async with session(f"{url}/mcp", key="wrong"):
            pass

    with refused():
        asyncio.run(use())
    answer = httpx.post(f"{url}/mcp", json=MESSAGE, headers=HEADERS)
    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "unauthorized"


def post(address: str, headers: dict[str, str], **body: Any) -> httpx.Response:
    key = {"Authorization": f"Bearer {KEY}"}
    return httpx.post(address, headers={**HEADERS, **key, **headers}, **(body or {"json": MESSAGE}))


def test_errors_before_the_protocol_have_the_envelope(url: str) -> None:
    address = f"{url}/mcp"
    evil = post(address, {"Origin": "http://evil.example"})
    assert (evil.status_code, evil.json()["error"]["message"]) == (403, "Invalid Origin header")
    assert post(address, {"Origin": url}).status_code == 200
    assert post(address, {"Content-Type": "text/plain"}, content=b"{}").status_code == 415
    large = post(address, {"Content-Type": "application/json"}, content=b" " * 3_000_000)
    assert (large.status_code, large.json()["error"]["code"]) == (413, "body_too_large")
    read = httpx.get(address, headers={"Authorization": f"Bearer {KEY}"})
    assert (read.status_code, read.headers["Allow"]) == (405, "POST")
    missing = post(f"{url}/collections/nowhere/mcp", {})
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "not_found")


def test_a_message_that_is_not_of_the_protocol_is_refused(url: str) -> None:
    broken = post(f"{url}/mcp", {"Content-Type": "application/json"}, content=b"{")
    assert broken.status_code == 400
    assert broken.json()["error"]["code"] == -32700


def test_a_subscription_is_refused_at_once(url: str) -> None:
    method, version = "subscriptions/listen", "2026-07-28"
    prefix = "io.modelcontextprotocol/"
    meta = {f"{prefix}protocolVersion": version, f"{prefix}clientCapabilities": {}}
    message = {**MESSAGE, "method": method, "params": {"_meta": meta, "notifications": {}}}
    headers = {"MCP-Protocol-Version": version, "Mcp-Method": method}
    assert post(f"{url}/mcp", headers, json=message).json()["error"]["code"] == -32601


def test_each_collection_has_its_own(url: str) -> None:
    async def use() -> Any:
        async with session(f"{url}/collections/main/mcp") as client:
            return await client.call_tool("search", {"query": QUERY})

    assert asyncio.run(use()).structured_content["hits"][0]["id"] == "sea-tides"


def test_without_the_package_an_error_says_how_to_install_it(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def missing(name: str, *rest: Any) -> Any:
        if name == "service.api.agents.mcp_server":
            raise ModuleNotFoundError("No module named 'mcp'", name="mcp")
        return real(name, *rest)

    agents._loaded.cache_clear()
    monkeypatch.setattr(builtins, "__import__", missing)
    answer = client.post("/mcp", json=MESSAGE)
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "not_available")
    assert 'pip install "secondpass[mcp]"' in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("scores", "tokens", "expected"),
    [
        ([1.0, 5.0, 2.0], 10, (1, 2)),
        ([1.0, 5.0, 2.0], 20, (1, 3)),
        ([1.0, 5.0, 2.0], 99, (0, 3)),
        ([9.0, 5.0, 2.0], 25, (0, 2)),
        ([9.0], 1, (0, 1)),
    ],
)
def test_the_better_neighbour_joins_first(
    scores: list[float], tokens: int, expected: tuple[int, int]
) -> None:
    assert around_best(scores, [10] * len(scores), tokens) == expected


def test_without_a_reranker_the_encoder_chooses_the_sentences(tmp_path: Path) -> None:
    sailing = "Sailors keep a log of wind and weather on every watch of the day. "
    text = 4 * sailing + "A sextant measures the sun above the horizon at noon. " + 4 * sailing
    arguments = {"query": "sextant horizon noon", "top_k": 1, "max_tokens": 128}
    message = {**MESSAGE, "method": "tools/call", "params": {"name": "search"}}
    message["params"]["arguments"] = arguments
    with running(hash_settings(tmp_path)) as client:
        client.put("/documents/long?wait=true", json={"text": text}).raise_for_status()
        answer = client.post("/mcp", json=message, headers=HEADERS).json()["result"]
    (hit,) = answer["structuredContent"]["hits"]
    assert hit["confidence"] == "uncalibrated"
    assert "sextant" in hit["text"]
    assert len(hit["text"]) < len(text) / 2
    assert "It is not known" in answer["content"][0]["text"]
