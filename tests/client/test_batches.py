"""Several searches in one request: what the clients send, and what they make of each entry."""

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict

import httpx
import pytest

from secondpass_client import (
    AsyncSearchClient,
    DeadlineExceededError,
    InvalidRequestError,
    OverloadedError,
    SearchClient,
    SearchError,
    SearchFields,
    SearchResult,
    UnexpectedAnswerError,
)
from service.api.schemas import search_schemas as wire
from tests.client.test_searches import ANSWER

LATE = {"error": {"code": "deadline_exceeded", "message": "the time ran out", "request_id": "r"}}
EMPTY = {
    "error": {
        "code": "invalid_request",
        "message": "query must have 1 to 4000 characters",
        "request_id": "r",
        "details": [{"field": "query", "message": "1 to 4000"}],
    }
}

Queries = Sequence[str | SearchFields]
Found = list[SearchResult | SearchError]
Handler = Callable[[httpx.Request], httpx.Response]


def ask_blocking(handler: Handler, queries: Queries, collection: str | None = None) -> Found:
    transport = httpx.MockTransport(handler)
    with SearchClient("http://search", transport=transport, retries=0) as client:
        return client.search_batch(queries, collection=collection)


def ask_async(handler: Handler, queries: Queries, collection: str | None = None) -> Found:
    async def ask() -> Found:
        transport = httpx.MockTransport(handler)
        async with AsyncSearchClient("http://search", transport=transport, retries=0) as client:
            return await client.search_batch(queries, collection=collection)

    return asyncio.run(ask())


both = pytest.mark.parametrize("ask", [ask_blocking, ask_async])


@both
def test_each_entry_is_a_result_or_the_error_of_that_search(ask: Callable[..., Found]) -> None:
    answer = {"results": [ANSWER, LATE, EMPTY], "timings_ms": {"total": 3.0}, "request_id": "r"}
    wire.SearchBatchResponse.model_validate(answer)
    first, second, third = ask(lambda _: httpx.Response(200, json=answer), ["a", "b", ""])
    assert isinstance(first, SearchResult)
    assert asdict(first) == ANSWER
    assert isinstance(second, DeadlineExceededError)
    assert (second.status, second.request_id) == (504, "r")
    assert isinstance(third, InvalidRequestError)
    assert third.details[0]["field"] == "query"


@both
def test_texts_and_fields_are_sent_as_the_server_reads_them(ask: Callable[..., Found]) -> None:
    requests: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        return httpx.Response(200, json={"results": []})

    queries: Queries = ["tides", {"query": "Đạo hàm", "top_k": 3, "filters": {"grade": [11, 12]}}]
    assert ask(handler, queries, "lessons") == []
    assert requests[0].url.path == "/collections/lessons/search/batch"
    sent = wire.SearchBatchRequest.model_validate(json.loads(requests[0].content))
    assert sent.queries == [
        wire.SearchRequest(query="tides"),
        wire.SearchRequest(query="Đạo hàm", top_k=3, filters={"grade": [11, 12]}),
    ]


@both
def test_what_is_wrong_with_the_whole_request_is_raised(ask: Callable[..., Found]) -> None:
    refusal = {"error": {"code": "overloaded", "message": "full", "request_id": "r"}}
    with pytest.raises(OverloadedError):
        ask(lambda _: httpx.Response(429, json=refusal), ["a"])
    broken = {"results": [{"hits": 1}]}
    with pytest.raises(UnexpectedAnswerError):
        ask(lambda _: httpx.Response(200, json=broken), ["a"])
