"""Classes for LangChain: `pip install "secondpass-client[langchain]"`.

Example:
    retriever = SecondpassRetriever(client=SearchClient("http://127.0.0.1:8000"), top_k=5)
    documents = retriever.invoke("why does the sea rise")
"""

from collections.abc import Sequence
from typing import Any

from pydantic import ConfigDict

from secondpass_client.clients import SearchClient
from secondpass_client.framework_fields import hit_metadata, ranked_metadata
from secondpass_client.searches import ConfidenceWord

try:
    from langchain_core.callbacks import CallbackManagerForRetrieverRun, Callbacks
    from langchain_core.documents import BaseDocumentCompressor, Document
    from langchain_core.retrievers import BaseRetriever
except ImportError as error:
    raise ImportError(
        'pip install "secondpass-client[langchain]" brings what this needs'
    ) from error


class SecondpassRetriever(BaseRetriever):
    """Finds documents by a search of the service, each by its best passage.

    With `min_confidence` there are no documents if none is sure enough.
    """

    client: SearchClient
    top_k: int = 5
    filters: dict[str, Any] | None = None
    min_confidence: ConfidenceWord | None = None

    def _get_relevant_documents(
        self,
        query: str,
        *,
        run_manager: CallbackManagerForRetrieverRun,  # noqa: ARG002 (LangChain passes it)
    ) -> list[Document]:
        result = self.client.search(
            query, top_k=self.top_k, filters=self.filters, min_confidence=self.min_confidence
        )
        return [
            Document(id=hit.id, page_content=hit.text or "", metadata=hit_metadata(result, hit))
            for hit in result.hits
        ]


class SecondpassReranker(BaseDocumentCompressor):
    """Orders documents from anywhere by the service's reranker and keeps the first `top_n`."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    client: SearchClient
    top_n: int | None = None

    def compress_documents(
        self,
        documents: Sequence[Document],
        query: str,
        callbacks: Callbacks = None,  # noqa: ARG002 (LangChain passes it)
    ) -> list[Document]:
        """The documents, best first; their metadata say how relevant each is."""
        if not documents:
            return []
        texts = [document.page_content for document in documents]
        return [
            documents[one.index].model_copy(
                update={"metadata": documents[one.index].metadata | ranked_metadata(one)}
            )
            for one in self.client.rerank(query, texts, top_n=self.top_n).results
        ]
