"""`POST /search/batch` on the real models: what single searches answer, in one request."""

import pytest
from fastapi.testclient import TestClient

from service.pipeline.engine import Engine
from tests.fixtures.library import QUESTIONS


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
    encoder = engine.searcher.encoder
    encode, passes = encoder.encode_queries, []

    def counted(texts):
        passes.append(len(texts))
        return encode(texts)

    monkeypatch.setattr(encoder, "encode_queries", counted)
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


def test_what_is_beyond_the_permits_is_told_so_entry_by_entry(
    client: TestClient, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine.searcher._gate, "_limit", 2)
    found = batch(client, *[{"query": "why are there tides", "rerank": False}] * 3)
    assert [body.get("error", {}).get("code") for body in found] == [None, None, "overloaded"]


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
