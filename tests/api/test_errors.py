"""Bad input in every way: one envelope, the right code, the field named, nothing internal told."""

import json

import pytest
from fastapi.testclient import TestClient

JSON = {"content-type": "application/json"}


def envelope(answer, status: int, code: str) -> dict:
    assert answer.status_code == status, answer.text
    body = answer.json()
    assert set(body) == {"error"}
    error = body["error"]
    assert set(error) <= {"code", "message", "request_id", "details"}
    assert error["code"] == code
    assert error["message"]
    assert error["request_id"] == answer.headers["X-Request-ID"]
    return error


WRONG = [
    ("query", None),
    ("query", 7),
    ("query", ["a"]),
    ("query", ""),
    ("query", " \u200b\n"),
    ("query", "query: "),
    ("query", "x" * 4001),
    ("top_k", 0),
    ("top_k", 101),
    ("top_k", "10"),
    ("top_k", 1.5),
    ("top_k", True),
    ("num_candidates", 0),
    ("num_candidates", 1001),
    ("num_candidates", None),
    ("rerank", "yes"),
    ("rerank", 1),
    ("filters", []),
    ("filters", {"": 1}),
    ("filters.a", {"a": None}),
    ("filters.a", {"a": {"b": 1}}),
    ("filters.a", {"a": []}),
    ("filters.a", {"a": [[1]]}),
    ("filters.a", {"a": "x" * 1001}),
    ("filters.a", {"a": list(range(101))}),
    ("filters", {f"f{i}": 1 for i in range(101)}),
    ("min_confidence", "certain"),
    ("min_confidence", 0.8),
    ("timeout_ms", 0),
    ("timeout_ms", 600_001),
    ("timeout_ms", "1s"),
    ("return_text", "no"),
    ("colour", "red"),
]


@pytest.mark.parametrize(("field", "value"), WRONG)
def test_each_wrong_field_is_named(client: TestClient, field: str, value: object) -> None:
    request = {"query": "tides", field.split(".", maxsplit=1)[0]: value}
    error = envelope(client.post("/search", json=request), 422, "invalid_request")
    assert error["details"][0]["field"].startswith(field.split(".", maxsplit=1)[0])
    assert error["details"][0]["message"]


def test_a_missing_query_is_named(client: TestClient) -> None:
    error = envelope(client.post("/search", json={}), 422, "invalid_request")
    assert error["details"][0]["field"] == "query"


def test_all_wrong_fields_are_named_at_once(client: TestClient) -> None:
    answer = client.post("/search", json={"query": 1, "top_k": 0, "rerank": "x"})
    error = envelope(answer, 422, "invalid_request")
    assert {detail["field"] for detail in error["details"]} == {"query", "top_k", "rerank"}


def test_limits_are_told(client: TestClient) -> None:
    too_many = client.post("/search", json={"query": "tides", "top_k": 101})
    assert "100" in too_many.json()["error"]["details"][0]["message"]
    too_long = client.post("/search", json={"query": "x" * 4001})
    assert "4000" in too_long.json()["error"]["message"]


def test_what_the_caller_sent_is_not_sent_back(client: TestClient) -> None:
    answer = client.post("/search", json={"query": "tides", "top_k": "s3cret"})
    assert "s3cret" not in answer.text


@pytest.mark.parametrize(
    "body",
    [b"{", b"", b'{"query": tides}', b'{"query": "a"', b"null", b"[]", b'"text"', b"7", b"\x00"],
)
def test_broken_json_is_said_to_be_the_body(client: TestClient, body: bytes) -> None:
    error = envelope(client.post("/search", content=body, headers=JSON), 422, "invalid_request")
    assert error["details"][0]["field"] == "body"


@pytest.mark.parametrize(
    ("path", "body", "field", "place"),
    [
        ("/search", '{"query": "a", "query": "b"}', "query", "line 1, column 16"),
        (
            "/search",
            '{"query": "a", "filters": {"or": [{"level": 1, "level": 2}]}}',
            "filters.or.0.level",
            "line 1, column 48",
        ),
        (
            "/search/batch",
            '{"queries": [{"query": "a"},\n{"query": "b", "top_k": 1, "top_k": 1}]}',
            "queries.1.top_k",
            "line 2, column 28",
        ),
        (
            "/documents",
            '{"documents": [{"id": "a", "text": "t", "metadata": {"b": 1, "b": 2}}]}',
            "documents.0.metadata.b",
            "line 1, column 62",
        ),
        ("/documents/delete", '{"ids": ["a"], "ids": []}', "ids", "line 1, column 16"),
        ("/similarity", '{"pairs": [{"a": "x", "b": "y", "b": "z"}]}', "pairs.0.b", "column 33"),
        ("/collections", '{"name": "a", "name": "b"}', "name", "column 15"),
    ],
)
def test_a_key_that_appears_twice_is_refused_by_name_and_place(
    client: TestClient, path: str, body: str, field: str, place: str
) -> None:
    error = envelope(client.post(path, content=body, headers=JSON), 422, "invalid_request")
    assert [detail["field"] for detail in error["details"]] == [field]
    assert field.rpartition(".")[2] in error["message"]
    assert place in error["message"]


def test_a_key_that_appears_twice_in_a_large_body_or_a_query_string_is_refused(
    client: TestClient,
) -> None:
    rows = ",".join(f'{{"id": "{n}", "text": "{"x" * 1000}"}}' for n in range(400))
    body = f'{{"documents": [{rows}], "documents": []}}'
    error = envelope(client.post("/documents", content=body, headers=JSON), 422, "invalid_request")
    assert error["details"][0]["field"] == "documents"
    listing = client.get("/documents", params={"filters": '{"level": 1, "level": 2}'})
    error = envelope(listing, 422, "invalid_request")
    assert error["details"][0]["field"] == "filters.level"
    assert "column 14" in error["message"]


@pytest.mark.parametrize(
    "body", [b'{"query": "\xff\xfe"}', b"\xc3\x28", b'{"query": "caf\xe9"}', b"[" * 100_000]
)
def test_invalid_utf8_and_bottomless_nesting_are_no_server_faults(
    client: TestClient, body: bytes
) -> None:
    envelope(client.post("/search", content=body, headers=JSON), 422, "invalid_request")


@pytest.mark.parametrize("where", ["query", "filters"])
def test_lone_surrogates_are_refused(client: TestClient, where: str) -> None:
    filters = '{"a": "\\ud800"}' if where == "filters" else "{}"
    query = "\\ud800 tides" if where == "query" else "tides"
    body = f'{{"query": "{query}", "filters": {filters}}}'.encode()
    envelope(client.post("/search", content=body, headers=JSON), 422, "invalid_request")


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_numbers_that_are_not_finite_are_refused(client: TestClient, number: str) -> None:
    body = f'{{"query": "tides", "filters": {{"a": {number}}}}}'.encode()
    envelope(client.post("/search", content=body, headers=JSON), 422, "invalid_request")


@pytest.mark.parametrize("kind", ["text/plain", "application/xml", "multipart/form-data", ""])
def test_another_content_type_is_unsupported(client: TestClient, kind: str) -> None:
    body = json.dumps({"query": "tides"}).encode()
    answer = client.post("/search", content=body, headers={"content-type": kind})
    envelope(answer, 415, "unsupported_media_type")


def test_json_with_a_charset_is_fine(client: TestClient) -> None:
    body = json.dumps({"query": "tides"}).encode()
    headers = {"content-type": "application/json; charset=utf-8"}
    assert client.post("/search", content=body, headers=headers).status_code == 200


def test_a_body_of_two_megabytes_is_too_large(client: TestClient) -> None:
    body = json.dumps({"query": "x" * 2_000_000})
    envelope(client.post("/search", content=body, headers=JSON), 413, "body_too_large")


def test_a_body_of_two_megabytes_without_length_is_too_large(client: TestClient) -> None:
    def chunks():
        for _ in range(20):
            yield b"x" * 100_000

    envelope(client.post("/search", content=chunks(), headers=JSON), 413, "body_too_large")


def test_unknown_paths_and_methods_get_the_envelope(client: TestClient) -> None:
    envelope(client.get("/nowhere"), 404, "not_found")
    answer = client.get("/search")
    envelope(answer, 405, "method_not_allowed")
    assert answer.headers["Allow"] == "POST"


@pytest.mark.parametrize(
    "request_body",
    [
        {"query": "tides", "filters": {f"f{i}": [] for i in range(5_000)}},
        {"query": "tides", **{f"unknown{i}": 1 for i in range(5_000)}},
    ],
)
def test_a_body_full_of_errors_is_answered_briefly(client: TestClient, request_body: dict) -> None:
    answer = client.post("/search", json=request_body)
    error = envelope(answer, 422, "invalid_request")
    assert len(error["details"]) <= 20
    assert len(answer.content) < 10_000


def test_min_confidence_without_rerank_is_a_contradiction(client: TestClient) -> None:
    request = {"query": "tides", "rerank": False, "min_confidence": "high"}
    error = envelope(client.post("/search", json=request), 422, "invalid_request")
    assert error["details"][0]["field"] == "min_confidence"


def test_an_unforeseen_fault_tells_nothing_but_the_request_id(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    engine = client.app.state.server.engine
    monkeypatch.setattr(engine.searcher.retriever, "find", None)
    answer = client.post("/search", json={"query": "a very private question"})
    envelope(answer, 500, "internal")
    assert "NoneType" not in answer.text
    assert answer.headers["X-Request-ID"] in caplog.text


def test_query_text_is_not_logged(client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("DEBUG"):
        client.post("/search", json={"query": "a very private question"})
        client.post("/search", json={"query": "another private question", "top_k": -1})
    assert "/search" in caplog.text
    assert "private" not in caplog.text
