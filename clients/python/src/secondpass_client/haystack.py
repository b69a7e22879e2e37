"""Components for Haystack: `pip install "secondpass-client[haystack]"`.

Example:
    retriever = SecondpassRetriever(url="http://127.0.0.1:8000", top_k=5)
    documents = retriever.run(query="why does the sea rise")["documents"]
"""

from dataclasses import replace
from typing import Any

from secondpass_client.clients import SearchClient
from secondpass_client.filters import Filters
from secondpass_client.framework_fields import hit_metadata, ranked_metadata
from secondpass_client.searches import ConfidenceWord

try:
    from haystack import Document, component, default_to_dict
    from haystack.utils import Secret
except ImportError as error:
    raise ImportError('pip install "secondpass-client[haystack]" brings what this needs') from error

DEFAULT_URL = "http://127.0.0.1:8000"
DEFAULT_KEY = Secret.from_env_var("SECONDPASS_API_KEY", strict=False)
"""The key is not part of a stored pipeline; without the variable none is sent."""


@component
class SecondpassRetriever:
    """Finds documents by a search of the service, each by its best passage.

    A document's score is its probability, None where it is uncalibrated. With `min_confidence`
    there are no documents if none is sure enough. `filters` are those of the service.
    """

    def __init__(
        self,
        *,
        url: str = DEFAULT_URL,
        api_key: Secret | None = DEFAULT_KEY,
        collection: str | None = None,
        top_k: int = 5,
        filters: Filters | None = None,
        min_confidence: ConfidenceWord | None = None,
    ) -> None:
        self._options: dict[str, Any] = {
            "url": url,
            "api_key": api_key,
            "collection": collection,
            "top_k": top_k,
            "filters": filters,
            "min_confidence": min_confidence,
        }
        self._client = _client(url, api_key, collection)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def to_dict(self) -> dict[str, Any]:
        """The component, to be stored with its pipeline."""
        stored: dict[str, Any] = default_to_dict(self, **self._options)
        return stored

    @component.output_types(documents=list[Document])
    def run(
        self, query: str, filters: Filters | None = None, top_k: int | None = None
    ) -> dict[str, list[Document]]:
        """Search; `filters` and `top_k` replace those of the component."""
        result = self._client.search(
            query,
            top_k=self._options["top_k"] if top_k is None else top_k,
            filters=self._options["filters"] if filters is None else filters,
            min_confidence=self._options["min_confidence"],
        )
        documents = [
            Document(
                id=hit.id,
                content=hit.text,
                meta=hit_metadata(result, hit),
                score=hit.probability,
            )
            for hit in result.hits
        ]
        return {"documents": documents}


@component
class SecondpassReranker:
    """Orders documents from anywhere by the service's reranker and keeps the first `top_k`."""

    def __init__(
        self,
        *,
        url: str = DEFAULT_URL,
        api_key: Secret | None = DEFAULT_KEY,
        top_k: int | None = None,
    ) -> None:
        self._options: dict[str, Any] = {"url": url, "api_key": api_key, "top_k": top_k}
        self._client = _client(url, api_key)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def to_dict(self) -> dict[str, Any]:
        """The component, to be stored with its pipeline."""
        stored: dict[str, Any] = default_to_dict(self, **self._options)
        return stored

    @component.output_types(documents=list[Document])
    def run(
        self, query: str, documents: list[Document], top_k: int | None = None
    ) -> dict[str, list[Document]]:
        """Rank the documents; `top_k` replaces that of the component."""
        if not documents:
            return {"documents": []}
        texts = [document.content or "" for document in documents]
        most = self._options["top_k"] if top_k is None else top_k
        ranked = [
            replace(
                documents[one.index],
                score=one.relevance_score,
                meta=documents[one.index].meta | ranked_metadata(one),
            )
            for one in self._client.rerank(query, texts, top_n=most).results
        ]
        return {"documents": ranked}


def _client(url: str, api_key: Secret | None, collection: str | None = None) -> SearchClient:
    key = api_key.resolve_value() if api_key else None
    return SearchClient(url, api_key=key, collection=collection)
