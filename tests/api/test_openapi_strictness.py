"""The OpenAPI document refuses what the server refuses, and nothing else."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient

from service.settings import Settings
from tests.fixtures.hash_server import fill, running
from tests.fixtures.openapi import SPEC, errors_of, named


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
                {"rerank": False, "min_probability": 0.5},
                {"rerank": False, "min_probability": None},
                {"min_probability": 1},
                {"min_probability": 1.5},
                {"min_probability": "0.5"},
                {"offset": 0},
                {"offset": 5.0},
                {"offset": 1000},
                {"offset": 1001},
                {"offset": None, "cursor": None},
                {"offset": 0, "cursor": None},
                {"offset": 0, "cursor": "A" * 24},
                {"cursor": "A" * 23},
                {"cursor": "A" * 25},
                {"cursor": "é" * 24},
                {"diversity": True},
                {"diversity": None},
                {"group_by": None},
                {"group_by": "x" * 128},
                {"group_by": "x" * 129},
                {"group_by": ""},
                {"group_size": 10},
                {"group_size": 11},
                {"boost": []},
                {"boost": None},
                {"boost": [{"field": "a", "weight": 1, "values": [1, 1.5, "x", True]}]},
                {"boost": [{"field": "a", "weight": -1.0, "values": ["x"], "scale": None}]},
                {"boost": [{"field": "a", "weight": 0.5, "scale": 5, "origin": None}]},
                {"boost": [{"field": "a", "weight": 0.5, "scale": 0.5, "origin": 7}]},
                {"boost": [{"field": "a", "weight": 0.5, "scale": 5, "origin": "2026-01-01"}]},
                {"boost": [{"field": "a", "weight": 0.5, "scale": 5}] * 5},
                {"boost": [{"field": "a", "weight": 0.5, "scale": 5}] * 6},
                {"boost": [{"field": "a", "weight": 0.5, "scale": 0}]},
                {"boost": [{"field": "a", "weight": 0.5, "scale": 5, "values": [1]}]},
                {"boost": [{"field": "a", "weight": 0.5, "values": [1], "origin": 1}]},
                {"boost": [{"field": "a", "weight": 0.5}]},
                {"boost": [{"field": "a", "weight": 0.5, "values": None}]},
                {"boost": [{"field": "a", "weight": 0.5, "values": []}]},
                {"boost": [{"field": "a", "weight": 0.5, "values": [None]}]},
                {"boost": [{"field": "a", "weight": 0.5, "values": list(range(101))}]},
                {"boost": [{"field": "a", "weight": 0.5, "values": ["x" * 1001]}]},
                {"boost": [{"field": "a", "weight": 1.5, "values": [1]}]},
                {"boost": [{"field": "", "weight": 1, "values": [1]}]},
                {"boost": [{"weight": 1, "values": [1]}]},
                {"boost": [{"field": "a", "values": [1]}]},
                {"boost": [{"field": "a", "weight": 1, "values": [1], "more": 1}]},
                {"collections": None},
                {"collections": ["default"]},
                {"collections": []},
                {"collections": ["default", "default"]},
                {"collections": ["Default"]},
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
        *(("/aliases/{alias}", "put", "alias", v) for v in ("a-1", "A", "a" * 65, "-a", "a.b")),
        *(("/collections/{name}/restore", "post", "name", v) for v in ("main", "A", "a" * 65)),
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
    if path == "/aliases/{alias}":
        options["json"] = {"collection": "main"}
    if path == "/collections/{name}/restore":
        options["headers"] = {"Content-Type": "application/x-tar"}
    filled = path.replace(f"{{{name}}}", str(value)).replace("{id}", "7")
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
