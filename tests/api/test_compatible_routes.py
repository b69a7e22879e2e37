"""Endpoints in other services' formats: what no client of theirs shows."""

import base64
import json
import re
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from service.engine.engine import Engine
from service.scheduling.gate import Deadline
from service.search import document_ranker
from service.search.document_ranker import DocumentRanker, DocumentRanking
from service.types import EncodedPassage
from tests.fixtures.hash_models import hash_settings
from tests.fixtures.hash_server import running
from tests.fixtures.openapi import SPEC, errors_of

JSON = {"Content-Type": "application/json"}
QUERY = "What is the capital of the United States?"
WASHINGTON = "Washington, D.C. is the capital of the United States."
TEXTS = [
    "Carson City is the capital city of the American state of Nevada.",
    WASHINGTON,
    "A bowline makes a loop that does not slip.",
]


def post(client: TestClient, path: str, **body: Any) -> Any:
    answer = client.post(path, json=body)
    assert answer.status_code == 200, answer.text
    (operation,) = SPEC["paths"].get(path, {"post": None}).values()
    if operation:
        schema = operation["responses"]["200"]["content"]["application/json"]["schema"]
        assert errors_of(schema, answer.json()) == []
    return answer.json()


def refused(client: TestClient, path: str, **body: Any) -> str:
    answer = client.post(path, json=body)
    assert answer.status_code == 422, answer.text
    told: str = answer.json()["detail"]
    return told


@pytest.mark.parametrize("path", ["/rerank", "/v1/rerank", "/v2/rerank", "/infinity/rerank"])
def test_documents_come_once_each_with_probability_and_confidence(
    client: TestClient, path: str
) -> None:
    body = post(client, path, query=QUERY, documents=TEXTS, model="any", unknown={"a": 1})
    assert [result["index"] for result in body["results"]] == [1, 0, 2]
    scores = [result["relevance_score"] for result in body["results"]]
    assert scores == sorted(scores, reverse=True)
    assert all(0.0 <= score <= 1.0 for score in scores)
    best = body["results"][0]
    assert best["probability"] == best["relevance_score"]
    assert best["confidence"] in {"medium", "high"}
    assert body["answerable"] is True
    assert "document" not in best
    assert body["model"] == "interaction-v1"
    assert body["meta"]["warnings"] == []


def test_nothing_relevant_is_told(client: TestClient) -> None:
    body = post(client, "/rerank", query=QUERY, documents=TEXTS[2:])
    assert body["answerable"] is False
    assert body["results"][0]["confidence"] == "low"


def test_the_score_is_that_of_a_search_over_the_same_passage(client: TestClient) -> None:
    hit = client.post("/search", json={"query": "open files safely", "top_k": 1}).json()["hits"][0]
    text = f"{hit['title']} {hit['text']}".strip()
    (result,) = post(client, "/rerank", query="open files safely", documents=[text])["results"]
    assert result["rerank_score"] == pytest.approx(hit["rerank_score"], abs=0.002)
    assert result["confidence"] == hit["confidence"]


def test_raw_scores_are_logits_in_the_same_order(client: TestClient) -> None:
    raw = post(client, "/rerank", query=QUERY, documents=TEXTS, raw_scores=True)["results"]
    assert [r["relevance_score"] for r in raw] == [r["rerank_score"] for r in raw]
    assert [r["index"] for r in raw] == [1, 0, 2]
    tei = post(client, "/rerank", query=QUERY, texts=TEXTS, raw_scores=True)
    assert [r["score"] for r in tei] == [r["rerank_score"] for r in raw]


def test_texts_are_answered_as_an_array(client: TestClient) -> None:
    for path in ("/rerank", "/tei/rerank/rerank"):
        plain = post(client, path, query=QUERY, texts=TEXTS)
        assert [set(row) for row in plain] == [{"index", "score"}] * 3
        shown = post(client, path, query=QUERY, texts=TEXTS, return_text=True, truncate=True)
        assert [row["text"] for row in shown] == [TEXTS[row["index"]] for row in shown]


def test_top_n_cuts_and_zero_does_not(client: TestClient) -> None:
    assert len(post(client, "/rerank", query=QUERY, documents=TEXTS, top_n=2)["results"]) == 2
    assert len(post(client, "/rerank", query=QUERY, documents=TEXTS, top_n=0)["results"]) == 3
    assert len(post(client, "/rerank", query=QUERY, documents=TEXTS, top_n=9)["results"]) == 3


def test_equal_documents_keep_their_order_and_empty_ones_are_scored(client: TestClient) -> None:
    body = post(client, "/rerank", query=QUERY, documents=["", WASHINGTON, WASHINGTON, " "])
    assert [result["index"] for result in body["results"]] == [1, 2, 0, 3]
    assert post(client, "/rerank", query=QUERY, documents=[])["results"] == []
    assert post(client, "/rerank", query=QUERY, texts=[]) == []


def test_objects_are_read_by_their_fields(client: TestClient) -> None:
    documents = [
        {"text": TEXTS[0], "id": 7},
        {"content": [{"type": "text", "text": WASHINGTON}]},
        {"title": "Knots", "body": TEXTS[2]},
    ]
    body = post(client, "/rerank", query=QUERY, documents=documents, return_documents=True)
    assert [result["index"] for result in body["results"]] == [1, 0, 2]
    shown = {result["index"]: result["document"]["text"] for result in body["results"]}
    assert shown[2] == f"title: Knots\nbody: {TEXTS[2]}"
    named = post(
        client,
        "/v1/rerank",
        query=QUERY,
        documents=documents[2:],
        rank_fields=["body"],
        return_documents=True,
    )
    assert named["results"][0]["document"]["text"] == f"body: {TEXTS[2]}"


def test_a_long_document_counts_by_its_best_passage(client: TestClient) -> None:
    filler = "Sailors tie ropes with many knots, and each of them has its use. " * 60
    long = filler + WASHINGTON
    wanted = post(client, "/rerank", query=QUERY, documents=[filler, long])["results"]
    assert wanted[0]["index"] == 1
    assert not wanted[0]["truncated"]
    body = post(client, "/rerank", query=QUERY, documents=[long], max_tokens_per_doc=200)
    assert body["results"][0]["truncated"]
    assert body["results"][0]["relevance_score"] < wanted[0]["relevance_score"]
    assert body["meta"]["warnings"] == ["the ends of 1 documents were not read"]
    assert body["meta"]["tokens"]["input_tokens"] == 200


def test_relevant_spans_are_places_in_the_document(client: TestClient) -> None:
    knots = "The  bowline is a knot.\n\nSailors use it to tie a boat. " * 3
    documents = [f"query: {knots} {WASHINGTON} {knots}", TEXTS[2], "", f"图{WASHINGTON}"]
    body = post(
        client, "/v2/rerank", query=QUERY, documents=documents, relevant_spans={"mode": "enabled"}
    )
    by_index = {result["index"]: result for result in body["results"]}
    (span,) = by_index[0]["relevant_spans"]
    assert WASHINGTON in documents[0][span["start"] : span["end"]]
    assert span["end"] - span["start"] < 3 * len(WASHINGTON)
    assert 0.1 <= span["score"] <= by_index[0]["relevance_score"]
    assert by_index[1]["relevant_spans"] == by_index[2]["relevant_spans"] == []
    (span,) = by_index[3]["relevant_spans"]
    assert documents[3][span["start"] : span["end"]] == documents[3]


def test_spans_keep_to_threshold_and_number(client: TestClient) -> None:
    text = f"{WASHINGTON} {TEXTS[2]} {TEXTS[0]} {TEXTS[2]}" * 3

    def spans(**limits: Any) -> list[Any]:
        body = post(client, "/rerank", query=QUERY, documents=[text], relevant_spans=limits)
        return list(body["results"][0].get("relevant_spans", ()))

    every = spans(threshold=0.0)
    assert len(every) > 4
    assert [s["score"] for s in every] == sorted((s["score"] for s in every), reverse=True)
    assert spans(threshold=0.0, max_spans=2) == every[:2]
    assert spans(threshold=every[0]["score"]) == every[:1]
    assert spans(mode="disabled") == []
    covered = sorted((s["start"], s["end"]) for s in every)
    assert covered[0][0] == 0
    assert covered[-1][1] == len(text)


def test_what_cannot_be_ranked_is_refused_in_detail(client: TestClient) -> None:
    both = refused(client, "/rerank", query=QUERY, documents=TEXTS, texts=TEXTS)
    assert both == "give either documents or texts"
    assert "either documents or texts" in refused(client, "/rerank", query=QUERY)
    assert "query" in refused(client, "/rerank", documents=TEXTS)
    assert "1000" in refused(client, "/rerank", query=QUERY, documents=["a"] * 1001)
    assert "4000" in refused(client, "/rerank", query="a" * 4001, documents=TEXTS)
    image = [{"content": [{"type": "image_url", "image_url": {"url": "x"}}]}]
    assert "documents.0" in refused(client, "/rerank", query=QUERY, documents=image)
    lone = client.post("/rerank", content=b'{"query": "a", "documents": ["\\ud800"]}', headers=JSON)
    assert "surrogate" in lone.json()["detail"]


LONG_QUERY = "how are ropes made and used at sea? " * 60
LONE = "\ud800"
BAD_FIELDS: list[tuple[str, dict[str, Any], str]] = [
    ("/rerank", {"query": QUERY, "documents": ["a", LONE]}, "documents.1"),
    ("/rerank", {"query": QUERY, "texts": ["a", LONE]}, "texts.1"),
    ("/tei/rerank", {"query": QUERY, "texts": ["a", LONE]}, "texts.1"),
    ("/infinity/rerank", {"query": QUERY, "documents": [LONE]}, "documents.0"),
    ("/score", {"text_1": " ", "text_2": "a"}, "text_1"),
    ("/score", {"queries": " ", "documents": "a"}, "queries"),
    ("/score", {"queries": "a", "documents": []}, "documents"),
    ("/score", {"data_1": "a", "data_2": ["a", LONE]}, "data_2.1"),
    ("/score", {"data_1": ["a", "b"], "data_2": "a"}, "data_1"),
    ("/score", {"queries": [f"{n}" for n in range(65)], "text_2": ["a"] * 65}, "queries"),
    ("/v1/embeddings", {"input": " "}, "input"),
    ("/v1/embeddings", {"input": [" "]}, "input.0"),
    ("/v1/embeddings", {"input": "a", "dimensions": 385}, "dimensions"),
    ("/embed", {"inputs": " "}, "inputs"),
    ("/embed", {"inputs": "a", "dimensions": 385}, "dimensions"),
    ("/tokenize", {"inputs": LONE}, "inputs"),
    ("/tokenize", {"inputs": ["a", LONE]}, "inputs.1"),
    ("/v2/embed", {"texts": ["a", " "]}, "texts.1"),
    ("/v2/embed", {"inputs": [{"content": [{"type": "text", "text": " "}]}]}, "inputs.0"),
    ("/v2/embed", {"texts": ["a"], "output_dimension": 385}, "output_dimension"),
    ("/v1/embed", {"texts": ["a"], "output_dimension": 385}, "output_dimension"),
]


@pytest.mark.parametrize(("path", "body", "field"), BAD_FIELDS)
def test_an_error_names_the_field_as_the_client_sent_it(
    client: TestClient, path: str, body: dict[str, Any], field: str
) -> None:
    answer = client.post(path, content=json.dumps(body), headers=JSON)
    assert answer.status_code == 422
    error = answer.json()["error"]
    assert [one["field"] for one in error["details"]] == [field]
    assert field in error["message"]


def test_more_pairs_than_a_request_may_have_are_refused(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(document_ranker, "MOST_PAIRS", 4)
    assert len(post(client, "/rerank", query=QUERY, texts=["a"] * 4)) == 4
    told = refused(client, "/rerank", query=LONG_QUERY, texts=["a"] * 4)
    assert re.match(r"the texts have 4 passages and the query is read in \d+ parts", told)


def test_passages_are_put_together_in_the_thread_that_scores_them(
    client: TestClient, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = set()
    real = document_ranker.EncodedPassage

    def made(*values: Any, **more: Any) -> EncodedPassage:
        threads.add(threading.current_thread().name)
        return real(*values, **more)

    monkeypatch.setattr(document_ranker, "EncodedPassage", made)
    post(client, "/rerank", query=LONG_QUERY, documents=TEXTS)
    assert threads
    assert all(name.startswith("reranker") for name in threads), threads


def test_a_rerank_that_is_late_answers_504(client: TestClient) -> None:
    words = [f"Document {n} is about ropes and {n * 7919}. " * 30 for n in range(200)]
    answer = client.post("/rerank", json={"query": QUERY, "documents": words, "timeout_ms": 50})
    assert answer.status_code == 504, answer.text
    assert answer.json()["detail"]


def test_scores_of_pairs(client: TestClient) -> None:
    one = post(client, "/score", text_1=QUERY, text_2=TEXTS)
    assert [row["index"] for row in one["data"]] == [0, 1, 2]
    ranked = post(client, "/rerank", query=QUERY, documents=TEXTS)["results"]
    by_index = {row["index"]: row["relevance_score"] for row in ranked}
    assert {row["index"]: row["score"] for row in one["data"]} == by_index
    for names in (("queries", "documents"), ("data_1", "data_2")):
        body = {names[0]: [QUERY, "knots"], names[1]: TEXTS[1:]}
        pairs = post(client, "/v1/score", **body)["data"]
        assert pairs[0]["score"] == by_index[1]
        assert pairs[1]["score"] > by_index[2]
    assert "one for each" in refused(client, "/score", text_1=[QUERY, "b"], text_2=TEXTS)
    assert "text_2" in refused(client, "/score", text_1=QUERY)


def test_all_queries_of_a_score_share_one_deadline(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    rank, deadlines = DocumentRanker.rank, list[Deadline]()

    async def noted(
        self: DocumentRanker, query: str, documents: Sequence[str], deadline: Deadline, **more: Any
    ) -> DocumentRanking:
        deadlines.append(deadline)
        return await rank(self, query, documents, deadline, **more)

    monkeypatch.setattr(DocumentRanker, "rank", noted)
    post(client, "/score", text_1=[QUERY, "knots"], text_2=TEXTS[1:])
    first, second = deadlines
    assert first is second


def test_embeddings_are_those_of_the_index(client: TestClient, engine: Engine) -> None:
    encoder = engine.searcher.encoder
    for side, encode in (("query", encoder.encode_queries), ("passage", encoder.encode_passages)):
        wanted = encode(TEXTS)
        answers = [
            post(client, "/v1/embeddings", input=TEXTS, model=f"e5-small:{side}"),
            post(client, "/v1/embeddings", input=TEXTS, model="x", input_type=side),
            post(client, "/tei/embed/v1/embeddings", input=TEXTS, input_type=f"search_{side}")
            if side == "query"
            else post(client, "/v1/embeddings", input=TEXTS, input_type="search_document"),
        ]
        for answer in answers:
            found = np.array([row["embedding"] for row in answer["data"]])
            np.testing.assert_allclose(found, wanted, atol=1e-6)
        tei = post(client, "/embed", inputs=TEXTS, prompt_name=side)
        np.testing.assert_allclose(np.array(tei), wanted, atol=1e-6)
        packed = post(
            client, "/v1/embeddings", input=TEXTS, input_type=side, encoding_format="base64"
        )
        read = [np.frombuffer(base64.b64decode(r["embedding"]), "<f4") for r in packed["data"]]
        np.testing.assert_allclose(np.array(read), wanted, atol=1e-6)
        cohere = post(
            client, "/v2/embed", texts=TEXTS, input_type=side, embedding_types=["float", "base64"]
        )
        np.testing.assert_allclose(np.array(cohere["embeddings"]["float"]), wanted, atol=1e-6)
        assert len(cohere["embeddings"]["base64"]) == 3
        assert cohere["response_type"] == "embeddings_by_type"
        first = post(client, "/v1/embed", texts=TEXTS, input_type=side)
        np.testing.assert_allclose(np.array(first["embeddings"]), wanted, atol=1e-6)
        assert first["response_type"] == "embeddings_floats"


def test_a_text_that_is_neither_query_nor_passage_has_a_warning(client: TestClient) -> None:
    answer = client.post("/v1/embeddings", json={"input": "knots", "model": "m"})
    assert "passage was taken" in answer.headers["warnings"]
    said = client.post("/v1/embeddings", json={"input": "knots", "model": "m:query"})
    assert "warnings" not in said.headers
    body = post(client, "/v2/embed", inputs=[{"content": [{"type": "text", "text": "knots"}]}])
    assert "passage was taken" in body["meta"]["warnings"][0]


def test_dimensions_are_cut_to_unit_length(client: TestClient) -> None:
    whole = post(client, "/embed", inputs="knots")
    cut = post(client, "/embed", inputs="knots", dimensions=64)
    assert len(cut[0]) == 64
    first = np.array(whole[0][:64])
    np.testing.assert_allclose(np.array(cut[0]), first / np.linalg.norm(first), atol=1e-6)
    assert "384" in refused(client, "/v1/embeddings", input="a", dimensions=385)


def test_texts_that_cannot_be_encoded_are_refused(client: TestClient) -> None:
    assert "token ids" in refused(client, "/v1/embeddings", input=[[1, 2], [3]])
    assert "2048" in refused(client, "/v1/embeddings", input=["a"] * 2049)
    assert "2048" in refused(client, "/embed", inputs=[])
    assert "input.1" in refused(client, "/v1/embeddings", input=["a", " \u200b"])


def test_tokens_spell_the_text(client: TestClient, engine: Engine) -> None:
    text = "Đạo hàm của hàm hợp"
    (tokens,) = post(client, "/tokenize", inputs=[text])
    assert len(tokens) == engine.searcher.encoder.count_tokens([text])[0]
    assert "".join(token["text"] for token in tokens).replace(" ", "") == text.replace(" ", "")


def test_tokens_of_too_long_texts_are_refused(client: TestClient) -> None:
    assert "262144" in refused(client, "/tokenize", inputs=["a " * 65_537] * 2)


def test_info_names_one_kind_of_model_at_each_address(client: TestClient) -> None:
    kinds = {
        path: next(iter(client.get(f"{path}/info").json()["model_type"]))
        for path in ("", "/tei/rerank", "/tei/embed")
    }
    assert kinds == {"": "reranker", "/tei/rerank": "reranker", "/tei/embed": "embedding"}
    models = [model["id"] for model in client.get("/v1/models").json()["data"]]
    assert models == ["e5-small", "e5-small:query", "e5-small:passage", "interaction-v1"]
    assert client.get("/health").json() == {"status": "ok"}


@pytest.fixture(scope="module")
def without(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """A server without reranker and calibration."""
    with running(hash_settings(tmp_path_factory.mktemp("data"))) as client:
        yield client


def test_without_a_reranker_the_cosine_orders(without: TestClient) -> None:
    body = post(without, "/rerank", query="Carson City is the capital city", documents=["", *TEXTS])
    assert body["results"][0]["index"] == 1
    scores = [result["relevance_score"] for result in body["results"]]
    assert scores == sorted(scores, reverse=True)
    assert all(0.0 <= score <= 1.0 for score in scores)
    assert body["results"][0]["confidence"] == "uncalibrated"
    assert body["answerable"] is None
    assert body["results"][0]["rerank_score"] is None
    assert body["model"] == "e5-small"
    assert "no probabilities" in body["meta"]["warnings"][0]
    assert without.get("/info").json()["model_id"] == "e5-small"


def test_without_a_reranker_texts_are_encoded_some_at_a_time(
    without: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = {"query": "Carson City is the capital", "texts": ["", *TEXTS, "", *TEXTS]}
    together = post(without, "/rerank", **body)
    monkeypatch.setattr(document_ranker, "_ENCODED_TOGETHER", 2)
    apart = post(without, "/rerank", **body)
    scores = [{one["index"]: one["score"] for one in found} for found in (together, apart)]
    assert len(scores[1]) == 8
    assert scores[1] == pytest.approx(scores[0], abs=1e-5)
