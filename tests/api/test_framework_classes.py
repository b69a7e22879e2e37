"""The client's classes for LangChain, LlamaIndex and Haystack, over a running server.

Each framework is skipped where it is not installed: `pip install -e '.[compat]'` brings all three.
"""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import pytest

from secondpass_client import SearchClient, UnauthorizedError
from tests.fixtures.library import DOCUMENTS
from tests.fixtures.serving import KEY

pytestmark = pytest.mark.filterwarnings("ignore")  # those of other packages are not ours to mend

QUERY = "why are there two high tides a day"
OTHER = "interest rates of the central bank in 1987"
TEXTS = ["Tomatoes want full sun.", "The moon raises two bulges of water: two high tides a day."]
TIDES = next(document for document in DOCUMENTS if document.id == "sea-tides")


@pytest.fixture(scope="module", autouse=True)
def quiet() -> Iterator[None]:
    """No framework reports to its maker, or looks for a proxy."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HAYSTACK_TELEMETRY_ENABLED", "False")
        patch.setenv("LANGSMITH_TRACING", "false")
        patch.setenv("SECONDPASS_API_KEY", KEY)
        yield


@pytest.fixture(scope="module")
def known(url: str) -> Iterator[SearchClient]:
    with SearchClient(url, api_key=KEY) as client:
        yield client


@pytest.fixture(scope="module")
def stranger(url: str) -> Iterator[SearchClient]:
    with SearchClient(url) as client:
        yield client


def classes_for(framework: str, package: str) -> Any:
    """The client's module for a framework."""
    how = f"{package} is not installed: pip install -e '.[compat]'"
    pytest.importorskip(package, reason=how)
    return import_module(f"secondpass_client.{framework}")


def check_found(metadata: dict[str, Any], text: str | None) -> None:
    assert text == TIDES.text
    assert metadata["title"] == TIDES.title
    assert metadata["topic"] == "science"
    assert metadata["confidence"] == "high"
    assert metadata["answerable"] is True
    assert metadata["probability"] > 0.3


def test_langchain(known: SearchClient, stranger: SearchClient) -> None:
    ours = classes_for("langchain", "langchain_core")
    retriever = ours.SecondpassRetriever(client=known, top_k=2)
    found = retriever.invoke(QUERY)
    assert (len(found), found[0].id) == (2, "sea-tides")
    check_found(found[0].metadata, found[0].page_content)
    assert asyncio.run(retriever.ainvoke(QUERY)) == found
    assert ours.SecondpassRetriever(client=known, min_confidence="medium").invoke(OTHER) == []
    garden = ours.SecondpassRetriever(client=known, filters={"topic": "garden"}).invoke(QUERY)
    assert {one.metadata["topic"] for one in garden} == {"garden"}

    documents = [type(found[0])(page_content=text, metadata={"own": True}) for text in TEXTS]
    ranked = ours.SecondpassReranker(client=known).compress_documents(documents, QUERY)
    assert [one.page_content for one in ranked] == TEXTS[::-1]
    assert ranked[0].metadata["own"]
    assert ranked[0].metadata["confidence"] == "high"
    assert ranked[0].metadata["relevance_score"] > ranked[1].metadata["relevance_score"]
    assert documents[0].metadata == {"own": True}
    first = ours.SecondpassReranker(client=known, top_n=1)
    assert len(asyncio.run(first.acompress_documents(documents, QUERY))) == 1
    assert first.compress_documents([], QUERY) == []
    with pytest.raises(UnauthorizedError):
        ours.SecondpassRetriever(client=stranger).invoke(QUERY)


def test_llama_index(known: SearchClient, stranger: SearchClient) -> None:
    ours = classes_for("llama_index", "llama_index.core")
    schema = import_module("llama_index.core.schema")
    retriever = ours.SecondpassRetriever(known, top_k=2)
    found = retriever.retrieve(QUERY)
    assert (len(found), found[0].node_id) == (2, "sea-tides")
    assert found[0].score == found[0].metadata["probability"]
    check_found(found[0].metadata, found[0].text)
    again = asyncio.run(retriever.aretrieve(QUERY))
    assert [one.node_id for one in again] == [one.node_id for one in found]
    assert ours.SecondpassRetriever(known, min_confidence="medium").retrieve(OTHER) == []
    garden = ours.SecondpassRetriever(known, filters={"topic": "garden"}).retrieve(QUERY)
    assert {one.metadata["topic"] for one in garden} == {"garden"}

    nodes = [schema.NodeWithScore(node=schema.TextNode(text=text)) for text in TEXTS]
    reranker = ours.SecondpassReranker(known)
    ranked = reranker.postprocess_nodes(nodes, query_str=QUERY)
    assert [one.text for one in ranked] == TEXTS[::-1]
    assert ranked[0].score > ranked[1].score
    assert ranked[0].metadata["confidence"] == "high"
    one = ours.SecondpassReranker(known, top_n=1)
    assert len(asyncio.run(one.apostprocess_nodes(nodes, query_str=QUERY))) == 1
    assert reranker.postprocess_nodes([], query_str=QUERY) == []
    with pytest.raises(ValueError, match="needs the query"):
        reranker.postprocess_nodes(nodes)
    with pytest.raises(UnauthorizedError):
        ours.SecondpassRetriever(stranger).retrieve(QUERY)


def test_haystack(url: str) -> None:
    ours = classes_for("haystack", "haystack")
    haystack = import_module("haystack")
    retriever = ours.SecondpassRetriever(url=url, top_k=2)
    found = retriever.run(query=QUERY)["documents"]
    assert (len(found), found[0].id) == (2, "sea-tides")
    assert found[0].score == found[0].meta["probability"]
    check_found(found[0].meta, found[0].content)
    garden = retriever.run(query=QUERY, filters={"topic": "garden"}, top_k=1)["documents"]
    assert [one.meta["topic"] for one in garden] == ["garden"]
    sure = ours.SecondpassRetriever(url=url, collection="main", min_confidence="medium")
    assert sure.run(query=OTHER)["documents"] == []

    documents = [haystack.Document(content=text, meta={"own": True}) for text in TEXTS]
    reranker = ours.SecondpassReranker(url=url)
    ranked = reranker.run(query=QUERY, documents=documents)["documents"]
    assert [one.content for one in ranked] == TEXTS[::-1]
    assert ranked[0].score > ranked[1].score
    assert ranked[0].meta["own"]
    assert ranked[0].meta["confidence"] == "high"
    assert len(reranker.run(query=QUERY, documents=documents, top_k=1)["documents"]) == 1
    assert reranker.run(query=QUERY, documents=[]) == {"documents": []}
    locked = ours.SecondpassRetriever(url=url, api_key=None)
    with pytest.raises(UnauthorizedError):
        locked.run(query=QUERY)

    pipeline = haystack.Pipeline()
    pipeline.add_component("find", retriever)
    pipeline.add_component("rank", reranker)
    pipeline.connect("find", "rank")
    stored = pipeline.dumps()
    assert KEY not in stored
    given = {"find": {"query": QUERY}, "rank": {"query": QUERY}}
    again = haystack.Pipeline.loads(stored, allowed_modules=["secondpass_client.haystack"])
    answer = again.run(given)["rank"]["documents"]
    assert (len(answer), answer[0].id) == (2, "sea-tides")
    again.close()
    for one in (retriever, sure, reranker, locked):
        one.close()


def test_the_frameworks_are_imported_only_by_their_classes() -> None:
    code = "import sys, secondpass_client; print([n for n in sys.modules if n.startswith(ALL)])"
    names = ("haystack", "langchain_core", "llama_index")
    ran = subprocess.run(
        [sys.executable, "-c", f"ALL = {names}; {code}"], capture_output=True, text=True, check=True
    )
    assert ran.stdout == "[]\n"


@pytest.mark.parametrize("extra", ["haystack", "langchain", "llama-index"])
def test_without_the_framework_the_error_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, extra: str
) -> None:
    for name in ("haystack", "langchain_core.callbacks", "llama_index.core.bridge.pydantic"):
        monkeypatch.setitem(sys.modules, name, None)
    module = f"secondpass_client.{extra.replace('-', '_')}"
    monkeypatch.delitem(sys.modules, module, raising=False)
    with pytest.raises(ImportError, match=f"secondpass-client.{extra}."):
        import_module(module)
