"""Stage two: the final order of the candidates, and how sure each of them is."""

import asyncio
import logging
import time
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import zip_longest
from typing import NamedTuple, TypeVar

from service.confidence.calibration import Ordering
from service.confidence.judge import ORDER, Judge
from service.confidence.ranking import rank
from service.errors import DeadlineError, ModelError, UnprocessableTextError
from service.protocols import Reranker
from service.scheduling.batcher import OwnerThread
from service.scheduling.gate import TOO_LATE, Deadline, Gate
from service.scheduling.shares import SHARES, PartSize, current_caller, on_behalf_of
from service.search.query import QUERY_FILLS_WINDOW, Hit, RerankReport
from service.search.retriever import Found
from service.settings import MAX_TIMEOUT_MS
from service.text.language import UNDETERMINED, search_language
from service.text.passage import stored_text
from service.types import EncodedPassage, EncodedQuery, PairScore, RerankStatus, StoredPassage, Word

log = logging.getLogger(__name__)

T = TypeVar("T")

Stored = Callable[[Sequence[StoredPassage]], Mapping[int, bytes]]
Read = Callable[[Sequence[Found]], list[EncodedPassage]]

SLICE_S = 0.1
LEAST_SLICE = 4
"""Slices shrink to this where one takes long, as with passages that have no states yet."""

CONCURRENT_SLICES = 16
"""Slices under way at a time where the reranker may run concurrently."""

SLOW_RERANKS = 32
"""Searches that may be at the rerank where one may take seconds on a CPU; 8 per client."""

LANGUAGE_SAMPLE = 5
"""How many of the best candidates are used to detect the language."""


class Ranked(NamedTuple):
    """A candidate in the final order, the score that ordered it, and how sure it is."""

    candidate: Found
    score: float
    pair: PairScore | None
    probability: float | None
    confidence: Word

    def hit(self, rank: int) -> Hit:
        """How the answer shows it."""
        passage, pair = self.candidate.passage, self.pair
        return Hit(
            rank=rank,
            id=passage.document_id,
            title=passage.title,
            text=passage.text,
            start=passage.start,
            end=passage.end,
            metadata=passage.metadata,
            confidence=self.confidence,
            probability=self.probability,
            rerank_score=pair.logit if pair else None,
            retrieval_score=self.candidate.score,
            retrieval_rank=self.candidate.rank,
            truncated=pair.truncated if pair else False,
            score=self.score,
            found=self.candidate,
            sparse_score=self.candidate.sparse_score,
            collection=self.candidate.collection,
            page=passage.place.page,
            headings=passage.place.headings,
        )


@dataclass(frozen=True, slots=True)
class Ranking:
    """Documents, best first, each by its best passage, and how the rerank ended.

    `order` names the score; None where it is stage one's. `ordering` names its curve. `judge` says
    how sure each row is.
    """

    rows: list[Ranked]
    report: RerankReport
    judge: Judge
    order: str | None = None
    language: str = "und"
    ordering: Ordering = "retrieval"

    @property
    def uncalibrated(self) -> bool:
        """Are there hits, and no probability of any?"""
        return bool(self.rows) and all(row.probability is None for row in self.rows)

    @property
    def answerable(self) -> bool | None:
        """Does a hit reach `medium`? None where no probability is known; no hit at all is a no.

        Rows beyond the rerank's depth have no probability; they are below those that have one.
        """
        if any(ORDER[row.confidence] >= ORDER["medium"] for row in self.rows):
            return True
        return None if self.uncalibrated else False


class SecondStage:
    """Orders candidates: with the reranker where it helps, else as stage one did.

    It reranks the first `judge.rerank_depth` candidates; the others follow in stage one's order.
    Candidates of several searches are not scored together: that is no faster, and a score must not
    depend on who else asks. Between two slices of one search other searches get their turn.
    """

    def __init__(
        self,
        reranker: Reranker | None,
        judge: Judge,
        max_reranks: int,
        prefixes: Sequence[str] = (),
        stored: Stored | None = None,
    ) -> None:
        """`prefixes` are the encoder's, which the reranker reads passages without.

        `stored` gives what the store keeps of passages for the reranker, by passage id.
        """
        self.reranker, self.judge = reranker, judge
        most = reranker.slice_size if reranker else LEAST_SLICE
        self._slice = PartSize(most, least=min(LEAST_SLICE, most), most=most, seconds=SLICE_S)
        self.read: Callable[[StoredPassage], str] = partial(stored_text, prefixes=prefixes)
        """The text of a passage as the reranker reads it."""
        self.stored: Stored = stored or (lambda _passages: {})
        self._gate = Gate(max_reranks, "reranks")
        threads = CONCURRENT_SLICES if reranker and reranker.concurrent else 1
        self.thread = OwnerThread("reranker", threads=threads)

    def close(self) -> None:
        """Stop the model's threads; waits for the work that runs."""
        self.thread.close()

    def unranked(self, found: Sequence[Found]) -> Ranking:
        """Stage one's order, uncalibrated: what `rerank: false` asks for."""
        report = RerankReport("skipped", 0, 0, "the request said rerank: false")
        return self._ranking(found, report, UNDETERMINED, self.judge, calibrated=False)

    async def rank(
        self,
        query: str,
        encoded: EncodedQuery,
        found: Sequence[Found],
        deadline: Deadline,
        read: Read | None = None,
    ) -> Ranking:
        """The final order for a normalised query.

        `read` gives what the reranker reads of candidates; by default they are this collection's.
        The reranker reads the query's window by which the passage was found. If it fails or runs
        out of time, stage one's order is used. Raises `OverloadedError` when `max_reranks` searches
        are at this stage. A client that holds a quarter of them waits until one of its searches
        ends.
        """
        judge = self.judge  # one for the whole search: another may be set meanwhile
        if not found:
            return Ranking([], RerankReport("complete", 0, 0), judge)
        language = language_of(query, found)
        weight = judge.rerank_weight(language)
        if self.reranker is None:
            reason = "this server has no reranker"
        elif weight == 0.0 and language == UNDETERMINED:
            reason = "query and passages are in different languages"
        elif weight == 0.0:
            reason = f"no gain of the reranker was measured for this language ({language})"
        elif judge.rerank_depth == 0:
            reason = "this server's rerank_depth is 0"
        else:
            read = read or self.passages
            return await self._rerank(
                self.reranker, encoded, found, read, deadline, judge, language
            )
        return self._by_stage_one(found, "skipped", reason, language, judge)

    def passages(self, found: Sequence[Found]) -> list[EncodedPassage]:
        """What the reranker reads of each candidate, in input order."""
        stored = self.stored([c.passage for c in found])
        return [
            EncodedPassage(partial(self.read, c.passage), stored.get(c.passage.id), c.window)
            for c in found
        ]

    def _depth(self, found: Sequence[Found]) -> int:
        return min(len(found), self.judge.rerank_depth)

    async def _rerank(
        self,
        reranker: Reranker,
        query: EncodedQuery,
        found: Sequence[Found],
        read: Read,
        deadline: Deadline,
        judge: Judge,
        language: str,
    ) -> Ranking:
        try:
            async with self._gate.patient_permit(deadline, when_full=False):
                scores, complete = await self._score(
                    reranker, query, found[: judge.rerank_depth], read, deadline
                )
        except DeadlineError:  # while it waited for a permit
            scores, complete = [], False
        except UnprocessableTextError:
            return self._by_stage_one(found, "skipped", QUERY_FILLS_WINDOW, language, judge)
        except ModelError:
            log.exception("the reranker failed")
            reason = "the reranker failed; stage one's order is used"
            return self._by_stage_one(found, "failed", reason, language, judge)
        if not scores:
            reason = "the time ran out before any candidate was scored"
            return self._by_stage_one(found, "partial", reason, language, judge)
        cut = None if complete else "the time ran out; the rest follows in stage one's order"
        status: RerankStatus = "complete" if complete else "partial"
        report = RerankReport(status, self._depth(found), len(scores), cut)
        # The curve was fitted on complete reranks.
        return self._ranking(found, report, language, judge, scores, calibrated=complete)

    async def score_passages(
        self,
        reranker: Reranker,
        query: EncodedQuery,
        places: Sequence[T],
        read: Callable[[Sequence[T]], list[EncodedPassage]],
        deadline: Deadline,
    ) -> list[PairScore]:
        """Scores of passages that a request brings along; raises as `rank`, and `DeadlineError`.

        `read` gives the passages at some of the `places`. It runs in the reranker's thread.
        """
        async with self._gate.patient_permit(deadline, when_full=False):
            scores, complete = await self._score(reranker, query, places, read, deadline)
        if not complete:
            raise DeadlineError(TOO_LATE)
        return scores

    def score_in_background(
        self, query: EncodedQuery, passages: Sequence[EncodedPassage], account: str
    ) -> list[PairScore]:
        """As `score_passages`, for a thread without an event loop: it blocks, and needs no permit.

        It gives way to requests between two slices; `account` pays for it in `SHARES`. Raises
        `UnprocessableTextError`, `ModelError` and `NotReadyError`.
        """
        if self.reranker is None or not passages:
            return []
        deadline = Deadline(MAX_TIMEOUT_MS / 1000)
        with on_behalf_of(account):
            work = self._score(self.reranker, query, passages, list, deadline)
            scores, complete = asyncio.run(work)
        if not complete:
            raise DeadlineError(TOO_LATE)
        return scores

    async def run(self, deadline: Deadline, work: Callable[[], T]) -> T:
        """Run `work` in the reranker's thread; raises as `OwnerThread.run`."""
        return await self.thread.run(deadline, work)

    async def _score(
        self,
        reranker: Reranker,
        query: EncodedQuery,
        found: Sequence[T],
        read: Callable[[Sequence[T]], list[EncodedPassage]],
        deadline: Deadline,
    ) -> tuple[list[PairScore], bool]:
        """Scores of the first candidates up to the deadline, and whether these are all.

        Their texts, which may be long, are put together in the thread that scores them.
        """
        slices = reranker.score(query, self._slices(found, read, current_caller().account))
        scores: list[PairScore] = []
        try:
            while len(scores) < len(found):
                scores += await self.thread.run(deadline, partial(self._next, slices))
        except DeadlineError:
            return scores, False
        return scores, True

    def _slices(
        self,
        found: Sequence[T],
        read: Callable[[Sequence[T]], list[EncodedPassage]],
        account: Hashable,
    ) -> Iterator[list[EncodedPassage]]:
        start = 0
        while part := found[start : start + self._slice.part(greedy=SHARES.is_greedy(account))]:
            start += len(part)
            yield read(part)

    def _next(self, slices: Iterator[list[PairScore]]) -> list[PairScore]:
        began = time.monotonic()
        scores = next(slices)
        self._slice.took(len(scores), time.monotonic() - began)
        return scores

    def _by_stage_one(
        self,
        found: Sequence[Found],
        status: RerankStatus,
        reason: str,
        language: str,
        judge: Judge,
    ) -> Ranking:
        report = RerankReport(status, self._depth(found), 0, reason)
        return self._ranking(found, report, language, judge)

    def _ranking(
        self,
        found: Sequence[Found],
        report: RerankReport,
        language: str,
        judge: Judge,
        scores: Sequence[PairScore] = (),
        *,
        calibrated: bool = True,
    ) -> Ranking:
        weight = judge.rerank_weight(language) if scores else 0.0
        ordered = rank(
            [(c.key, c.passage.id) for c in found],
            [c.score for c in found],
            [score.logit for score in scores],
            weight,
            [c.order for c in found],
        )
        known = None
        if calibrated:
            known = judge.probabilities(ordered.basis.tolist(), ordered.ordering, language)
        word = judge.thresholds.word
        rows = [
            Ranked(found[place], score, scores[place] if place < len(scores) else None, p, word(p))
            for place, score, p in zip_longest(ordered.places, ordered.scores.tolist(), known or ())
        ]
        order = {"rerank": "rerank_score", "fused": f"fused (rerank_score {weight:g})"}
        by = order.get(ordered.ordering)
        return Ranking(rows, report, judge, by, language, ordered.ordering)


def language_of(query: str, found: Sequence[Found]) -> str:
    """The language that decides on the rerank, from a normalised query and its candidates."""
    return search_language(query, [c.passage.text for c in found[:LANGUAGE_SAMPLE]])
