"""Answers a search: normalize, encode, retrieve, rerank, judge."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import TypeVar

from service.confidence.drift import Drift
from service.confidence.judge import ORDER, Judge
from service.errors import DeadlineError, InvalidInputError
from service.protocols import Encoder
from service.scheduling.batcher import Batcher, OwnerThread
from service.scheduling.gate import Deadline, Gate, Limits
from service.scheduling.shares import SHARES, PartSize, current_caller, one_caller
from service.search.answer_cache import AnswerCache
from service.search.embedder import Embedder
from service.search.hit_details import with_details
from service.search.query import Query, Result, Timings, encode_queries
from service.search.retriever import Recall, Retriever
from service.search.second_stage import Ranked, Ranking, SecondStage
from service.settings import NO_MODEL
from service.text.normalizer import normalize
from service.types import EncodedQuery

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

SIDE_BY_SIDE = 2
"""Of these are behind the encoder at a time: one is retrieved while one is reranked."""


class Lane:
    """Lets one request's searches past the encoder, `SIDE_BY_SIDE` at a time."""

    def __init__(self) -> None:
        self._turns = asyncio.Semaphore(SIDE_BY_SIDE)

    @asynccontextmanager
    async def turn(self, deadline: Deadline) -> AsyncIterator[None]:
        """Be one of the `SIDE_BY_SIDE`; raises `DeadlineError` when it is not in time."""
        try:
            async with asyncio.timeout(deadline.left() if self._turns.locked() else None):
                await self._turns.acquire()
        except TimeoutError as error:
            raise DeadlineError("the time allowed ran out") from error
        try:
            yield
        finally:
            self._turns.release()


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
        self._retrieve_thread = OwnerThread("retriever")
        self._facets_thread = OwnerThread("facets")
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
        self._retrieve_thread.close()
        self._facets_thread.close()
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

    async def search(self, query: Query) -> Result:
        """Answer `query`.

        Raises `UnprocessableTextError` (empty or too long), `InvalidInputError`,
        `OverloadedError` (queue full) and `DeadlineError` (no stage-one answer in time). A
        reranker that fails or runs out of time is no error: `rerank.status` says so.
        """
        with one_caller(), self.gate.permit():
            return await self._search(query, self._deadline(query), Lane())

    def _deadline(self, query: Query) -> Deadline:
        return Deadline((query.timeout_ms or self.limits.timeout_ms) / 1000)

    async def _search(self, query: Query, deadline: Deadline, lane: Lane) -> Result:
        if query.min_confidence is not None and not query.rerank:
            raise InvalidInputError(
                "min_confidence needs rerank: true; hits that are not reranked are uncalibrated",
                field="min_confidence",
            )
        timings = Timings()
        with SHARES.at_work(current_caller().account):
            with timings.stage("normalize"):
                if len(query.query) <= _SHORT_CHARS:
                    text, warnings = self.normalize_query(query.query)
                else:
                    text, warnings = await asyncio.to_thread(self.normalize_query, query.query)
            if self.answers is None or query.details:
                return await self._answer(query, text, deadline, timings, warnings, lane)
            with timings.stage("cache"):
                lookup = await self.answers.look_up(query, text, deadline)
            if found := lookup.found:
                took = timings.finish()
                return replace(found, query=query.query, timings_ms=took, warnings=warnings)
            result = await self._answer(query, text, deadline, timings, warnings, lane)
            self.answers.keep(lookup, result)
            return result

    async def _answer(
        self,
        query: Query,
        text: str,
        deadline: Deadline,
        timings: Timings,
        warnings: list[str],
        lane: Lane,
    ) -> Result:
        with timings.stage("encode"):
            encoded = await self.encode_query(text, deadline)
        if len(encoded.windows) > 1:
            warnings.append(
                f"the query has {encoded.tokens} tokens and the encoder reads "
                f"{self.encoder.query_budget}: it was read in {len(encoded.windows)} parts, and "
                "each hit is ranked by the part that fits it best"
            )
        async with lane.turn(deadline):
            with timings.stage("retrieve"):
                find = partial(self.retriever.find, encoded.vectors, query.num_candidates)
                recall = await self._retrieve_thread.run(
                    deadline, partial(find, query.filters, text=text, mode=query.mode)
                )
            with timings.stage("rerank"):
                if query.rerank:
                    ranking = await self.second_stage.rank(text, encoded, recall.found, deadline)
                    self._observe(encoded, ranking)
                else:
                    ranking = self.second_stage.unranked(recall.found)
        result = self._result(query, ranking, recall, warnings)
        if query.details:
            with timings.stage("details"):
                hits, notes = await with_details(
                    self.second_stage, query, encoded, recall.found, ranking, result.hits, deadline
                )
            result = replace(result, hits=hits, warnings=[*result.warnings, *notes])
        if query.facets:
            with timings.stage("facets"):
                result = await self._with_facets(result, query, deadline)
        return replace(result, timings_ms=timings.finish())

    async def _with_facets(self, result: Result, query: Query, deadline: Deadline) -> Result:
        """The result with counts, or with a warning where they would take too long."""
        if query.facets is None:
            return result
        count = partial(self.retriever.facets, query.facets, query.filters)
        with suppress(DeadlineError):
            return replace(result, facets=await self._facets_thread.run(deadline, count))
        return replace(result, warnings=[*result.warnings, FACETS_TOO_LATE])

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

    def _result(
        self,
        query: Query,
        ranking: Ranking,
        recall: Recall,
        warnings: list[str],
    ) -> Result:
        answerable, stage = ranking.answerable, self.second_stage
        shown: Iterator[tuple[int, Ranked]] = enumerate(ranking.rows, 1)
        if query.min_confidence is not None and answerable is not None:
            wanted = ORDER[query.min_confidence]
            shown = ((rank, row) for rank, row in shown if ORDER[row.confidence] >= wanted)
        elif query.min_confidence is not None:
            warnings.append("min_confidence was not applied: the hits are uncalibrated")
        return Result(
            query=query.query,
            hits=[row.hit(rank) for rank, row in islice(shown, query.top_k)],
            answerable=answerable,
            rerank=ranking.report,
            language=ranking.language,
            timings_ms={},
            models={
                "encoder": self.encoder.identity.model,
                "encoder_backend": self.encoder.backends.get("queries", "torch"),
                "reranker": stage.reranker.model if stage.reranker else NO_MODEL,
                "calibration": "none" if ranking.uncalibrated else ranking.judge.name or "none",
                "order": ranking.order or recall.order,
            },
            generation=recall.index.generation,
            revision=recall.index.revision,
            documents=recall.index.documents,
            warnings=warnings,
        )
