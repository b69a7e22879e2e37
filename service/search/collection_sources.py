"""Where a search finds passages: in one collection, or in several as if they were one."""

import asyncio
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Protocol, TypeVar

from service.confidence.judge import Judge
from service.confidence.ranking import by_score
from service.errors import InvalidInputError
from service.scheduling.batcher import OwnerThread
from service.scheduling.gate import Deadline
from service.search.query import Query
from service.search.retriever import Found, Recall, Retriever, Searched
from service.search.second_stage import SecondStage
from service.types import EncodedPassage, EncodedQuery, Facet, FacetsAsked, Filters, StoredPassage

T = TypeVar("T")


class Source(Protocol):
    """What a search needs of the collections that it looks in."""

    @property
    def id(self) -> str:
        """Never given to another source, also not to a collection of the same name."""

    async def find(
        self, text: str, encoded: EncodedQuery, query: Query, deadline: Deadline
    ) -> Recall:
        """The candidates of a normalised query."""

    def passages(self, found: Sequence[Found]) -> list[EncodedPassage]:
        """As `SecondStage.passages`."""

    async def facets(
        self, asked: FacetsAsked, filters: Filters, deadline: Deadline
    ) -> dict[str, Facet]:
        """As `Retriever.facets`; also raises `DeadlineError` where `deadline` comes first."""

    async def current(
        self, found: Sequence[Found], filters: Filters, deadline: Deadline
    ) -> list[StoredPassage | None]:
        """The passage of each candidate, or None where it is gone or no longer satisfies
        `filters`."""


class OneCollection:
    """The index of one collection, which one thread reads."""

    def __init__(self, retriever: Retriever, second_stage: SecondStage) -> None:
        self.id = secrets.token_hex(8)
        self.passages = second_stage.passages
        self._retriever, self._stage = retriever, second_stage
        self._thread = OwnerThread("retriever")
        self._facets_thread = OwnerThread("facets")

    def close(self) -> None:
        """Stop the threads; waits for the work that runs."""
        self._thread.close()
        self._facets_thread.close()

    @property
    def judge(self) -> Judge:
        """What judges its hits now."""
        return self._stage.judge

    async def find(
        self, text: str, encoded: EncodedQuery, query: Query, deadline: Deadline
    ) -> Recall:
        find = partial(self._retriever.find, encoded.vectors, query.num_candidates, query.filters)
        return await self._thread.run(deadline, partial(find, text=text, mode=query.mode))

    async def facets(
        self, asked: FacetsAsked, filters: Filters, deadline: Deadline
    ) -> dict[str, Facet]:
        count = partial(self._retriever.facets, asked, filters)
        return await self._facets_thread.run(deadline, count)

    async def current(
        self, found: Sequence[Found], filters: Filters, deadline: Deadline
    ) -> list[StoredPassage | None]:
        ids = [candidate.passage.id for candidate in found]
        read = partial(self._retriever.current, ids, filters)
        known = await self._thread.run(deadline, read)
        return [known.get(id_) for id_ in ids]


class SeveralCollections:
    """The indexes of several collections with the same models, by their names in the request.

    Their candidates are one list, as if all documents were in one collection: the nearest to the
    query come first, ties by document id, then collection. So one rerank and one calibration hold
    for all of them. BM25's scores in different collections cannot be compared, so stage one is
    dense.
    """

    def __init__(self, sources: Mapping[str, OneCollection]) -> None:
        """Raises `InvalidInputError` if their scores could not be compared."""
        (first, one), *others = sources.items()
        for name, other in others:
            if differing := _differing(one.judge, other.judge):
                raise InvalidInputError(
                    f"{first!r} and {name!r} differ in their {differing}, so their scores cannot "
                    "be compared",
                    "collections",
                )
        self.id = " ".join(f"{name}={source.id}" for name, source in sources.items())
        self._sources = sources

    async def find(
        self, text: str, encoded: EncodedQuery, query: Query, deadline: Deadline
    ) -> Recall:
        if query.mode not in (None, "dense"):
            raise InvalidInputError(
                "several collections can only be searched with mode: dense; BM25 of different "
                "collections cannot be compared",
                "mode",
            )
        if query.facets:
            raise InvalidInputError("facets count one collection, not several", "facets")
        dense = replace(query, mode="dense")
        recalls = await asyncio.gather(
            *(source.find(text, encoded, dense, deadline) for source in self._sources.values())
        )
        found = [
            candidate._replace(collection=name)
            for name, recall in zip(self._sources, recalls, strict=True)
            for candidate in recall.found
        ]
        best = by_score([c.score for c in found], [(c.key, c.passage.id) for c in found])
        first = [found[place] for place in best[: query.num_candidates]]
        ranked = [candidate._replace(rank=rank) for rank, candidate in enumerate(first, 1)]
        generations, revisions, documents = zip(*(recall.index for recall in recalls), strict=True)
        index = Searched("+".join(generations), sum(revisions), sum(documents))
        return Recall(ranked, index)

    def passages(self, found: Sequence[Found]) -> list[EncodedPassage]:
        read = [iter(self._sources[name].passages(part)) for name, part in self._parts(found)]
        return _in_order(found, dict(zip(self._sources, read, strict=True)))

    async def facets(
        self, _asked: FacetsAsked, _filters: Filters, _deadline: Deadline
    ) -> dict[str, Facet]:
        return {}  # `find` has refused them

    async def current(
        self, found: Sequence[Found], filters: Filters, deadline: Deadline
    ) -> list[StoredPassage | None]:
        parts = [
            self._sources[name].current(part, filters, deadline)
            for name, part in self._parts(found)
        ]
        read = map(iter, await asyncio.gather(*parts))
        return _in_order(found, dict(zip(self._sources, read, strict=True)))

    def _parts(self, found: Sequence[Found]) -> list[tuple[str, list[Found]]]:
        return [(name, [c for c in found if c.collection == name]) for name in self._sources]


def _differing(one: Judge, other: Judge) -> str | None:
    if one.encoder != other.encoder:
        return "encoder"
    weights = one.reranker_weights_sha256, one.reranker_variant
    if weights != (other.reranker_weights_sha256, other.reranker_variant):
        return "reranker"
    return None if one == other else "calibration, thresholds or rerank settings"


def _in_order(found: Sequence[Found], read: Mapping[str, Iterator[T]]) -> list[T]:
    """What was read of each collection's candidates, in the order of all candidates."""
    return [next(read[candidate.collection or ""]) for candidate in found]
