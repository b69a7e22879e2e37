"""Highlights, explanations, facets and chosen fields, on the real models over the small library."""

from collections import Counter

import pytest
from fastapi.testclient import TestClient

from service.api.schemas.search_schemas import SearchResponse
from service.errors import DeadlineError, InferenceError
from tests.fixtures.library import DOCUMENTS

QUESTION = "catch several exceptions in one handler"


def search(client: TestClient, query: str = QUESTION, **fields: object) -> dict:
    answer = client.post("/search", json={"query": query, **fields})
    assert answer.status_code == 200, answer.text
    SearchResponse.model_validate(answer.json())
    return answer.json()


def refused(client: TestClient, field: str, **fields: object) -> str:
    answer = client.post("/search", json={"query": QUESTION, **fields})
    assert answer.status_code == 422
    (detail,) = answer.json()["error"]["details"]
    assert detail["field"] == field
    return detail["message"]


def test_nothing_is_added_unless_it_is_asked_for(client: TestClient) -> None:
    body = search(client)
    assert body["facets"] is None
    assert body["hits"][0]["highlights"] is body["hits"][0]["explanation"] is None
    assert not {"details", "facets"} & set(body["timings_ms"])


def test_highlights_mark_a_part_and_the_words_of_the_query(client: TestClient) -> None:
    plain, body = search(client), search(client, highlights=2)
    assert "details" in body["timings_ms"]
    for hit, before in zip(body["hits"], plain["hits"], strict=True):
        marks = hit["highlights"]
        assert {**hit, "highlights": None} == before
        kinds = [mark["kind"] for mark in marks]
        assert kinds == sorted(kinds)  # parts come first
        assert 1 <= kinds.count("part") <= 2
        for mark in marks:
            assert 0 <= mark["start"] < mark["end"] <= len(hit["text"])
    first = body["hits"][0]
    marks = search(client, highlights=2)["hits"][0]["highlights"]  # the same for the same request
    words = [first["text"][mark["start"] : mark["end"]].lower() for mark in marks]
    assert "exception" in words[-1] or "exception" in " ".join(words)
    assert "in" not in words  # common words say nothing


def test_highlights_without_token_states_say_that_they_come_from_words(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = client.app.state.server.engine.searcher.second_stage
    monkeypatch.setattr(stage, "reranker", None)
    body = search(client, "Tides follow the moon", highlights=1)
    assert [warning for warning in body["warnings"] if "words alone" in warning]
    assert all(hit["highlights"][0]["kind"] == "part" for hit in body["hits"])


@pytest.mark.parametrize("error", [DeadlineError("late"), InferenceError("broken")])
def test_hits_without_details_are_still_an_answer(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: object) -> None:
        raise error

    plain = search(client)
    monkeypatch.setattr("service.search.hit_details._with_details", fail)
    body = search(client, highlights=1, explain=True)
    assert body["hits"] == plain["hits"]
    (warning,) = body["warnings"]
    assert warning.startswith("highlights and explanations are missing")


def test_an_explanation_adds_up(client: TestClient) -> None:
    body = search(client, mode="hybrid", explain=True)
    hits = body["hits"]
    assert [hit["explanation"]["final"]["rank"] for hit in hits] == [hit["rank"] for hit in hits]
    by_cosine = sorted(hits, key=lambda hit: hit["explanation"]["dense"]["rank"])
    assert [h["retrieval_score"] for h in by_cosine] == sorted(
        (hit["retrieval_score"] for hit in hits), reverse=True
    )
    for hit in hits:
        told = hit["explanation"]
        assert told["dense"]["score"] == hit["retrieval_score"]
        assert (told["sparse"] is None) == (hit["sparse_score"] is None)
        assert told["retrieval"]["rank"] == hit["retrieval_rank"]
        assert told["rerank"]["score"] == hit["rerank_score"]
        assert len(told["matches"]) <= 10
        points = [match["points"] for match in told["matches"]]
        assert points == sorted(points, reverse=True)
        if len(points) < 10:  # all of them
            total = told["similarity_points"] + sum(points)
            assert total == pytest.approx(hit["rerank_score"], abs=0.02)
        judgement = told["judgement"]
        assert judgement["probability"] == hit["probability"]
        assert judgement["calibration"] == body["models"]["calibration"]
        assert hit["confidence"] in judgement["reason"] or hit["confidence"] == "low"


def test_an_explanation_says_why_a_hit_is_uncalibrated(client: TestClient) -> None:
    hit = search(client, rerank=False, explain=True)["hits"][0]
    told = hit["explanation"]
    assert told["rerank"] is None
    assert told["matches"] == []
    assert told["judgement"]["calibration"] is None
    assert "rerank: false" in told["judgement"]["reason"]


def test_facets_count_documents_under_the_filter(client: TestClient) -> None:
    topics = Counter(d.metadata["topic"] for d in DOCUMENTS if "topic" in d.metadata)
    body = search(client, facets=["topic", "tags", "nothing"], facet_values=2)
    listed = body["facets"]["topic"]
    expected = sorted(topics.items(), key=lambda pair: (-pair[1], pair[0]))
    assert [(v["value"], v["count"]) for v in listed["values"]] == expected[:2]
    assert listed["other"] == sum(count for _, count in expected[2:])
    assert listed["missing"] == len(DOCUMENTS) - topics.total()
    assert body["facets"]["nothing"] == {"values": [], "other": 0, "missing": len(DOCUMENTS)}
    garden = search(client, facets=["topic"], filters={"topic": "garden"}, top_k=1)
    assert garden["facets"]["topic"]["values"] == [{"value": "garden", "count": topics["garden"]}]
    assert garden["facets"]["topic"]["missing"] == 0


def test_facets_that_take_too_long_are_left_out(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.search.retriever.FACETS_S", -1.0)
    monkeypatch.setattr("service.store.value_counts._STEPS", 1)
    body = search(client, facets=["topic"])
    assert body["facets"] is None
    assert "facets" in body["warnings"][0]
    monkeypatch.undo()
    assert search(client, facets=["topic"])["facets"]


def test_fields_choose_what_hits_show(client: TestClient) -> None:
    full = search(client)["hits"][0]
    only = search(client, fields={"include": ["title", "metadata.topic"]})["hits"][0]
    assert only["title"] == full["title"]
    assert only["text"] is None
    assert only["metadata"] == {"topic": full["metadata"]["topic"]}
    without = search(client, fields={"exclude": ["metadata.topic", "title"]})["hits"][0]
    assert without["title"] == ""
    assert without["text"] == full["text"]
    assert without["metadata"] == {k: v for k, v in full["metadata"].items() if k != "topic"}
    none = search(client, fields={"include": ["metadata"], "exclude": ["metadata.topic"]})
    assert none["hits"][0]["metadata"] == without["metadata"]
    assert search(client, fields={"exclude": ["metadata"]})["hits"][0]["metadata"] == {}


def test_limits_are_named(client: TestClient) -> None:
    assert "5" in refused(client, "highlights", highlights=6)
    assert "5" in refused(client, "facets", facets=["a"] * 6)
    assert "100" in refused(client, "facet_values", facets=["a"], facet_values=101)
    refused(client, "facets.0", facets=[""])
    refused(client, "fields.include", fields={"include": ["title"] * 65})
    assert "pattern" in refused(client, "fields.exclude.0", fields={"exclude": ["id"]})
    refused(client, "explain", explain=1)


def test_a_batch_takes_them_too(client: TestClient) -> None:
    queries = [{"query": QUESTION, "highlights": 1, "facets": ["topic"]}, {"query": QUESTION}]
    one, other = client.post("/search/batch", json={"queries": queries}).json()["results"]
    assert one["hits"][0]["highlights"][0]["kind"] == "part"
    assert "topic" in one["facets"]
    assert other["facets"] is None
