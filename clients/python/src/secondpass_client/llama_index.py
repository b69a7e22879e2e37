"""Classes for LlamaIndex: `pip install "secondpass-client[llama-index]"`.

Example:
    retriever = SecondpassRetriever(SearchClient("http://127.0.0.1:8000"), top_k=5)
    nodes = retriever.retrieve("why does the sea rise")
"""

import asyncio
from typing import Any

from secondpass_client.clients import SearchClient
from secondpass_client.filters import Filters
from secondpass_client.framework_fields import hit_metadata, ranked_metadata
from secondpass_client.searches import ConfidenceWord

try:
    from llama_index.core.bridge.pydantic import PrivateAttr
    from llama_index.core.postprocessor.types import BaseNodePostprocessor
    from llama_index.core.retrievers import BaseRetriever
    from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode
except ImportError as error:
    raise ImportError(
        'pip install "secondpass-client[llama-index]" brings what this needs'
    ) from error


class SecondpassRetriever(BaseRetriever):
    """Finds documents by a search of the service, each by its best passage.

    A node's score is its probability, None where it is uncalibrated. With `min_confidence` there
    are no nodes if none is sure enough.
    """

    def __init__(
        self,
        client: SearchClient,
        *,
        top_k: int = 5,
        filters: Filters | None = None,
        min_confidence: ConfidenceWord | None = None,
        **options: Any,
    ) -> None:
        """`options` are those of LlamaIndex's own retrievers."""
        self._client, self._top_k = client, top_k
        self._filters, self._min_confidence = filters, min_confidence
        super().__init__(**options)

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        result = self._client.search(
            query_bundle.query_str,
            top_k=self._top_k,
            filters=self._filters,
            min_confidence=self._min_confidence,
        )
        return [
            NodeWithScore(
                node=TextNode(id_=hit.id, text=hit.text or "", metadata=hit_metadata(result, hit)),
                score=hit.probability,
            )
            for hit in result.hits
        ]

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return await asyncio.to_thread(self._retrieve, query_bundle)


class SecondpassReranker(BaseNodePostprocessor):
    """Orders nodes from anywhere by the service's reranker and keeps the first `top_n`."""

    top_n: int | None = None
    _client: SearchClient = PrivateAttr()

    def __init__(self, client: SearchClient, *, top_n: int | None = None, **options: Any) -> None:
        """`options` are those of LlamaIndex's own postprocessors."""
        super().__init__(top_n=top_n, **options)
        self._client = client

    @classmethod
    def class_name(cls) -> str:
        """The name by which LlamaIndex stores it."""
        return "SecondpassReranker"

    def _postprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        if query_bundle is None:
            raise ValueError("a reranker needs the query")
        if not nodes:
            return []
        texts = [one.node.get_content() for one in nodes]
        ranked = self._client.rerank(query_bundle.query_str, texts, top_n=self.top_n)
        kept = []
        for one in ranked.results:
            node = nodes[one.index].node
            node.metadata.update(ranked_metadata(one))
            kept.append(NodeWithScore(node=node, score=one.relevance_score))
        return kept
