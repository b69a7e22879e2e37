"""Searches, comparisons, and whether the service is ready."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NotRequired, Required, TypedDict

from secondpass_client.calls import Calls, given, never, path_of
from secondpass_client.errors import (
    ClientTimeoutError,
    ConnectionFailedError,
    NotReadyError,
    SearchError,
    error_from_content,
)
from secondpass_client.filters import Filters, FilterScalar
from secondpass_client.records import (
    Health,
    KeyInfo,
    RerankResult,
    SearchResult,
    SimilarityResult,
)

ConfidenceWord = Literal["low", "medium", "high"]
Mode = Literal["dense", "sparse", "hybrid"]


class ShownFields(TypedDict, total=False):
    """What hits show: `title`, `text`, `metadata`, `metadata.NAME`; all without `include`."""

    include: list[str]
    exclude: list[str]


class Boost(TypedDict):
    """What moves hits in the order: documents with one of `values`, or near `origin`.

    `weight` is -1 to 1. `scale` is the distance at which half of it is left, in days for dates;
    `origin` is a number or an ISO 8601 date, by default the present moment.
    """

    field: str
    weight: float
    values: NotRequired[Sequence[FilterScalar]]
    scale: NotRequired[float]
    origin: NotRequired[float | str]


class SearchFields(TypedDict, total=False):
    """The fields of one search, as `POST /search` takes them."""

    query: Required[str]
    top_k: int
    num_candidates: int
    mode: Mode
    rerank: bool
    filters: Filters
    min_confidence: ConfidenceWord
    timeout_ms: int
    return_text: bool
    fields: ShownFields
    highlights: int
    explain: bool
    facets: list[str]
    facet_values: int
    offset: int
    cursor: str
    min_probability: float
    boost: Sequence[Boost]
    diversity: bool
    group_by: str
    group_size: int
    collections: Sequence[str]


@dataclass(frozen=True, slots=True)
class _Failed:
    error: dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Batch:
    results: list[SearchResult | _Failed]


@dataclass(frozen=True, slots=True)
class _CallerKey:
    key: KeyInfo | None


class SearchCalls(Calls):
    """The calls that read."""

    async def search(  # noqa: PLR0913 (the fields of a request)
        self,
        query: str,
        *,
        top_k: int = 10,
        num_candidates: int = 100,
        mode: Mode | None = None,
        rerank: bool = True,
        filters: Filters | None = None,
        min_confidence: ConfidenceWord | None = None,
        timeout_ms: int | None = None,
        return_text: bool = True,
        fields: ShownFields | None = None,
        highlights: int = 0,
        explain: bool = False,
        facets: Sequence[str] = (),
        facet_values: int | None = None,
        offset: int | None = None,
        cursor: str | None = None,
        min_probability: float | None = None,
        boost: Sequence[Boost] | None = None,
        diversity: bool = False,
        group_by: str | None = None,
        group_size: int = 3,
        collections: Sequence[str] | None = None,
        collection: str | None = None,
    ) -> SearchResult:
        """Search in two stages. The fields are those of `POST /search`.

        `collections` are searched as if they were one, in place of the client's collection.

        Example:
            client.search("Đạo hàm của hàm hợp", top_k=3, filters={"grade": [11, 12]})
            client.search("tides", highlights=1, explain=True, facets=["topic"])
            first = client.search("tides", offset=0)
            second = client.search("tides", cursor=first.next_cursor)
            client.search("tides", filters={"day": {"gte": "2026-01-01"}, "not": {"draft": True}})
        """
        body = given(
            query=query,
            top_k=top_k,
            num_candidates=num_candidates,
            mode=mode,
            rerank=rerank,
            filters=filters,
            min_confidence=min_confidence,
            timeout_ms=timeout_ms,
            return_text=return_text,
            fields=fields,
            highlights=highlights or None,
            explain=explain or None,
            facets=list(facets) or None,
            facet_values=facet_values,
            offset=offset,
            cursor=cursor,
            min_probability=min_probability,
            boost=boost,
            diversity=diversity or None,
            group_by=group_by,
            group_size=None if group_by is None else group_size,
            collections=collections,
        )
        path = path_of("search") if collections else self._path(collection, "search")
        return await self._ask(SearchResult, "POST", path, json=body)

    async def search_batch(
        self, queries: Sequence[str | SearchFields], *, collection: str | None = None
    ) -> list[SearchResult | SearchError]:
        """Search for several queries in one request; each is a text or the fields of `search`.

        Entries come in the order of `queries`. A search that fails does not stop the others: its
        entry is the error, which is not raised. An error of the whole request is raised.

        Example:
            found = client.search_batch(["tides", {"query": "Đạo hàm của hàm hợp", "top_k": 3}])
            results = [one for one in found if not isinstance(one, SearchError)]
        """
        body = {"queries": [{"query": q} if isinstance(q, str) else q for q in queries]}
        path = self._path(collection, "search", "batch")
        return [
            one if isinstance(one, SearchResult) else error_from_content(one.error)
            for one in (await self._ask(_Batch, "POST", path, json=body)).results
        ]

    async def rerank(
        self,
        query: str,
        documents: Sequence[str],
        *,
        top_n: int | None = None,
        timeout_ms: int | None = None,
    ) -> RerankResult:
        """Rank texts that are in no index. As `POST /rerank`.

        Example:
            ranked = client.rerank("how does a lock lift a ship", ["Water flows in.", "Tomatoes."])
            best = ranked.results[0].index
        """
        body = given(query=query, documents=list(documents), top_n=top_n, timeout_ms=timeout_ms)
        return await self._ask(RerankResult, "POST", "rerank", json=body)

    async def similarity(
        self, pairs: Sequence[tuple[str, str]], *, timeout_ms: int | None = None
    ) -> SimilarityResult:
        """Do the two queries of each pair mean the same? As `POST /similarity`.

        Example:
            result = client.similarity([("how do I close a file", "closing an open file")])
            result.results[0].same
        """
        body = given(pairs=[{"a": a, "b": b} for a, b in pairs], timeout_ms=timeout_ms)
        return await self._ask(SimilarityResult, "POST", "similarity", json=body)

    async def health(self) -> Health:
        """What the service says of itself, asked once. Raises if it does not answer."""
        return await self._ask(Health, "GET", "readyz", accepted=(200, 503), again=never)

    async def key(self) -> KeyInfo | None:
        """What the client's API key may do; None on a server without keys."""
        return (await self._ask(_CallerKey, "GET", "key")).key

    async def ready(self) -> bool:
        """Whether it can search now; False if it cannot be reached."""
        try:
            return (await self.health()).status == "ready"
        except (NotReadyError, ConnectionFailedError, ClientTimeoutError):
            return False
