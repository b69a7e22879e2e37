"""Stage two: the final order of the candidates, and how sure each is."""

import logging
import time
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import zip_longest

from service.confidence.judge import Judge, rank
from service.errors import DeadlineError, ModelError, UnprocessableTextError
from service.protocols import Reranker
from service.scheduling.batcher import OwnerThread
from service.scheduling.gate import Deadline, Gate, outcome
from service.scheduling.shares import SHARES, PartSize, current_caller
from service.search.query import QUERY_FILLS_WINDOW, RerankReport
from service.search.recall import Found
from service.text.language import UNDETERMINED, search_language
from service.text.normalizer import clean
from service.text.passage import stored_text
from service.types import EncodedPassage, EncodedQuery, PairScore, RerankStatus, StoredPassage

log = logging.getLogger(__name__)

Stored = Callable[[Sequence[StoredPassage]], Mapping[int, bytes]]

SLICE_S = 0.1
LEAST_SLICE = 4
"""Slices are smaller where one takes much longer: of passages that have no states yet, say."""

CONCURRENT_SLICES = 16
"""Slices under way at a time, where the reranker may run concurrently."""

SLOW_RERANKS = 32
"""Searches that may be at the rerank where one may take seconds on a CPU; 8 of one client."""

_CLEANED_CHARS = 2000

LANGUAGE_SAMPLE = 5
"""Best candidates whose language is looked at."""


@dataclass(frozen=True, slots=True)
class Ranked:
    """A candidate in the final order. `score` is what ordered it."""

    candidate: Found
    score: float
    pair: PairScore | None
    probability: float | None


@dataclass(frozen=True, slots=True)
class Ranking:
    """Documents, best first, each by its best passage, and what became of the rerank.

    `order` names the score; None where it is stage one's.
    """

    rows: list[Ranked]
    report: RerankReport
    order: str | None = None
    language: str = "und"


class SecondStage:
    """Orders candidates: by the reranker's share where it helps, else as stage one did.

    It reranks the first `judge.rerank_depth` candidates; the others follow in stage one's order.
    Candidates of several searches are not scored together: slices of one are as fast, and what a
    pair's score is cannot depend on who else asks. Between two parts of one search's work the next
    search's may come.
    """

    def __init__(
        self,
        reranker: Reranker | None,
        judge: Judge,
        max_reranks: int,
        prefixes: Sequence[str] = (),
        stored: Stored | None = None,
    ) -> None:
        """`prefixes` are the encoder's own; the reranker reads passages without them too.

        `stored` gives what is kept of passages for the reranker, by their id.
        """
        self.reranker, self.judge = reranker, judge
        most = reranker.slice_size if reranker else LEAST_SLICE
        self._slice = PartSize(most, least=min(LEAST_SLICE, most), most=most, seconds=SLICE_S)
        self._prefixes, self._stored = prefixes, stored
        self._gate = Gate(max_reranks, "reranks")
        self._thread = OwnerThread("reranker")
        self._threads = ThreadPoolExecutor(CONCURRENT_SLICES, "reranker")

    def close(self) -> None:
        """Stop the model's threads; waits for the work that runs."""
        self._thread.close()
        self._threads.shutdown(cancel_futures=True)

    def unranked(self, found: Sequence[Found]) -> Ranking:
        """Stage one's order, uncalibrated: what `rerank: false` asks for."""
        report = RerankReport("skipped", 0, 0, "the request said rerank: false")
        return self._ranking(found, report, UNDETERMINED, calibrated=False)

    async def rank(
        self, query: str, encoded: EncodedQuery, found: Sequence[Found], deadline: Deadline
    ) -> Ranking:
        """The final order for a normalised query.

        A reranker reads of the query the window by which the passage was found. One that fails
        or runs out of time costs its order and raises nothing. Raises `OverloadedError` when
        `max_reranks` searches are at this stage. A client waits for itself when a quarter of these
        are its own.
        """
        if not found:
            return Ranking([], RerankReport("complete", 0, 0))
        language = language_of(query, found)
        weight = self.judge.rerank_weight(language)
        if self.reranker is None:
            reason = "this server has no reranker"
        elif weight == 0.0 and language == UNDETERMINED:
            reason = "query and passages are in different languages"
        elif weight == 0.0:
            reason = f"no gain of the reranker was measured for this language ({language})"
        elif self.judge.rerank_depth == 0:
            reason = "this server's rerank_depth is 0"
        else:
            return await self._rerank(self.reranker, encoded, found, deadline, weight, language)
        return self._by_stage_one(found, "skipped", reason, language)

    def passages(self, found: Sequence[Found]) -> list[EncodedPassage]:
        """What the reranker reads of each candidate, in input order."""
        stored = self._stored([c.passage for c in found]) if self._stored else {}
        return [
            EncodedPassage(
                stored_text(c.passage, self._prefixes), stored.get(c.passage.id), c.window
            )
            for c in found
        ]

    def _depth(self, found: Sequence[Found]) -> int:
        return min(len(found), self.judge.rerank_depth)

    async def _rerank(
        self,
        reranker: Reranker,
        query: EncodedQuery,
        found: Sequence[Found],
        deadline: Deadline,
        weight: float,
        language: str,
    ) -> Ranking:
        try:
            async with self._gate.patient_permit(deadline, when_full=False):
                scores, complete = await self._score(
                    reranker, query, found[: self.judge.rerank_depth], deadline
                )
        except DeadlineError:  # of the waiting for a permit
            scores, complete = [], False
        except UnprocessableTextError:
            return self._by_stage_one(found, "skipped", QUERY_FILLS_WINDOW, language)
        except ModelError:
            log.exception("the reranker failed")
            reason = "the reranker failed; stage one's order is used"
            return self._by_stage_one(found, "failed", reason, language)
        if not scores:
            reason = "the time ran out before any candidate was scored"
            return self._by_stage_one(found, "partial", reason, language)
        report = RerankReport("complete", self._depth(found), len(scores))
        if not complete:
            cut = "the time ran out; the rest follows in stage one's order"
            report = replace(report, status="partial", reason=cut)
        # Scores that the time ran out on are not what the curve was fitted on.
        return self._ranking(found, report, language, scores, weight, calibrated=complete)

    async def _score(
        self,
        reranker: Reranker,
        query: EncodedQuery,
        found: Sequence[Found],
        deadline: Deadline,
    ) -> tuple[list[PairScore], bool]:
        """Scores of the first candidates, as many as the deadline allows; and is that all of them?

        What is read of them is put together where they are scored: texts may be long.
        """
        run = self._run_beside if reranker.concurrent else self._thread.run
        slices = reranker.score(query, self._slices(found, current_caller().account))
        scores: list[PairScore] = []
        try:
            while len(scores) < len(found):
                scores += await run(deadline, partial(self._next, slices))
        except DeadlineError:
            return scores, False
        return scores, True

    def _slices(self, found: Sequence[Found], account: Hashable) -> Iterator[list[EncodedPassage]]:
        start = 0
        while part := found[start : start + self._slice.part(greedy=SHARES.is_greedy(account))]:
            start += len(part)
            yield self.passages(part)

    def _next(self, slices: Iterator[list[PairScore]]) -> list[PairScore]:
        began = time.monotonic()
        scores = next(slices)
        self._slice.took(len(scores), time.monotonic() - began)
        return scores

    async def _run_beside(
        self, deadline: Deadline, work: Callable[[], list[PairScore]]
    ) -> list[PairScore]:
        return await outcome(self._threads.submit(work), deadline)

    def _by_stage_one(
        self, found: Sequence[Found], status: RerankStatus, reason: str, language: str
    ) -> Ranking:
        return self._ranking(found, RerankReport(status, self._depth(found), 0, reason), language)

    def _ranking(
        self,
        found: Sequence[Found],
        report: RerankReport,
        language: str,
        scores: Sequence[PairScore] = (),
        weight: float = 0.0,
        *,
        calibrated: bool = True,
    ) -> Ranking:
        ordered = rank(
            [(c.passage.document_id, c.passage.id) for c in found],
            [c.score for c in found],
            [score.logit for score in scores],
            weight,
            [c.order for c in found],
        )
        known = None
        if calibrated:
            known = self.judge.probabilities(ordered.basis.tolist(), ordered.ordering, language)
        rows = [
            Ranked(found[place], score, scores[place] if place < len(scores) else None, probability)
            for place, score, probability in zip_longest(
                ordered.places, ordered.scores.tolist(), known or ()
            )
        ]
        order = {"rerank": "rerank_score", "fused": f"fused (rerank_score {weight:g})"}
        return Ranking(rows, report, order.get(ordered.ordering), language)


def language_of(query: str, found: Sequence[Found]) -> str:
    """The language that decides on the rerank, from a normalised query and its candidates."""
    # The beginning alone is looked at. On the event loop, so no more of a long passage is cleaned.
    sample = [clean(c.passage.text[:_CLEANED_CHARS]) for c in found[:LANGUAGE_SAMPLE]]
    return search_language(query, sample)
