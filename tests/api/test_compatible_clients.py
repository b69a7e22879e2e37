"""Clients of other services, as their packages are, against a server of ours.

Those that are not installed are skipped: `pip install -e '.[compat]'` brings them. langchain-cohere
and LlamaIndex's Cohere reranker need an older `cohere` than the others: `'.[compat-cohere-five]'`.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from service.engine.engine import Engine
from service.settings import Settings
from tests.fixtures.serving import KEY, serving

pytestmark = pytest.mark.filterwarnings("ignore")  # those of other packages are not ours to mend

QUERY = "What is the capital of the United States?"
TEXTS = [
    "Carson City is the capital city of the American state of Nevada.",
    "A bowline makes a loop that does not slip.",
    "Washington, D.C. is the capital of the United States.",
]
BEST, ORDER = 2, [2, 0, 1]


@pytest.fixture(scope="module", autouse=True)
def quiet() -> Iterator[None]:
    """No client looks for its maker's server, or for a proxy."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")
        patch.setenv("HAYSTACK_TELEMETRY_ENABLED", "False")
        patch.setenv("LANGSMITH_TRACING", "false")
        patch.setenv("NO_PROXY", "127.0.0.1")
        yield


def client_of(package: str) -> Any:
    return pytest.importorskip(package, reason=f"the client {package} is not installed")


def indexes(results: Any) -> list[int]:
    return [result.index for result in results]


def check_scores(scores: list[float]) -> None:
    assert scores == sorted(scores, reverse=True)
    assert scores[0] > 0.3 > scores[-1] >= 0.0


def test_cohere_second_version(url: str) -> None:
    cohere = client_of("cohere")
    client = cohere.ClientV2(KEY, base_url=url)
    answer = client.rerank(model="any", query=QUERY, documents=TEXTS)
    assert indexes(answer.results) == ORDER
    check_scores([result.relevance_score for result in answer.results])
    assert len(client.rerank(model="any", query=QUERY, documents=TEXTS, top_n=1).results) == 1
    vectors = client.embed(
        model="any", texts=TEXTS, input_type="search_document", embedding_types=["float"]
    ).embeddings.float_
    assert np.linalg.norm(np.array(vectors), axis=1) == pytest.approx(1.0, abs=1e-5)
    with pytest.raises(cohere.UnprocessableEntityError) as raised:
        client.rerank(model="any", query="", documents=TEXTS)
    assert "query" in raised.value.body["detail"]
    with pytest.raises(cohere.UnauthorizedError):
        cohere.ClientV2("wrong", base_url=url).rerank(model="m", query=QUERY, documents=TEXTS)


def test_cohere_names_relevant_spans(url: str) -> None:
    cohere = client_of("cohere")
    if not hasattr(cohere, "RerankRelevantSpans"):
        pytest.skip("this version of the client cohere knows no relevant_spans")
    documents = [f"{TEXTS[1]} {TEXTS[2]} {TEXTS[1]}"]
    (result,) = (
        cohere.ClientV2(KEY, base_url=url)
        .rerank(
            model="any",
            query=QUERY,
            documents=documents,
            relevant_spans=cohere.RerankRelevantSpans(mode="enabled", threshold=0.1, max_spans=1),
        )
        .results
    )
    (span,) = result.relevant_spans
    assert TEXTS[2] in documents[0][span.start : span.end]
    assert 0.1 <= span.score <= 1.0


def test_cohere_first_version(url: str) -> None:
    client = client_of("cohere").Client(KEY, base_url=url)
    documents = [{"text": text} for text in TEXTS]
    answer = client.rerank(
        model="any", query=QUERY, documents=documents, return_documents=True, top_n=2
    )
    assert indexes(answer.results) == ORDER[:2]
    assert answer.results[0].document.text == TEXTS[BEST]
    asked = {"texts": TEXTS, "model": "any", "input_type": "search_document"}
    vectors = client.embed(**asked).embeddings
    assert np.linalg.norm(np.array(vectors), axis=1) == pytest.approx(1.0, abs=1e-5)
    assert client.embed(**asked, embedding_types=["float"]).embeddings.float_ == vectors


def test_openai(url: str) -> None:
    client = client_of("openai").OpenAI(api_key=KEY, base_url=f"{url}/v1")
    packed = client.embeddings.create(model="e5-small:query", input=TEXTS)
    plain = client.embeddings.create(model="e5-small:query", input=TEXTS, encoding_format="float")
    vectors = [np.array([row.embedding for row in answer.data]) for answer in (packed, plain)]
    np.testing.assert_allclose(vectors[0], vectors[1], atol=1e-6)
    assert packed.usage.total_tokens > 20
    cut = client.embeddings.create(
        model="any", input="knots", dimensions=64, extra_body={"input_type": "passage"}
    )
    assert len(cut.data[0].embedding) == 64
    assert "e5-small" in [model.id for model in client.models.list()]


def test_langchain_openai(url: str) -> None:
    embeddings = client_of("langchain_openai").OpenAIEmbeddings(
        model="e5-small:passage",
        api_key=KEY,
        base_url=f"{url}/v1",
        check_embedding_ctx_length=False,
    )
    vectors = np.array(embeddings.embed_documents(TEXTS))
    query = np.array(embeddings.embed_query(QUERY))
    assert int((vectors @ query).argmax()) == BEST


def test_langchain_cohere(url: str) -> None:
    documents = client_of("langchain_core.documents")
    reranker = client_of("langchain_cohere").CohereRerank(
        cohere_api_key=KEY, base_url=url, model="any", top_n=2
    )
    found = reranker.compress_documents([documents.Document(text) for text in TEXTS], QUERY)
    assert [document.page_content for document in found] == [TEXTS[2], TEXTS[0]]
    check_scores([document.metadata["relevance_score"] for document in found] + [0.0])
    assert reranker.rerank([{"text": text} for text in TEXTS], QUERY, top_n=1)[0]["index"] == BEST


def nodes_of() -> list[Any]:
    schema = client_of("llama_index.core.schema")
    return [schema.NodeWithScore(node=schema.TextNode(text=text), score=0.5) for text in TEXTS]


def test_llama_index_tei(url: str) -> None:
    tei = client_of("llama_index.postprocessor.tei_rerank")
    for base in (url, f"{url}/tei/rerank"):
        reranker = tei.TextEmbeddingInference(
            base_url=base, top_n=2, auth_token=f"Bearer {KEY}", model_name="any"
        )
        found = reranker.postprocess_nodes(nodes_of(), query_str=QUERY)
        assert [node.node.text for node in found] == [TEXTS[2], TEXTS[0]]


def test_llama_index_cohere(url: str) -> None:
    rerank = client_of("llama_index.postprocessor.cohere_rerank")
    reranker = rerank.CohereRerank(api_key=KEY, base_url=url, model="any", top_n=2)
    found = reranker.postprocess_nodes(nodes_of(), query_str=QUERY)
    assert [node.node.text for node in found] == [TEXTS[2], TEXTS[0]]


@pytest.mark.parametrize(
    ("provider", "base"),
    [
        ("cohere", ""),
        ("jina_ai", ""),
        ("hosted_vllm", ""),
        ("infinity", "/infinity"),
        ("huggingface", ""),
        ("huggingface", "/tei/rerank"),
    ],
)
def test_litellm(url: str, provider: str, base: str) -> None:
    litellm = client_of("litellm")
    litellm.telemetry = False
    answer = litellm.rerank(
        model=f"{provider}/any",
        query=QUERY,
        documents=TEXTS,
        top_n=2,
        return_documents=True,
        api_base=f"{url}{base}",
        api_key=KEY,
    )
    assert [result["index"] for result in answer.results] == ORDER[:2]
    assert answer.results[0]["relevance_score"] > 0.3
    if provider != "cohere":  # its second version has no such parameter
        assert answer.results[0]["document"]["text"] == TEXTS[BEST]


def test_litellm_embeddings(url: str) -> None:
    litellm = client_of("litellm")
    answer = litellm.embedding(
        model="openai/e5-small:query", input=TEXTS, api_base=f"{url}/v1", api_key=KEY
    )
    assert len(answer.data) == 3


@pytest.mark.parametrize("base", ["", "/tei/rerank"])
def test_haystack_tei(url: str, base: str) -> None:
    rankers = client_of("haystack_integrations.components.rankers.huggingface_api")
    haystack = client_of("haystack")
    token = client_of("haystack.utils").Secret.from_token(KEY)
    ranker = rankers.HuggingFaceTEIRanker(url=f"{url}{base}", token=token, top_k=2)
    found = ranker.run(query=QUERY, documents=[haystack.Document(content=t) for t in TEXTS])
    assert [document.content for document in found["documents"]] == [TEXTS[2], TEXTS[0]]
    check_scores([document.score for document in found["documents"]] + [0.0])


def test_milvus_lite(url: str, tmp_path: Path) -> None:
    client_of("milvus_lite")
    pymilvus = client_of("pymilvus")
    client = pymilvus.MilvusClient(str(tmp_path / "milvus.db"))
    schema = client.create_schema(auto_id=False)
    schema.add_field("id", pymilvus.DataType.INT64, is_primary=True)
    schema.add_field("text", pymilvus.DataType.VARCHAR, max_length=500)
    schema.add_field("vector", pymilvus.DataType.FLOAT_VECTOR, dim=2)
    index = client.prepare_index_params()
    index.add_index("vector", index_type="FLAT", metric_type="IP")
    client.create_collection("texts", schema=schema, index_params=index)
    rows = [{"id": n, "text": text, "vector": [1.0, n]} for n, text in enumerate(TEXTS)]
    client.insert("texts", rows)
    ranker = pymilvus.Function(
        name="ranker",
        input_field_names=["text"],
        function_type=pymilvus.FunctionType.RERANK,
        params={
            "reranker": "model",
            "provider": "cohere",
            "model_name": "any",
            "base_url": url,
            "api_key": KEY,
            "queries": [QUERY],
        },
    )
    (hits,) = client.search("texts", data=[[1.0, 0.0]], anns_field="vector", limit=3, ranker=ranker)
    assert [hit["id"] for hit in hits] == ORDER
    client.close()


# Requests of programs that are no packages, as their source sends them.


@pytest.fixture
def http(url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {KEY}"}) as client:
        yield client


@pytest.mark.parametrize("path", ["/rerank", "/v1/rerank", "/v2/rerank"])
def test_open_webui_as_external_reranker(http: httpx.Client, path: str) -> None:
    body = {"model": "any", "query": QUERY, "documents": TEXTS, "top_n": len(TEXTS)}
    results = http.post(path, json=body, headers={"X-OpenWebUI-User-Id": "7"}).json()["results"]
    # It takes the scores as a list in the order of the indexes: none may be missing.
    scores = [result["relevance_score"] for result in sorted(results, key=lambda r: r["index"])]
    assert len(scores) == len(TEXTS)
    assert scores.index(max(scores)) == BEST
    assert all(0.0 <= score <= 1.0 for score in scores)


def test_open_webui_embeddings_with_a_prefix_field(http: httpx.Client) -> None:
    body = {"input": TEXTS, "model": "e5-small", "input_type": "query"}
    assert len(http.post("/v1/embeddings", json=body).json()["data"]) == 3


def test_dify_over_the_openai_interface(http: httpx.Client) -> None:
    documents = [
        "Carson City is the capital city of the American state of Nevada.",
        "Washington, D.C. is the capital of the United States. It is a federal district.",
        "Capital punishment has existed in the United States since before it was a country.",
    ]
    body = {"model": "any", "query": QUERY, "documents": documents, "top_n": 3}
    results = http.post("/rerank", json=body).json()["results"]
    assert sorted(result["index"] for result in results) == [0, 1, 2]
    assert results[0]["index"] == 1
    pictures = [{"content": [{"type": "text", "text": text}]} for text in documents]
    seen = http.post("/rerank", json={**body, "documents": pictures}).json()["results"]
    assert seen == results


def test_dify_over_the_tei_interface(http: httpx.Client) -> None:
    (kind,) = http.get("/tei/rerank/info").json()["model_type"]
    assert kind == "reranker"
    body = {"query": QUERY, "texts": TEXTS, "return_text": True}
    results = http.post("/tei/rerank/rerank", json=body).json()
    assert [result["text"] for result in results] == [TEXTS[index] for index in ORDER]
    (kind,) = http.get("/tei/embed/info").json()["model_type"]
    assert kind == "embedding"
    made = http.post("/tei/embed/v1/embeddings", json={"input": TEXTS, "model": "any"})
    assert len(made.json()["data"]) == 3
    tokens = http.post("/tei/embed/tokenize", json={"inputs": TEXTS}).json()
    assert all(len(row) > 3 for row in tokens)


def test_ragflow_keeps_probabilities_as_they_are(http: httpx.Client) -> None:
    body = {"model": "any___OpenAI-API", "query": QUERY, "documents": TEXTS, "top_n": 3}
    for path in ("/v1/rerank", "/rerank"):
        results = http.post(path, json=body).json()["results"]
        assert {result["index"] for result in results} == {0, 1, 2}
        # Scores outside of 0 to 1 would be stretched to fill it.
        assert all(0.0 <= result["relevance_score"] <= 1.0 for result in results)


def test_jina_errors_are_read_from_detail(http: httpx.Client) -> None:
    answer = http.post("/v1/rerank", json={"model": "any", "query": QUERY}).json()
    assert "documents" in answer["detail"]
    assert "results" not in answer


def test_an_empty_key_does_where_none_is_asked_for(engine: Engine, settings: Settings) -> None:
    body = {"query": QUERY, "documents": TEXTS}
    with serving(engine, settings) as address:
        answer = httpx.post(f"{address}/rerank", json=body, headers={"Authorization": "Bearer"})
    assert answer.status_code == 200
