"""The OpenAPI document: valid, complete, and as strict as the server is."""

import re
from collections.abc import Iterator
from typing import Any, get_args

import httpx
import pytest
from fastapi.testclient import TestClient
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from service.api.app import create_app
from service.api.errors import CODES, OWN_CODES
from service.api.schemas import ErrorCode
from service.settings import Settings
from tests.fixtures.hash_server import fill, running, until

SPEC = create_app(Settings(), lambda: None).openapi()  # type: ignore[arg-type, return-value]
OPERATIONS = [
    (f"{method.upper()} {path}", operation)
    for path, operations in SPEC["paths"].items()
    for method, operation in operations.items()
]
EACH = pytest.mark.parametrize(
    "operation", [o for _, o in OPERATIONS], ids=[n for n, _ in OPERATIONS]
)
VERBS = {
    *("cancel", "compare", "copy", "create", "delete", "follow", "get", "list", "put"),
    *("read", "restore", "search", "upload"),
}
JSON = "application/json"


def errors_of(schema: dict[str, Any], value: object) -> list[str]:
    whole = {**schema, "components": SPEC["components"]}
    return [error.message for error in Draft202012Validator(whole).iter_errors(value)]


def named(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


def test_it_is_valid() -> None:
    assert [error.message for error in OpenAPIV31SpecValidator(SPEC).iter_errors()] == []
    assert "itemSchema" not in str(SPEC)
    assert "x-component" not in str(SPEC)
    for name, schema in SPEC["components"]["schemas"].items():
        Draft202012Validator.check_schema(schema)
        assert "HTTPValidation" not in name


def test_operation_ids_are_verbs_in_snake_case() -> None:
    ids = [operation["operationId"] for _, operation in OPERATIONS]
    assert len(set(ids)) == len(ids)
    for id_ in ids:
        assert re.fullmatch(r"[a-z]+(_[a-z]+)*", id_)
        assert id_.partition("_")[0] in VERBS, id_
    assert {"search", "search_in_collection", "put_document", "follow_job"} <= set(ids)


def test_the_code_of_an_error_is_one_of_a_list() -> None:
    codes = SPEC["components"]["schemas"]["ErrorContent"]["properties"]["code"]["enum"]
    assert set(codes) == {"error", *CODES.values(), *OWN_CODES.values()} == set(get_args(ErrorCode))


@EACH
def test_every_error_is_the_envelope_in_json(operation: dict[str, Any]) -> None:
    found = {status: r for status, r in operation["responses"].items() if int(status) >= 400}
    assert {"422", "500"} <= set(found)
    for status, response in found.items():
        assert list(response["content"]) == [JSON], status
        probe = status == "503" and operation["tags"] == ["operations"]
        wanted = named("ReadyBody" if probe else "ErrorBody")
        assert response["content"][JSON]["schema"] == wanted
        assert "X-Request-ID" in response["headers"]
    assert "Retry-After" in found.get("429", found["500"] | {"headers": "Retry-After"})["headers"]


@EACH
def test_every_operation_has_examples_that_are_valid(operation: dict[str, Any]) -> None:
    bodies = list(operation.get("requestBody", {}).get("content", {}).items())
    for status, response in operation["responses"].items():
        if not 300 <= int(status) < 400:
            bodies += response.get("content", {}).items()
    shown = 0
    for kind, media in bodies:
        if kind == "application/x-tar":
            continue
        assert "example" in media, kind
        assert errors_of(media["schema"], media["example"]) == []
        shown += 1
    for parameter in operation.get("parameters", ()):
        for example in parameter["schema"].get("examples", ()):
            assert errors_of(parameter["schema"], example) == []
            shown += 1
        if parameter["in"] == "path":
            assert parameter["schema"]["examples"]
    assert shown


def test_every_example_of_a_schema_is_valid() -> None:
    examples = 0
    for name, schema in SPEC["components"]["schemas"].items():
        for example in schema.get("examples", ()):
            assert errors_of(named(name), example) == [], name
            examples += 1
    assert examples > 25


def test_limits_that_are_settings_are_those_of_this_server() -> None:
    settings = Settings(max_batch_queries=7, max_document_chars=5000, max_title_chars=50)
    app = create_app(settings, lambda: None)  # type: ignore[arg-type, return-value]
    schemas = app.openapi()["components"]["schemas"]
    assert schemas["SearchBatchRequest"]["properties"]["queries"]["maxItems"] == 7
    assert schemas["DocumentBody"]["properties"]["text"]["maxLength"] == 5000
    assert schemas["IdentifiedDocumentBody"]["properties"]["title"]["anyOf"][0]["maxLength"] == 50


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with running(Settings(data_dir=tmp_path_factory.mktemp("data"))) as client:
        fill(client)
        yield client


NESTED: dict[str, Any] = {"a": 1}
for _ in range(7):
    NESTED = {"not": NESTED}
FILTERS: list[Any] = [
    {},
    {"a": 1},
    {"a": 1.5, "b": "x", "c": True},
    {"a": [1, "x", False]},
    {"a": {"gte": "2026-01-01", "lt": "2026-07-01"}, "b": {"exists": False}},
    {"or": [{"level": 1}]},
    {"or": [{"grade": {"gte": 11}}, {"tags": "exam"}], "not": {"language": "en"}},
    {"and": [{"or": [{"a": 1}, {"not": {"b": {"in": [1]}}}]}]},
    NESTED,
    {"x" * 128: 1},
    {"and more": 1, "nota": 2, "": 1},
    {"": 1},
    {"x" * 129: 1},
    {"a": None},
    {"a": []},
    {"a": [[1]]},
    {"a": [None]},
    {"a": {}},
    {"a": {"ne": 1}},
    {"a": {"gt": True}},
    {"a": {"exists": 1}},
    {"a": {"in": 1}},
    {"a": "x" * 1001},
    {"a": list(range(101))},
    {"and": {"a": 1}},
    {"and": []},
    {"or": [{}]},
    {"not": {}},
    {"not": [{"a": 1}]},
    {"not": 1},
    {"or": [1]},
    {"a": {"or": [{"b": 1}]}},
    {"a": [{"b": 1}]},
    [],
    "x",
    None,
]
BODIES: list[tuple[str, str, list[Any]]] = [
    ("/search", "SearchRequest", [{"query": "tides", "filters": filters} for filters in FILTERS]),
    (
        "/search",
        "SearchRequest",
        [
            {"query": "tides", **more}
            for more in (
                {"top_k": 10.0},
                {"timeout_ms": 600_000.0},
                {"timeout_ms": 600_000.5},
                {"timeout_ms": 600_001},
                {"timeout_ms": 0},
                {"timeout_ms": None},
                {"timeout_ms": True},
                {"timeout_ms": "10"},
                {"num_candidates": 1e3},
                {"num_candidates": 1e308},
                {"num_candidates": None},
                {"rerank": 1},
                {"rerank": False, "min_confidence": "low"},
                {"rerank": False, "min_confidence": None},
                {"rerank": True, "min_confidence": "low"},
                {"min_confidence": "sure"},
                {"mode": "other"},
                {"mode": None},
                {"query": ""},
                {"query": None},
                {"nonsense": 1},
            )
        ],
    ),
    (
        "/search/batch",
        "SearchBatchRequest",
        [
            {"queries": []},
            {"queries": [{"query": "a"}] * 64},
            {"queries": [{"query": "a"}] * 65},
            {"queries": [{"query": "a", "top_k": 2.0}]},
            {"queries": [{"query": "a", "filters": {"or": [{}]}}]},
            [],
        ],
    ),
    (
        "/documents/delete",
        "DeleteDocumentsRequest",
        [
            {},
            {"ids": ["none"]},
            {"ids": ["none"], "filters": None},
            {"ids": ["none"], "filters": {"a": 1}},
            {"ids": None, "filters": {"no such": 1}},
            {"ids": None, "filters": None},
            {"filters": {"no such": 1}},
            {"filters": {}},
            {"ids": []},
            {"ids": [7, 7.0, "7"]},
            {"ids": [7.5]},
            {"ids": [True]},
            {"ids": [""]},
            {"ids": [" "]},
            {"ids": ["a\n"]},
            {"ids": ["x" * 512]},
            {"ids": ["x" * 513]},
            {"ids": ["none"] * 1001},
        ],
    ),
    (
        "/documents/7",
        "DocumentBody",
        [
            {"text": "t", **more}
            for more in (
                {"id": 7},
                {"id": 7.0},
                {"id": "7"},
                {"id": None},
                {"id": 7.5},
                {"id": True},
                {"title": None},
                {"title": "x" * 2000},
                {"title": "x" * 2001},
                {"title": 1},
                {"text": None},
                {"text": "x" * 1_000_001},
                {"metadata": None},
                {"metadata": {"a": [], "b": None, "c": ["x"], "d": -0.5, "e": 2**62}},
                {"metadata": {"a": [1]}},
                {"metadata": {"a": {}}},
                {"metadata": {"": 1}},
                {"metadata": {"x" * 129: 1}},
                {"metadata": {"a": "x" * 10_001}},
                {"metadata": {"a": ["x"] * 1001}},
                {"metadata": {str(n): 1 for n in range(65)}},
                {"metadata": []},
                {"nonsense": 1},
            )
        ],
    ),
    (
        "/similarity",
        "SimilarityRequest",
        [
            {"pairs": [{"a": "x", "b": "y"}], "timeout_ms": 600_000.0},
            {"pairs": []},
            {"pairs": [{"a": "x", "b": "y"}] * 101},
            {"pairs": [{"a": "x"}]},
            {"pairs": [{"a": "x", "b": 1}]},
        ],
    ),
    (
        "/collections",
        "CreateCollectionRequest",
        [
            {"name": "again", "settings": {"passage_tokens": 64.0, "rerank_depth": 5.0}},
            {"name": "main"},
            {"name": "Main"},
            {"name": "-a"},
            {"name": ""},
            {"name": "a" * 65},
            {"name": "b", "settings": {"hybrid_weight": 1.5}},
            {"name": "b", "settings": {"passage_tokens": 8}},
            {"name": "b", "settings": {"nonsense": 1}},
            {"name": "b", "settings": None},
        ],
    ),
]


@pytest.mark.parametrize(
    ("path", "name", "body"),
    [(path, name, body) for path, name, bodies in BODIES for body in bodies],
)
def test_a_body_is_refused_by_the_schema_when_the_server_refuses_it(
    client: TestClient, path: str, name: str, body: object
) -> None:
    method = "PUT" if path == "/documents/7" else "POST"
    answer = client.request(method, path, json=body)
    assert answer.status_code < 500
    found = errors_of(named(name), body)
    assert bool(found) == (answer.status_code == 422), (found, answer.text)


def parameter(path: str, method: str, name: str) -> dict[str, Any]:
    (found,) = (p for p in SPEC["paths"][path][method]["parameters"] if p["name"] == name)
    schema: dict[str, Any] = found["schema"]
    assert {"type": "null"} not in schema.get("anyOf", ())
    return schema


@pytest.mark.parametrize(
    ("path", "method", "name", "value"),
    [
        *(
            (path, method, name, value)
            for path, method, name in (
                ("/documents/{id}", "put", "If-Match"),
                ("/documents/{id}", "put", "If-None-Match"),
                ("/documents/{id}", "get", "If-None-Match"),
                ("/documents/{id}", "delete", "If-Match"),
            )
            for value in ("*", '"7"', '"7", W/"8"', "7", '"7', '"7"8', "**", '"a b"', 'w/"7"')
        ),
        *(
            ("/documents", "get", "cursor", value)
            for value in ("YQ==", "cHktZXhjZXB0", "YQ", "a b", "=", "YQ=", "YWI=", "*", "A" * 5000)
        ),
        *(("/documents", "get", "limit", value) for value in (1, 1000, 0, 1001, "x")),
        *(("/documents", "get", "filters", value) for value in ("{}", '{"a": 1}', "[]", "x")),
        *(("/documents/{id}", "get", "id", value) for value in ("a", "x" * 513, "%20", "a%0A")),
        *(("/documents/bulk", "post", "Idempotency-Key", v) for v in ("k-1", "a b", "k" * 256)),
    ],
)
def test_a_parameter_is_refused_by_its_schema_when_the_server_refuses_it(
    client: TestClient, path: str, method: str, name: str, value: Any
) -> None:
    schema = parameter(path, method, name)
    is_header = name in {"If-Match", "If-None-Match", "Idempotency-Key"}
    options: dict[str, Any] = {"headers": {name: value}} if is_header else {}
    if path == "/documents":
        options["params"] = {name: value}
    if method == "put":
        options["json"] = {"text": "t"}
    if path == "/documents/bulk":
        options = {"headers": {name: value, "Content-Type": "application/x-ndjson"}}
    filled = path.replace("{id}", str(value) if name == "id" else "7")
    answer = client.request(method, filled, **options)
    seen = httpx.URL(f"http://x/{value}").path[1:] if name == "id" else value
    refused = bool(errors_of(schema, seen))
    if name == "filters":
        refused = not is_filter(value)
    assert refused == (answer.status_code == 422), answer.text


def is_filter(text: str) -> bool:
    try:
        return not errors_of(named("Filter"), httpx.Response(200, text=text).json())
    except ValueError:
        return False


def test_answers_are_what_is_declared(client: TestClient) -> None:
    until(lambda: client.get("/documents").json()["documents"][0]["indexed"])
    ndjson = {"Content-Type": "application/x-ndjson"}
    job = client.post("/documents/bulk", content=b'{"id": "n", "text": "t"}\n{\n', headers=ndjson)
    asked: list[tuple[str, str, httpx.Response]] = [
        ("post", "/documents/bulk", job),
        ("post", "/search", client.post("/search", json={"query": "tides"})),
        (
            "post",
            "/search/batch",
            client.post("/search/batch", json={"queries": [{"query": "a"}, {"query": ""}]}),
        ),
        ("put", "/documents/{id}", client.put("/documents/n1", json={"text": "t"})),
        ("post", "/collections", client.post("/collections", json={"name": "told"})),
        ("get", "/collections", client.get("/collections")),
        ("get", "/collections/{name}/snapshot", client.get("/collections/told/snapshot")),
        ("get", "/documents", client.get("/documents?limit=2")),
        ("get", "/documents/{id}", client.get("/documents/n1")),
        ("get", "/jobs", client.get("/jobs")),
        ("get", "/jobs/{id}", client.get(f"/jobs/{job.json()['job_id']}")),
        ("get", "/jobs/{id}/events", client.get(f"/jobs/{job.json()['job_id']}/events")),
        ("get", "/jobs/{id}/events", client.get("/jobs/none/events")),
        ("get", "/aliases", client.get("/aliases")),
        ("get", "/readyz", client.get("/readyz")),
        ("get", "/metrics", client.get("/metrics")),
        ("get", "/metrics", client.get("/metrics?no=1")),
        (
            "post",
            "/similarity",
            client.post("/similarity", json={"pairs": [{"a": "x", "b": "y"}]}),
        ),
        (
            "delete",
            "/documents/{id}",
            client.delete("/documents/n1", headers={"If-Match": '"0"'}),
        ),
    ]
    for method, path, answer in asked:
        response = SPEC["paths"][path][method]["responses"][str(answer.status_code)]
        kind = answer.headers.get("content-type", "").partition(";")[0]
        media = response["content"][kind]
        if kind == JSON:
            assert errors_of(media["schema"], answer.json()) == [], path
        for header in response["headers"]:
            assert header in answer.headers, (path, header)
        told = {"server-timing", "etag", "location", "content-disposition", "retry-after"}
        for header in told & set(answer.headers):
            assert header in {name.lower() for name in response["headers"]}, (path, header)
