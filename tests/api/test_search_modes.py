"""`mode` of `POST /search` on the real models over the small library."""

import httpx
import pytest
from fastapi.testclient import TestClient

from secondpass_client import SearchClient

QUESTION = "catch several exceptions in one handler"


def search(client: TestClient, query: str = QUESTION, **fields: object) -> dict:
    answer = client.post("/search", json={"query": query, **fields})
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_dense_is_the_default(client: TestClient) -> None:
    plain, dense = search(client), search(client, mode="dense")
    assert plain["hits"] == dense["hits"]
    assert {hit["sparse_score"] for hit in plain["hits"]} == {None}


@pytest.mark.parametrize("mode", ["sparse", "hybrid"])
def test_other_modes_find_the_answer_too(client: TestClient, mode: str) -> None:
    for rerank in (True, False):
        body = search(client, mode=mode, rerank=rerank)
        best = body["hits"][0]
        assert best["id"] == search(client)["hits"][0]["id"]
        assert best["sparse_score"] > 0
        assert 0.7 < best["retrieval_score"] <= 1  # a cosine all the same


def test_a_hits_cosine_is_the_same_in_every_mode(client: TestClient) -> None:
    dense = {hit["id"]: hit for hit in search(client, rerank=False, top_k=100)["hits"]}
    for mode in ("sparse", "hybrid"):
        for hit in search(client, mode=mode, rerank=False, top_k=100)["hits"]:
            if hit["start"] == dense[hit["id"]]["start"]:
                assert hit["retrieval_score"] == dense[hit["id"]]["retrieval_score"]


def test_without_rerank_the_order_is_the_modes_own(client: TestClient) -> None:
    sparse = search(client, mode="sparse", rerank=False)
    scores = [hit["sparse_score"] for hit in sparse["hits"]]
    assert scores == sorted(scores, reverse=True)
    assert sparse["models"]["order"] == "sparse_score"
    assert search(client, mode="hybrid", rerank=False)["models"]["order"] == "hybrid (weighted)"


@pytest.mark.parametrize(
    "query",
    ["緑茶は何度のお湯", "Đạo hàm của hàm hợp", '"tides" OR NEAR(a b) *', "🍵", "ক"],
)
def test_words_of_any_script_are_looked_for(client: TestClient, query: str) -> None:
    for mode in ("sparse", "hybrid"):
        search(client, query, mode=mode, rerank=False)


def test_a_query_without_a_known_word_finds_nothing_sparse(client: TestClient) -> None:
    body = search(client, "xyzzyplugh", mode="sparse")
    assert (body["hits"], body["answerable"]) == ([], False)
    assert search(client, "xyzzyplugh", mode="hybrid")["hits"]


def test_another_mode_is_refused(client: TestClient) -> None:
    answer = client.post("/search", json={"query": QUESTION, "mode": "both"})
    assert answer.status_code == 422
    assert "mode" in answer.text


def test_the_client_asks_for_a_mode(client: TestClient) -> None:
    def sent(request: httpx.Request) -> httpx.Response:
        answer = client.post("/search", content=request.content, headers=request.headers)
        return httpx.Response(answer.status_code, content=answer.content)

    with SearchClient("http://testserver", transport=httpx.MockTransport(sent)) as asking:
        hits = asking.search(QUESTION, mode="sparse", rerank=False).hits
    assert hits[0].sparse_score is not None
    assert hits[0].id == search(client, mode="sparse", rerank=False)["hits"][0]["id"]
