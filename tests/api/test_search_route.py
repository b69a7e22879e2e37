"""`POST /search` on the real models over the small library."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from fastapi.testclient import TestClient

from service.api.schemas.search_schemas import SearchResponse
from tests.fixtures.library import DOCUMENTS, QUESTIONS

BY_ID = {document.id: document for document in DOCUMENTS}

HIT_FIELDS = {
    "rank", "id", "title", "text", "start", "end", "metadata", "confidence", "probability",
    "rerank_score", "retrieval_score", "retrieval_rank", "truncated",
    "sparse_score", "highlights", "explanation", "page", "headings",
}  # fmt: skip


def search(client: TestClient, query: str, **fields: object) -> dict:
    answer = client.post("/search", json={"query": query, **fields})
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.mark.parametrize(("question", "document"), QUESTIONS.items())
def test_the_answering_document_is_found_in_every_language(
    client: TestClient, question: str, document: str
) -> None:
    assert search(client, question)["hits"][0]["id"] == document


def test_many_at_once_are_all_answered(client: TestClient) -> None:
    questions = [*QUESTIONS] * 4
    with ThreadPoolExecutor(len(questions)) as pool:
        found = list(pool.map(lambda question: search(client, question)["hits"], questions))
    for question, hits in zip(questions, found, strict=True):
        assert hits[0]["id"] == QUESTIONS[question]


def test_the_answer_has_the_promised_names(client: TestClient) -> None:
    body = search(client, "catch several exceptions in one handler")
    assert set(body) == {
        "query", "hits", "answerable", "rerank", "timings_ms", "models", "index", "warnings",
        "request_id", "cached", "facets",
    }  # fmt: skip
    assert body["cached"] is None
    assert set(body["hits"][0]) == HIT_FIELDS
    assert set(body["timings_ms"]) == {"normalize", "encode", "retrieve", "rerank", "total"}
    assert set(body["rerank"]) == {"status", "requested", "scored", "reason"}
    assert body["models"]["encoder"] == "e5-small"
    assert body["models"]["reranker"] == "interaction-v1"
    assert body["index"]["documents"] == len(DOCUMENTS)
    assert body["warnings"] == []


def test_a_hit_shows_its_documents_own_text_title_and_metadata(client: TestClient) -> None:
    hit = search(client, "緑茶は何度のお湯でいれますか")["hits"][0]
    document = BY_ID[hit["id"]]
    assert hit["text"] == document.text[hit["start"] : hit["end"]]
    assert (hit["title"], hit["metadata"]) == (document.title, document.metadata)


def test_text_can_be_left_out(client: TestClient) -> None:
    hits = search(client, "tides", return_text=False)["hits"]
    assert {hit["text"] for hit in hits} == {None}


def test_confidence_and_answerable_tell_an_answer_from_none(client: TestClient) -> None:
    good = search(client, "catch several exceptions in one handler")
    assert good["answerable"] is True
    assert good["hits"][0]["confidence"] in {"high", "medium"}
    none = search(client, "balance sheet of a shipping company in 1897")
    assert none["answerable"] is False
    assert {hit["confidence"] for hit in none["hits"]} == {"low"}


def test_a_typed_prefix_changes_nothing(client: TestClient) -> None:
    plain = search(client, "why are there tides")
    for typed in ("query: why are there tides", "Query : why are there tides"):
        answer = search(client, typed)
        assert answer["hits"] == plain["hits"]
        assert answer["warnings"] == []
    passage = search(client, "passage: why are there tides")
    assert passage["hits"] == plain["hits"]
    assert "passage:" in passage["warnings"][0]


@pytest.mark.parametrize("question", ["緑茶は何度のお湯でいれますか", "why are there tides"])
def test_what_is_in_one_language_is_reranked_and_calibrated(
    client: TestClient, question: str
) -> None:
    body = search(client, question)
    assert body["rerank"]["status"] == "complete"
    scores = [hit["rerank_score"] for hit in body["hits"]]
    assert scores == sorted(scores, reverse=True)
    assert all(0 < hit["probability"] < 1 for hit in body["hits"])


def test_a_search_across_languages_is_reranked_and_calibrated_too(client: TestClient) -> None:
    # One document here is Russian; what else stage one finds for this is not.
    body = search(client, "Как заваривают чай в самоваре?")
    assert body["rerank"]["status"] == "complete"
    assert all(0 < hit["probability"] < 1 for hit in body["hits"])
    assert "uncalibrated" not in {hit["confidence"] for hit in body["hits"]}


def test_filters_narrow_the_candidates(client: TestClient) -> None:
    body = search(client, "how much sun", filters={"topic": "garden"})
    assert {hit["id"] for hit in body["hits"]} == {"garden-tomato", "garden-compost"}
    one = search(client, "how much sun", filters={"topic": ["garden", "science"], "level": 3})
    assert [hit["id"] for hit in one["hits"]] == ["sea-tides"]
    tagged = search(client, "how much sun", filters={"tags": "errors"})
    assert [hit["id"] for hit in tagged["hits"]] == ["py-except"]
    assert search(client, "how much sun", filters={"level": "1"})["hits"] == []
    assert search(client, "how much sun", filters={"organic": 1})["hits"] == []


def test_top_k_only_cuts(client: TestClient) -> None:
    three = search(client, "growing plants", top_k=3)["hits"]
    assert three == search(client, "growing plants", top_k=10)["hits"][:3]


def test_rerank_false_is_uncalibrated(client: TestClient) -> None:
    body = search(client, "why are there tides", rerank=False)
    assert body["rerank"]["status"] == "skipped"
    assert body["answerable"] is None
    assert {hit["confidence"] for hit in body["hits"]} == {"uncalibrated"}


def test_the_same_request_gives_the_same_answer(client: TestClient) -> None:
    first = search(client, "how do I close a file")
    again = search(client, "how do I close a file")
    assert first["hits"] == again["hits"]


def test_a_request_id_is_echoed_where_it_is_well_formed(client: TestClient) -> None:
    given = client.post("/search", json={"query": "tides"}, headers={"X-Request-ID": "abc-1.2_3"})
    assert given.headers["X-Request-ID"] == given.json()["request_id"] == "abc-1.2_3"
    for bad in ("a b", "x" * 129, "ü".encode(), ""):
        made = client.post("/search", json={"query": "tides"}, headers={"X-Request-ID": bad})
        assert made.headers["X-Request-ID"] == made.json()["request_id"]
        assert len(made.json()["request_id"]) == 32


def test_server_timing_names_every_stage(client: TestClient) -> None:
    answer = client.post("/search", json={"query": "tides"})
    stages = [part.split(";")[0] for part in answer.headers["Server-Timing"].split(", ")]
    assert stages == ["normalize", "encode", "retrieve", "rerank", "total"]


@pytest.mark.parametrize("rerank", [True, False])
def test_the_answer_is_written_as_its_model_writes_it(client: TestClient, rerank: bool) -> None:
    content = client.post("/search", json={"query": "đạo hàm", "rerank": rerank}).content
    answer = SearchResponse.model_validate_json(content, strict=True)
    assert answer.hits
    assert answer.model_dump_json(exclude_unset=True).encode() == content
    asked = answer.model_fields_set, answer.hits[0].model_fields_set
    assert not {"next_cursor", "collection", "boost", "also", "folded", "group"} & set.union(*asked)
