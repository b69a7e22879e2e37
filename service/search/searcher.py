"""Answers a search: normalize, encode, retrieve, rerank, judge."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TypeVar

from service.confidence.drift import Drift
from service.confidence.judge import ORDER, Judge
from service.errors import DeadlineError, InvalidInputError
from service.protocols import Encoder
from service.scheduling.batcher import Batcher, OwnerThread
from service.scheduling.gate import Deadline, Gate, Limits
from service.scheduling.shares import SHARES, PartSize, current_caller, one_caller
from service.search.answer_cache import AnswerCache
from service.search.arrangement import LEAST, places_of, sure_enough
from service.search.collection_sources import OneCollection, Source
from service.search.embedder import Embedder
from service.search.explainer import Explainer
from service.search.hit_details import with_details
from service.search.lane import Lane
from service.search.paging import WINDOWS
from service.search.query import Query, Result, Timings, encode_queries
from service.search.retriever import Recall, Retriever
from service.search.second_stage import Ranking, SecondStage
from service.settings import NO_MODEL
from service.text.normalizer import normalize
from service.types import EncodedQuery, Facet, FacetsAsked

T = TypeVar("T")

PASS_S = 0.03
LEAST_CHARS, MOST_CHARS = 256, 4096
"""Queries go through the encoder together while a pass takes about `PASS_S`, for which the next
client waits. Counted in characters, with `CHARS_AROUND` for each query."""

CHARS_AROUND = 16
"""What a query's prefix and special tokens count."""

FACETS_TOO_LATE = "there are no facets: to count them took too long"

_SHORT_CHARS = 16_384
"""A query of at most this length is cleaned on the event loop, in about a millisecond."""

TOGETHER = 16
"""Searches of one request that are under way together, at most."""


@dataclass(frozen=True, slots=True)
class Ask:
    """A search under way: the normalised query, where it looks, and what is noted meanwhile."""

    query: Query
    text: str
    source: Source
    deadline: Deadline
    timings: Timings
    warnings: list[str]


class Searcher:
    """Answers searches over one index. Used from one event loop.

    `embedder` and the thread `preparing` are for texts that a request brings along.
    """

    def __init__(
        self,
        encoder: Encoder,
        retriever: Retriever,
        second_stage: SecondStage,
        limits: Limits,
        answers: AnswerCache | None = None,
    ) -> None:
        self.encoder, self.retriever, self.second_stage = encoder, retriever, second_stage
        self.limits, self.answers = limits, answers
        self.drift = Drift.of(second_stage.judge)
        self.gate = Gate(limits.queue)
        size = PartSize(4 * LEAST_CHARS, least=LEAST_CHARS, most=MOST_CHARS, seconds=PASS_S)
        self._encoding = Batcher(
            "encoder", self.encode, cost=lambda text: len(text) + CHARS_AROUND, budget=size
        )
        self.source = OneCollection(retriever, second_stage)
        self.preparing = OwnerThread("texts")
        self.embedder = Embedder(encoder, limits, self.preparing)

    @property
    def scorer(self) -> str:
        """The model that ranks texts: the reranker, or the encoder where there is none."""
        reranker = self.second_stage.reranker
        return reranker.model if reranker else self.encoder.identity.model

    @property
    def in_flight(self) -> int:
        """Searches under way or waiting."""
        return self.gate.in_flight

    def close(self) -> None:
        """Stop the model threads; waits for the work that runs."""
        self._encoding.close()
        self.source.close()
        self.embedder.close()
        self.preparing.close()
        self.second_stage.close()

    def use_judge(self, judge: Judge) -> None:
        """Let another one judge the hits of the next searches; those under way keep theirs."""
        self.drift = Drift.of(judge)
        self.second_stage.judge = judge

    async def search_each(
        self, queries: Sequence[Query], take: Callable[[Result | Exception], Awaitable[T]]
    ) -> list[T]:
        """Answer each query or say why not; returns what `take` makes of each, in their order.

        `take` is called early, so that not all answers are in memory at a time. Queries fail
        independently, as in `search`. Each holds a permit while it is under way, up to `TOGETHER`
        at a time. Together they hold at most half of what the client has left, so that its next
        request is answered too. Raises `OverloadedError` where no permit is left.
        """
        lane = Lane()
        # The time of all of them begins now, also of those that wait for others.
        asked = [(query, self._deadline(query)) for query in queries]
        found: list[T] = []
        most = max(1, min(TOGETHER, len(asked), self.gate.check() // 2))
        with one_caller(), self.gate.permits(most) as held:
            for start in range(0, len(asked), held):
                together = (self._search(*one, lane) for one in asked[start : start + held])
                for answer in await asyncio.gather(*together, return_exceptions=True):
                    if not isinstance(answer, Result | Exception):
                        raise answer
                    found.append(await take(answer))
        return found

    async def search(self, query: Query, source: Source | None = None) -> Result:
        """Answer `query` from `source`, by default this collection.

        Raises `UnprocessableTextError` (empty or too long), `InvalidInputError`,
        `OverloadedError` (queue full), `DeadlineError` (no stage-one answer in time) and
        `CursorExpiredError`. A reranker that fails or runs out of time is no error:
        `rerank.status` says so.
        """
        with one_caller(), self.gate.permit():
            return await self._search(query, self._deadline(query), Lane(), source)

    def _deadline(self, query: Query) -> Deadline:
        return Deadline((query.timeout_ms or self.limits.timeout_ms) / 1000)

    async def _search(
        self, query: Query, deadline: Deadline, lane: Lane, source: Source | None = None
    ) -> Result:
        for field in LEAST:
            if getattr(query, field) is not None and not query.rerank:
                raise InvalidInputError(
                    f"{field} needs rerank: true; hits that are not reranked are uncalibrated",
                    field=field,
                )
        if query.cursor is not None and query.offset is not None:
            raise InvalidInputError("offset cannot be given with a cursor", "offset")
        timings, source = Timings(), source or self.source
        with SHARES.at_work(current_caller().account):
            with timings.stage("normalize"):
                if len(query.query) <= _SHORT_CHARS:
                    text, warnings = self.normalize_query(query.query)
                else:
                    text, warnings = await asyncio.to_thread(self.normalize_query, query.query)
            ask = Ask(query, text, source, deadline, timings, warnings)
            if query.cursor is not None:
                return await self._page(ask, query.cursor)
            # A window belongs to one client; details depend on the wording.
            own = source is not self.source or query.offset is not None or query.details
            if self.answers is None or own:
                return await self._answer(ask, lane)
            with timings.stage("cache"):
                lookup = await self.answers.look_up(query, text, deadline)
            if found := lookup.found:
                took = timings.finish()
                return replace(found, query=query.query, timings_ms=took, warnings=warnings)
            result = await self._answer(ask, lane)
            self.answers.keep(lookup, result)
            return result

    async def _answer(self, ask: Ask, lane: Lane) -> Result:
        query, timings = ask.query, ask.timings
        with timings.stage("encode"):
            encoded = await self.encode_query(ask.text, ask.deadline)
        if len(encoded.windows) > 1:
            ask.warnings.append(
                f"the query has {encoded.tokens} tokens and the encoder reads "
                f"{self.encoder.query_budget}: it was read in {len(encoded.windows)} parts, and "
                "each hit is ranked by the part that fits it best"
            )
        async with lane.turn(ask.deadline):
            with timings.stage("retrieve"):
                recall = await ask.source.find(ask.text, encoded, query, ask.deadline)
            with timings.stage("rerank"):
                if query.rerank:
                    ranking = await self.second_stage.rank(
                        ask.text, encoded, recall.found, ask.deadline, ask.source.passages
                    )
                    if ask.source is self.source:
                        self._observe(encoded, ranking)
                else:
                    ranking = self.second_stage.unranked(recall.found)
        facets = await self._facets(ask, query.facets) if query.facets else None
        places = await places_of(sure_enough(ranking, query, ask.warnings), query, timings)
        result = replace(self._result(ask, ranking, recall), facets=facets)
        result = WINDOWS.first_page(query, ask.source.id, places, result)
        if query.details:
            explainer = Explainer(recall.found, ranking)
            result = await self._with_details(ask, encoded, result, explainer)
        return replace(result, timings_ms=timings.finish())

    async def _facets(self, ask: Ask, asked: FacetsAsked) -> dict[str, Facet] | None:
        """The counts; None, and a warning, where they would take too long."""
        with ask.timings.stage("facets"), suppress(DeadlineError):
            return await ask.source.facets(asked, ask.query.filters, ask.deadline)
        ask.warnings.append(FACETS_TOO_LATE)
        return None

    async def _with_details(
        self, ask: Ask, encoded: EncodedQuery, result: Result, explainer: Explainer | None
    ) -> Result:
        with ask.timings.stage("details"):
            hits, notes = await with_details(
                self.second_stage,
                ask.source.passages,
                ask.query,
                encoded,
                result.hits,
                explainer,
                ask.deadline,
            )
        return replace(result, hits=hits, warnings=[*result.warnings, *notes])

    async def _page(self, ask: Ask, cursor: str) -> Result:
        """The next places of a window, with their documents as they are now."""
        query = ask.query
        if query.explain:
            raise InvalidInputError("explain cannot be given with a cursor", "explain")
        page = WINDOWS.find(cursor, query, ask.source.id)
        with ask.timings.stage("retrieve"):
            current = await ask.source.current(page.candidates, query.filters, ask.deadline)
        result = page.answer(query, current)
        if query.highlights:
            encoded = await self.encode_query(ask.text, ask.deadline)
            result = await self._with_details(ask, encoded, result, None)
        return replace(result, timings_ms=ask.timings.finish())

    def _observe(self, query: EncodedQuery, ranking: Ranking) -> None:
        if not ranking.rows:
            return
        first = ranking.rows[0]
        self.drift.observe(
            {
                "query_tokens": query.tokens,
                "confidence": ORDER[first.confidence],
                "logit": first.pair.logit if first.pair else None,
            }
        )

    async def encode_query(self, text: str, deadline: Deadline) -> EncodedQuery:
        """A normalised query as the stages read it, encoded together with others."""
        return await self._encoding.run(text, deadline)

    def encode(self, texts: Sequence[str]) -> list[EncodedQuery]:
        """Normalised queries as the stages read them."""
        reranker = self.second_stage.reranker
        layers = reranker.layers(self.encoder.identity) if reranker else ()
        return encode_queries(self.encoder, texts, layers)

    def normalize_query(self, text: str, field: str = "query") -> tuple[str, list[str]]:
        """A query as the models read it, and warnings.

        Raises `UnprocessableTextError`, which names the `field` of the request.
        """
        prefixes, most = self.encoder.identity.prefixes, self.limits.query_chars
        normalized = normalize(text, max_chars=most, prefixes=prefixes, field=field)
        if normalized.removed_prefix in (None, "query:"):
            return normalized.text, []
        return normalized.text, [
            f'"{normalized.removed_prefix}" at the start of the query was removed: '
            "the service adds the prefix that the model needs"
        ]

    def _result(self, ask: Ask, ranking: Ranking, recall: Recall) -> Result:
        """The answer without hits, facets and timings."""
        query, stage = ask.query, self.second_stage
        order = ranking.order or recall.order
        return Result(
            query=query.query,
            hits=[],
            answerable=ranking.answerable,
            rerank=ranking.report,
            language=ranking.language,
            timings_ms={},
            models={
                "encoder": self.encoder.identity.model,
                "encoder_backend": self.encoder.backends.get("queries", "torch"),
                "reranker": stage.reranker.model if stage.reranker else NO_MODEL,
                "calibration": "none" if ranking.uncalibrated else ranking.judge.name or "none",
                "order": f"{order} + boost" if query.boost else order,
            },
            generation=recall.index.generation,
            revision=recall.index.revision,
            documents=recall.index.documents,
            warnings=ask.warnings,
        )
