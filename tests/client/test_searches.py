"""The Python clients: what they send, what they make of answers, and when they try again."""

import asyncio
import json
import pickle
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest

import secondpass_client as clients
from secondpass_client import (
    AsyncSearchClient,
    SearchClient,
    SearchError,
    SearchResult,
    SimilarityResult,
)
from service.api.schemas import common, search_schemas, similarity_schemas
from service.api.schemas.common import CODES

ANSWER: dict[str, Any] = {
    "query": "a",
    "hits": [
        {
            "rank": 1,
            "id": "d1",
            "title": "T",
            "text": "one",
            "start": 0,
            "end": 3,
            "metadata": {"year": 2024},
            "confidence": "high",
            "probability": 0.93,
            "rerank_score": 5.21,
            "retrieval_score": 0.88,
            "retrieval_rank": 4,
            "truncated": False,
            "sparse_score": 7.4,
            "highlights": [{"start": 0, "end": 3, "kind": "part"}],
            "explanation": {
                "dense": {"rank": 1, "score": 0.88},
                "sparse": {"rank": 2, "score": 7.4},
                "retrieval": {"rank": 4, "score": 0.7},
                "rerank": None,
                "final": {"rank": 1, "score": 5.21},
                "similarity_points": 1.5,
                "matches": [{"query": "a", "passage": "b", "similarity": 0.9, "points": 1.0}],
                "judgement": {
                    "calibration": "c",
                    "curve": "fused",
                    "score": 5.21,
                    "probability": 0.93,
                    "high": 0.8,
                    "medium": None,
                    "reason": "the calibrated probability reaches 0.8",
                },
            },
            "collection": "articles",
            "boost": 0.5,
            "also": [{"id": "d7", "collection": None}],
            "folded": 1,
            "group": {"value": "python", "size": 1, "hits": []},
            "page": 3,
            "headings": ["Errors", "Handling"],
        }
    ],
    "answerable": True,
    "rerank": {"status": "complete", "requested": 100, "scored": 100, "reason": None},
    "timings_ms": {"encode": 12.0, "total": 915},
    "models": {
        "encoder": "e",
        "reranker": "r",
        "calibration": "c",
        "order": "fused",
        "encoder_backend": "torch",
    },
    "index": {"generation": "g", "revision": 34, "documents": 2113},
    "warnings": [],
    "request_id": "abc",
    "cached": {"query_similarity": 0.97, "age_ms": 51200},
    "facets": {"topic": {"values": [{"value": "x", "count": 2}], "other": 1, "missing": 0}},
    "next_cursor": "JgCsdbfQS5wIE9G6ZUYMPgAC",
}

Handler = Callable[[httpx.Request], httpx.Response]
Ask = Callable[..., SearchResult]


def ask_blocking(handler: Handler, **options: Any) -> SearchResult:
    with SearchClient("http://search", transport=httpx.MockTransport(handler), **options) as client:
        return client.search("a")


def ask_async(handler: Handler, **options: Any) -> SearchResult:
    async def ask() -> SearchResult:
        transport = httpx.MockTransport(handler)
        async with AsyncSearchClient("http://search", transport=transport, **options) as client:
            return await client.search("a")

    return asyncio.run(ask())


both = pytest.mark.parametrize("ask", [ask_blocking, ask_async])


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses between attempts, which are not really made."""
    made: list[float] = []

    async def sleep(seconds: float) -> None:
        made.append(seconds)

    monkeypatch.setattr(time, "sleep", made.append)
    monkeypatch.setattr(asyncio, "sleep", sleep)
    return made


def refuse(status: int, code: str, headers: dict[str, str] | None = None) -> httpx.Response:
    error = {"code": code, "message": "why", "request_id": "r1"}
    return httpx.Response(status, json={"error": error}, headers=headers)


class Script:
    """Answers in turn, the last one for ever; counts the calls."""

    def __init__(self, *answers: httpx.Response | Exception) -> None:
        self.answers, self.calls = answers, 0

    def __call__(self, request: httpx.Request) -> httpx.Response:
        answer = self.answers[min(self.calls, len(self.answers) - 1)]
        self.calls += 1
        if isinstance(answer, Exception):
            raise answer
        return httpx.Response(answer.status_code, headers=answer.headers, content=answer.content)


# What is sent and read


@both
def test_an_answer_is_typed_and_can_be_written_as_json(ask: Ask) -> None:
    result = ask(Script(httpx.Response(200, json=ANSWER)))
    assert result.hits[0].confidence == "high"
    assert (result.hits[0].start, result.hits[0].end) == (0, 3)
    assert result.rerank.scored == 100
    assert json.loads(json.dumps(asdict(result))) == ANSWER


def test_the_records_have_the_fields_of_the_wire() -> None:
    hit = search_schemas.HitBody(**ANSWER["hits"][0])
    sent = search_schemas.SearchResponse.model_validate({**ANSWER, "hits": [hit]})
    assert asdict(ask_blocking(Script(httpx.Response(200, json=sent.model_dump())))) == ANSWER


@both
def test_fields_of_a_newer_service_are_tolerated(ask: Ask) -> None:
    newer = {**ANSWER, "new": 1, "rerank": {**ANSWER["rerank"], "new": 1}}
    newer["hits"] = [{**ANSWER["hits"][0], "new": {"deep": []}}]
    assert ask(Script(httpx.Response(200, json=newer))) == ask_blocking(
        Script(httpx.Response(200, json=ANSWER))
    )


def test_the_request_is_what_the_service_takes() -> None:
    requests: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        return httpx.Response(200, json=ANSWER)

    transport = httpx.MockTransport(answer)
    with SearchClient("http://search/base/", api_key="s3cret", transport=transport) as client:
        client.search("Đạo hàm")
        client.search(
            "a",
            top_k=3,
            num_candidates=50,
            rerank=False,
            filters={"year": [1, 2]},
            min_confidence="medium",
            timeout_ms=500,
            return_text=False,
        )
    plain, full = (search_schemas.SearchRequest.model_validate_json(r.content) for r in requests)
    assert plain == search_schemas.SearchRequest(query="Đạo hàm")
    assert full == search_schemas.SearchRequest(
        query="a",
        top_k=3,
        num_candidates=50,
        rerank=False,
        filters={"year": [1, 2]},
        min_confidence="medium",
        timeout_ms=500,
        return_text=False,
    )
    assert {str(r.url) for r in requests} == {"http://search/base/search"}
    assert {r.headers["Authorization"] for r in requests} == {"Bearer s3cret"}


ORDER: dict[str, Any] = {
    "offset": 0,
    "min_probability": 0.0,
    "boost": [
        {"field": "kind", "values": ["guide"], "weight": 0.5},
        {"field": "day", "scale": 30, "origin": "2026-01-31", "weight": -1},
    ],
    "diversity": True,
    "group_by": "topic",
    "group_size": 10,
    "collections": ["articles", "news"],
}


@pytest.mark.parametrize("asynchronous", [False, True])
def test_the_order_of_hits_is_asked_for_as_the_service_takes_it(asynchronous: bool) -> None:
    requests: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        return httpx.Response(200, json=ANSWER)

    transport = httpx.MockTransport(answer)
    options: dict[str, Any] = {"transport": transport, "collection": "own"}
    more = {**ORDER, "offset": None, "cursor": ANSWER["next_cursor"], "collections": None}

    async def ask() -> None:
        async with AsyncSearchClient("http://search", **options) as client:
            found = await client.search("a", **ORDER)
            await client.search("a", **{**more, "cursor": found.next_cursor})

    if asynchronous:
        asyncio.run(ask())
    else:
        with SearchClient("http://search", **options) as client:
            found = client.search("a", **ORDER)
            client.search("a", **{**more, "cursor": found.next_cursor})
    first, second = (search_schemas.SearchRequest.model_validate_json(r.content) for r in requests)
    assert first == search_schemas.SearchRequest(query="a", **ORDER)
    assert second == search_schemas.SearchRequest(query="a", **more)
    assert [r.url.path for r in requests] == ["/search", "/collections/own/search"]


def test_without_a_key_none_is_sent() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        assert "Authorization" not in request.headers
        return httpx.Response(200, json=ANSWER)

    ask_blocking(answer)


@pytest.mark.parametrize("key", ["", "s3cret\n", "two words", "schlüssel"])
def test_a_key_that_cannot_be_sent_is_refused_and_not_shown(key: str) -> None:
    with pytest.raises(ValueError, match="printable ASCII") as caught:
        SearchClient(api_key=key)
    assert not key.strip() or key.strip() not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["localhost:8000", "ftp://host", "/search", "http://", "http://[::1", "http://a:b"]
)
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="base_url"):
        SearchClient(url)


PAIRS = [("how do I close a file", "closing an open file"), ("Đạo hàm", "Tích phân")]
VERDICTS: dict[str, Any] = {
    "results": [
        {"index": 0, "similarity": 0.972341, "same": True, "truncated": False},
        {"index": 1, "similarity": 0.87, "same": False, "truncated": True},
    ],
    "threshold": 0.93,
    "model": "pair-model",
    "timings_ms": {"encode": 24.0, "total": 24.3},
    "request_id": "abc",
}


def compare_blocking(handler: Handler, **fields: Any) -> SimilarityResult:
    with SearchClient("http://search", transport=httpx.MockTransport(handler)) as client:
        return client.similarity(PAIRS, **fields)


def compare_async(handler: Handler, **fields: Any) -> SimilarityResult:
    async def ask() -> SimilarityResult:
        transport = httpx.MockTransport(handler)
        async with AsyncSearchClient("http://search", transport=transport) as client:
            return await client.similarity(PAIRS, **fields)

    return asyncio.run(ask())


@pytest.mark.parametrize("compare", [compare_blocking, compare_async])
def test_pairs_are_sent_and_verdicts_are_typed(
    compare: Callable[..., SimilarityResult], pauses: list[float]
) -> None:
    requests: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        if len(requests) == 1:
            return refuse(429, "overloaded")
        sent = similarity_schemas.SimilarityResponse.model_validate(VERDICTS)
        return httpx.Response(200, json=sent.model_dump())

    result = compare(answer, timeout_ms=500)
    assert asdict(result) == VERDICTS
    assert result.results[0].same
    assert len(pauses) == 1
    body = similarity_schemas.SimilarityRequest.model_validate_json(requests[1].content)
    assert [(pair.a, pair.b) for pair in body.pairs] == PAIRS
    assert body.timeout_ms == 500
    assert requests[1].url == "http://search/similarity"


# Errors


@both
@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (422, "invalid_request", clients.InvalidRequestError),
        (400, "bad_request", clients.BadRequestError),
        (401, "unauthorized", clients.UnauthorizedError),
        (404, "not_found", clients.NotFoundError),
        (405, "method_not_allowed", clients.MethodNotAllowedError),
        (409, "not_available", clients.NotAvailableError),
        (413, "body_too_large", clients.BodyTooLargeError),
        (415, "unsupported_media_type", clients.UnsupportedMediaTypeError),
        (429, "overloaded", clients.OverloadedError),
        (500, "internal", clients.InternalError),
        (503, "not_ready", clients.NotReadyError),
        (504, "deadline_exceeded", clients.DeadlineExceededError),
    ],
)
def test_each_code_has_its_exception(
    ask: Ask, status: int, code: str, kind: type[SearchError]
) -> None:
    with pytest.raises(SearchError) as caught:
        ask(Script(refuse(status, code)), retries=0)
    error = caught.value
    assert type(error) is kind
    assert (error.status, error.code, error.message) == (status, code, "why")
    assert error.request_id == "r1"
    assert error.details == []
    assert str(error) == f"{code}: why (request r1)"


@pytest.mark.parametrize(
    ("message", "details", "said"),
    [
        ("the request is not valid: top_k", [("top_k", "too large")], "top_k: too large"),
        ("is not known", [("settings.x", "is not known")], "settings.x: is not known"),
        ("not valid: a, b", [("b", "x"), ("a", "y"), ("a", "z")], "b: x; a: y; a: z"),
        ("at 12: here", [("id", "why")], "at 12: here: id: why"),
        ("text is missing", [("text", "text is missing")], "invalid_request: text is missing"),
    ],
)
def test_a_field_is_named_once(message: str, details: list[tuple[str, str]], said: str) -> None:
    found = [{"field": field, "message": reason} for field, reason in details]
    text = str(clients.InvalidRequestError(message, details=found))
    assert text.endswith(said)
    assert all(text.count(f"{detail['field']}: {detail['field']}") == 0 for detail in found)
    assert text.count(said) == 1


@pytest.mark.parametrize(("status", "code"), CODES.items())
def test_every_code_of_the_service_is_known(status: int, code: str) -> None:
    with pytest.raises(SearchError) as caught:
        ask_blocking(Script(refuse(status, code)), retries=0)
    assert (type(caught.value).code, type(caught.value).usual_status) == (code, status)


def test_details_name_the_fields_and_errors_can_be_pickled() -> None:
    details = [{"field": "top_k", "message": "too large"}]
    error = {"code": "invalid_request", "message": "why", "request_id": "r1", "details": details}
    with pytest.raises(clients.InvalidRequestError) as caught:
        ask_blocking(Script(httpx.Response(422, json={"error": error})))
    assert caught.value.details == details
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (type(copy), vars(copy)) == (type(caught.value), vars(caught.value))


@both
@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (refuse(418, "new_code"), SearchError),
        (refuse(404, "new_code"), clients.NotFoundError),
        (httpx.Response(401, text="<html>proxy</html>"), clients.UnauthorizedError),
        (httpx.Response(502, text="<html>proxy</html>"), clients.UnexpectedAnswerError),
        (httpx.Response(500, json={"error": "text"}), clients.InternalError),
        (httpx.Response(500, json={"error": {"code": 7}}), clients.InternalError),
        (httpx.Response(500, json=["error"]), clients.InternalError),
        (httpx.Response(500, content=b"[" * 100_000), clients.InternalError),
        (httpx.Response(302, headers={"Location": "/login"}), clients.UnexpectedAnswerError),
        (httpx.Response(200, text="<html>log in</html>"), clients.UnexpectedAnswerError),
        (httpx.Response(200, json={"hits": []}), clients.UnexpectedAnswerError),
        (httpx.Response(200, content=b"\xff"), clients.UnexpectedAnswerError),
        (httpx.DecodingError("no gzip"), clients.UnexpectedAnswerError),
    ],
)
def test_an_answer_that_is_not_the_services_is_told(
    ask: Ask, answer: httpx.Response | Exception, kind: type[SearchError]
) -> None:
    with pytest.raises(SearchError) as caught:
        ask(Script(answer))
    assert type(caught.value) is kind
    assert caught.value.status == getattr(answer, "status_code", None)


def test_the_request_id_of_the_header_serves_where_there_is_no_envelope() -> None:
    with pytest.raises(clients.UnexpectedAnswerError) as caught:
        ask_blocking(Script(httpx.Response(502, headers={"X-Request-ID": "h1"})))
    assert caught.value.request_id == "h1"


# Trying again


@both
@pytest.mark.parametrize(
    "failure",
    [
        refuse(429, "overloaded"),
        refuse(503, "not_ready"),
        httpx.Response(503, text="<html>proxy</html>"),
        httpx.ConnectError("refused"),
        httpx.RemoteProtocolError("hung up"),
    ],
)
def test_what_may_pass_is_tried_again(
    ask: Ask, pauses: list[float], failure: httpx.Response | Exception
) -> None:
    script = Script(failure, failure, httpx.Response(200, json=ANSWER))
    assert ask(script).request_id == "abc"
    assert script.calls == 3
    assert 0.25 <= pauses[0] <= 0.5 <= pauses[1] <= 0.75


@both
@pytest.mark.parametrize(
    "failure",
    [
        refuse(422, "invalid_request"),
        refuse(409, "not_available"),
        refuse(500, "internal"),
        refuse(504, "deadline_exceeded"),
        httpx.Response(502),
        httpx.ReadTimeout("slow"),
    ],
)
def test_what_will_not_pass_is_not_tried_again(
    ask: Ask, pauses: list[float], failure: httpx.Response | Exception
) -> None:
    script = Script(failure)
    with pytest.raises(SearchError):
        ask(script)
    assert (script.calls, pauses) == (1, [])


@both
@pytest.mark.parametrize("retries", [0, 2])
def test_retries_are_counted_and_the_last_error_is_raised(
    ask: Ask, pauses: list[float], retries: int
) -> None:
    script = Script(refuse(429, "overloaded"), refuse(503, "not_ready"))
    with pytest.raises(clients.NotReadyError if retries else clients.OverloadedError):
        ask(script, retries=retries)
    assert script.calls == retries + 1


def http_date(seconds: float) -> str:
    return format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)


@both
@pytest.mark.parametrize(
    ("retry_after", "least", "most"),
    [
        ("3", 3.25, 3.5),
        (http_date(6 * 3600), 30, 30),
        ("0", 0.25, 0.5),
        (http_date(-60), 0.25, 0.5),
        ("86400", 30, 30),
        ("9" * 5000, 0.25, 0.5),
        ("-5", 0.25, 0.5),
        ("soon", 0.25, 0.5),
        ("nan", 0.25, 0.5),
    ],
    # The dates are of this very second, which another worker of the test run may not share.
    ids=["3", "in 6 hours", "0", "past", "a day", "long", "negative", "word", "nan"],
)
def test_retry_after_is_honoured_within_a_limit(
    ask: Ask, pauses: list[float], retry_after: str, least: float, most: float
) -> None:
    busy = refuse(429, "overloaded", {"Retry-After": retry_after})
    ask(Script(busy, httpx.Response(200, json=ANSWER)))
    assert len(pauses) == 1
    assert least <= pauses[0] <= most


def test_retry_after_as_a_date_is_a_time_from_now(pauses: list[float]) -> None:
    busy = refuse(503, "not_ready", {"Retry-After": http_date(10)})
    ask_blocking(Script(busy, httpx.Response(200, json=ANSWER)))
    assert 8 <= pauses[0] <= 10.5


def test_pauses_grow_up_to_eight_seconds_and_differ(pauses: list[float]) -> None:
    with pytest.raises(clients.ConnectionFailedError):
        ask_blocking(Script(httpx.ConnectError("refused")), retries=8)
    assert len(set(pauses)) == 8
    for pause, base in zip(pauses, [0.25, 0.5, 1, 2, 4, 8, 8, 8], strict=True):
        assert base <= pause <= base + 0.25


def test_tasks_that_share_a_client_try_again_each_for_itself(pauses: list[float]) -> None:
    seen: dict[str, int] = {}

    async def busy_twice(request: httpx.Request) -> httpx.Response:
        turn = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(turn.set_result, None)
        await turn
        query = json.loads(request.content)["query"]
        seen[query] = seen.get(query, 0) + 1
        if seen[query] < 3:
            return refuse(429, "overloaded")
        return httpx.Response(200, json={**ANSWER, "query": query})

    async def ask_all() -> list[SearchResult]:
        transport = httpx.MockTransport(busy_twice)
        async with AsyncSearchClient("http://search", transport=transport, retries=2) as client:
            return await asyncio.gather(*(client.search(str(n)) for n in range(20)))

    assert [result.query for result in asyncio.run(ask_all())] == [str(n) for n in range(20)]
    assert len(pauses) == 40


# Health


def health_blocking(handler: Handler) -> tuple[Any, bool]:
    with SearchClient("http://search", transport=httpx.MockTransport(handler)) as client:
        ready = client.ready()
        try:
            return client.health(), ready
        except SearchError as error:
            return error, ready


def health_async(handler: Handler) -> tuple[Any, bool]:
    async def ask() -> tuple[Any, bool]:
        transport = httpx.MockTransport(handler)
        async with AsyncSearchClient("http://search", transport=transport) as client:
            ready = await client.ready()
            try:
                return await client.health(), ready
            except SearchError as error:
                return error, ready

    return asyncio.run(ask())


both_healths = pytest.mark.parametrize("ask", [health_blocking, health_async])


@both_healths
@pytest.mark.parametrize(("status", "word"), [(200, "ready"), (503, "not_ready")])
def test_health_is_told_whether_ready_or_not(
    ask: Callable[[Handler], tuple[Any, bool]], status: int, word: str
) -> None:
    body = common.ReadyBody.model_validate(
        {"status": word, "checks": {"index": "ok"}, "documents": 3, "passages": 5, "notes": ["n"]}
    )

    def answer(request: httpx.Request) -> httpx.Response:
        assert request.url.path == "/readyz"
        return httpx.Response(status, json=body.model_dump())

    health, ready = ask(answer)
    assert asdict(health) == body.model_dump()
    assert ready is (status == 200)


@both_healths
@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        (httpx.ConnectError("refused"), clients.ConnectionFailedError),
        (httpx.ConnectTimeout("slow"), clients.ClientTimeoutError),
        (httpx.Response(503, text="<html>"), clients.NotReadyError),
    ],
)
def test_a_service_that_cannot_be_asked_is_not_ready(
    ask: Callable[[Handler], tuple[Any, bool]],
    pauses: list[float],
    failure: httpx.Response | Exception,
    kind: type[SearchError],
) -> None:
    error, ready = ask(Script(failure))
    assert type(error) is kind
    assert (ready, pauses) == (False, [])


def test_a_wrong_address_is_no_reason_to_wait() -> None:
    transport = httpx.MockTransport(Script(httpx.Response(404)))
    with (
        SearchClient("http://search", transport=transport) as client,
        pytest.raises(clients.NotFoundError),
    ):
        client.ready()


# A real network, of this machine


class LoopbackHandler(BaseHTTPRequestHandler):
    """Answers /search, hangs up on /hangup/search, and on /slow/search after a while."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        if self.path.startswith("/hangup"):
            self.close_connection = True
            return
        if self.path.startswith("/slow"):
            self.server.released.wait(5)  # type: ignore[attr-defined]
            self.close_connection = True
            return
        body = json.dumps(ANSWER).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_args: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    request_queue_size = 32


@pytest.fixture
def server() -> Iterator[str]:
    with Server(("127.0.0.1", 0), LoopbackHandler) as http:
        http.released = threading.Event()  # type: ignore[attr-defined]
        thread = threading.Thread(target=http.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.released.set()  # type: ignore[attr-defined]
        http.shutdown()
        thread.join()


@pytest.fixture
def closed_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def real_blocking(url: str, **options: Any) -> SearchResult:
    with SearchClient(url, **options) as client:
        return client.search("a")


def real_async(url: str, **options: Any) -> SearchResult:
    async def ask() -> SearchResult:
        async with AsyncSearchClient(url, **options) as client:
            return await client.search("a")

    return asyncio.run(ask())


both_real = pytest.mark.parametrize("ask", [real_blocking, real_async])


@both_real
def test_a_server_answers(ask: Ask, server: str) -> None:
    assert ask(server).request_id == "abc"


@both_real
def test_a_slow_answer_is_a_time_out(ask: Ask, server: str) -> None:
    started = time.monotonic()
    with pytest.raises(clients.ClientTimeoutError):
        ask(f"{server}/slow", timeout=0.1)
    assert time.monotonic() - started < 3


@both_real
def test_a_closed_port_and_a_server_that_hangs_up_are_failed_connections(
    ask: Ask, server: str, closed_port: int
) -> None:
    for url in (f"http://127.0.0.1:{closed_port}", f"{server}/hangup"):
        with pytest.raises(clients.ConnectionFailedError) as caught:
            ask(url, retries=0)
        assert caught.value.message
        assert caught.value.status is None


@both_real
def test_this_machine_is_asked_past_any_proxy(
    ask: Ask, server: str, closed_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{closed_port}")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    assert ask(server).request_id == "abc"


def test_threads_may_share_a_client(server: str) -> None:
    results: list[SearchResult] = []
    with SearchClient(server) as client:
        threads = [
            threading.Thread(target=lambda: results.append(client.search("a"))) for _ in range(16)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(results) == 16
