"""Filters in a request: what is taken, what is refused and how quickly."""

import json
import time
from typing import Any

import pytest
from fastapi.testclient import TestClient

from service.api.schemas.filter_schemas import DESCRIPTION, filters_from_text
from service.errors import InvalidInputError
from service.store.filter_grammar import MAX_CONDITIONS, MAX_DEPTH

JSON = {"content-type": "application/json"}


def found(client: TestClient, filters: dict[str, Any]) -> set[str]:
    answer = client.post("/search", json={"query": "how much sun", "filters": filters})
    assert answer.status_code == 200, answer.text
    return {hit["id"] for hit in answer.json()["hits"]}


def refused(client: TestClient, filters: object) -> tuple[str, str]:
    answer = client.post("/search", json={"query": "tides", "filters": filters})
    assert answer.status_code == 422, answer.text
    error = answer.json()["error"]
    assert error["code"] == "invalid_request"
    assert error["request_id"] == answer.headers["X-Request-ID"]
    (detail,) = error["details"]
    return detail["field"], detail["message"]


def test_operators_and_joins_narrow_a_search(client: TestClient) -> None:
    garden = found(client, {"topic": "garden"})
    assert garden
    assert found(client, {"topic": {"eq": "garden"}}) == garden
    assert (
        found(client, {"and": [{"topic": {"in": ["garden"]}}, {"topic": {"gte": "g"}}]}) == garden
    )
    others = found(client, {"not": {"topic": "garden"}})
    assert others
    assert not others & garden
    everything = found(client, {"or": [{"topic": "garden"}, {"not": {"topic": "garden"}}]})
    assert everything == found(client, {})
    low, high = found(client, {"level": {"lt": 3}}), found(client, {"level": {"gte": 3}})
    assert low
    assert high
    assert not low & high
    assert found(client, {"level": {"exists": True}}) == low | high


@pytest.mark.parametrize(
    ("filters", "field", "said"),
    [
        ({"year": {"gte": None}}, "filters.year.gte", "number"),
        ({"or": [{"a": 1}, {"b": {"ne": 1}}]}, "filters.or.1.b.ne", "operator"),
        ({"and": {"a": 1}}, "filters.and", "list of filters"),
        ({"a": {"gt": 1, "lt": "x"}}, "filters.a.lt", "one range"),
        ([1], "filters", "object"),
        ("x", "filters", "object"),
        ({f"f{i}": 1 for i in range(101)}, "filters.f100", str(MAX_CONDITIONS)),
    ],
)
def test_a_fault_is_named_with_its_place_and_the_limit(
    client: TestClient, filters: object, field: str, said: str
) -> None:
    place, message = refused(client, filters)
    assert place == field
    assert said in message


def test_a_wrong_filter_stands_beside_the_other_wrong_fields(client: TestClient) -> None:
    body = {"query": 1, "top_k": 0, "filters": {"a": {"exists": "yes"}}}
    details = client.post("/search", json=body).json()["error"]["details"]
    assert {detail["field"] for detail in details} == {"query", "top_k", "filters.a.exists"}


def test_nesting_beyond_the_limit_is_refused(client: TestClient) -> None:
    body = '{"query": "tides", "filters": ' + '{"not": ' * 300 + '{"a": 1}' + "}" * 301
    answer = client.post("/search", content=body, headers=JSON)
    assert answer.status_code == 422
    assert str(MAX_DEPTH) in answer.json()["error"]["details"][0]["message"]


@pytest.mark.parametrize(
    "filters",
    [
        {"or": [{}] * 200_000},
        {"or": [{"a": 1}] * 90_000},
        {"a": [None] * 150_000},
        {f"f{i}": {"gte": None} for i in range(30_000)},
        {"a": {"in": [1] * 300_000}},
        {"a": "x" * 900_000},
    ],
)
def test_hostile_bodies_are_refused_quickly_and_briefly(client: TestClient, filters: Any) -> None:
    body = json.dumps({"query": "tides", "filters": filters}, separators=(",", ":"))
    assert len(body) < 2**20
    began = time.process_time()
    answer = client.post("/search", content=body, headers=JSON)
    # Of work: a busy machine adds to the clock on the wall.
    assert time.process_time() - began < 1.0
    assert answer.status_code == 422
    assert len(answer.content) < 1000
    assert len(answer.json()["error"]["details"]) == 1


def test_the_schema_describes_them(client: TestClient) -> None:
    schemas = client.get("/openapi.json").json()["components"]["schemas"]
    field = schemas["SearchRequest"]["properties"]["filters"]
    assert DESCRIPTION in field["description"]
    assert field["$ref"] == "#/components/schemas/Filter"
    described = schemas["Filter"]["properties"]
    assert {"and", "or", "not"} == set(described)
    assert described["or"]["items"]["$ref"] == described["not"]["$ref"] == field["$ref"]
    for example in field["examples"]:
        assert isinstance(found(client, example), set)


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "nonsense", '"x"', "[]", "{" * 70_000])
def test_filters_in_a_query_string_are_checked(text: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        filters_from_text(text)
    assert caught.value.field == "filters"


def test_filters_in_a_query_string_are_read() -> None:
    assert filters_from_text('{"a": {"gte": 1}}') == {"a": {"gte": 1}}
