"""The OpenAPI document: valid and complete."""

import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from service.api.app import create_app
from service.api.error_table import TABLE
from service.api.schemas.common import CODES
from service.settings import Settings
from tests.fixtures.hash_server import fill, running, until
from tests.fixtures.openapi import SPEC, errors_of, named

OPERATIONS = [
    (f"{method.upper()} {path}", operation)
    for path, operations in SPEC["paths"].items()
    for method, operation in operations.items()
]
EACH = pytest.mark.parametrize(
    "operation", [o for _, o in OPERATIONS], ids=[n for n, _ in OPERATIONS]
)
VERBS = {
    *(
        "cancel",
        "compare",
        "copy",
        "count",
        "create",
        "delete",
        "follow",
        "get",
        "list",
        "patch",
        "put",
    ),
    *("embed", "read", "rerank", "restore", "score", "search", "tokenize", "upload"),
}
JSON = "application/json"
HEADERS = {"401": ["WWW-Authenticate"], "415": ["Accept-Encoding"], "429": ["Retry-After"]}


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
    own = {row.code for row in TABLE.values() if row.code}
    assert set(codes) == {"error", *CODES.values(), *own}


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
        for header in HEADERS.get(status, ()):
            assert header in response["headers"]


@EACH
def test_every_operation_may_refuse_a_long_head(operation: dict[str, Any]) -> None:
    assert "431" in operation["responses"]


def test_a_search_may_name_a_collection_that_is_not_there(client: TestClient) -> None:
    answer = client.post("/search", json={"query": "a", "collections": ["main", "none"]})
    assert str(answer.status_code) in SPEC["paths"]["/search"]["post"]["responses"]
    assert answer.status_code == 404


@EACH
def test_every_operation_has_examples_that_are_valid(operation: dict[str, Any]) -> None:
    bodies = list(operation.get("requestBody", {}).get("content", {}).items())
    for status, response in operation["responses"].items():
        if not 300 <= int(status) < 400:
            bodies += response.get("content", {}).items()
    shown = 0
    for kind, media in bodies:
        if kind in {"application/x-tar", "application/zip"}:
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
        ("get", "/version", client.get("/version")),
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
