"""The way of one search: normalise, encode, retrieve, rerank, judge."""

from dataclasses import replace

from service.confidence.words import ORDER
from service.errors import InvalidInputError
from service.pipeline.answer_cache import AnswerCache
from service.pipeline.gate import Deadline, Gate, Limits, OwnerThread
from service.pipeline.query import Hit, Query, Result
from service.pipeline.recall import Recall
from service.pipeline.rerank import Ranking, SecondStage
from service.pipeline.retriever import Retriever
from service.pipeline.timings import Timings
from service.protocols import Encoder
from service.text.normalizer import normalize
from service.types import Vectors


class Searcher:
    """Answers searches over one index. Used from one event loop."""

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
        self._gate = Gate(limits.queue)
        self._encode_thread = OwnerThread("encoder")
        self._retrieve_thread = OwnerThread("retriever")

    @property
    def in_flight(self) -> int:
        """Searches under way or waiting."""
        return self._gate.in_flight

    def close(self) -> None:
        """Stop the model threads; waits for the work that runs."""
        self._encode_thread.close()
        self._retrieve_thread.close()
        self.second_stage.close()

    async def search(self, query: Query) -> Result:
        """Answer `query`.

        Raises `UnprocessableTextError` (empty or too long), `InvalidInputError`,
        `OverloadedError` (queue full) and `DeadlineError` (no stage-one answer in time). A
        reranker that fails or runs out of time is no error: `rerank.status` says so.
        """
        if query.min_confidence is not None and not query.rerank:
            raise InvalidInputError(
                "min_confidence needs rerank: true; hits that are not reranked are uncalibrated",
                field="min_confidence",
            )
        with self._gate.permit():
            return await self._search(query)

    async def _search(self, query: Query) -> Result:
        timings = Timings()
        deadline = Deadline((query.timeout_ms or self.limits.timeout_ms) / 1000)
        with timings.stage("normalize"):
            text, warnings = self._normalize(query)
        if self.answers is None:
            return await self._answer(query, text, deadline, timings, warnings)
        with timings.stage("cache"):
            lookup = await self.answers.look_up(query, text, deadline)
        if lookup.found is not None:
            return replace(
                lookup.found, query=query.query, timings_ms=timings.finish(), warnings=warnings
            )
        result = await self._answer(query, text, deadline, timings, warnings)
        self.answers.keep(lookup, result)
        return result

    async def _answer(
        self, query: Query, text: str, deadline: Deadline, timings: Timings, warnings: list[str]
    ) -> Result:
        with timings.stage("encode"):
            vectors, tokens = await self._encode_thread.run(deadline, lambda: self._encode(text))
        if tokens > self.encoder.query_budget:
            warnings.append(
                f"the query has {tokens} tokens; the encoder reads the first "
                f"{self.encoder.query_budget}"
            )
        with timings.stage("retrieve"):
            recall = await self._retrieve_thread.run(
                deadline,
                lambda: self.retriever.find(
                    vectors, query.num_candidates, query.filters, text=text, mode=query.mode
                ),
            )
        with timings.stage("rerank"):
            if query.rerank:
                ranking = await self.second_stage.rank(text, recall.found, deadline)
            else:
                ranking = self.second_stage.unranked(recall.found)
        return self._result(query, ranking, recall, timings.finish(), warnings)

    def _encode(self, text: str) -> tuple[Vectors, int]:
        return self.encoder.encode_queries([text]), self.encoder.count_tokens([text])[0]

    def _normalize(self, query: Query) -> tuple[str, list[str]]:
        identity = self.encoder.identity
        normalized = normalize(
            query.query,
            max_chars=self.limits.query_chars,
            prefixes=(identity.query_prefix, identity.passage_prefix),
        )
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
        timings: dict[str, float],
        warnings: list[str],
    ) -> Result:
        hits = self._hits(ranking)
        answerable = _answerable(hits)
        if query.min_confidence is not None and answerable is not None:
            hits = [h for h in hits if ORDER[h.confidence] >= ORDER[query.min_confidence]]
        elif query.min_confidence is not None:
            warnings.append("min_confidence was not applied: the hits are uncalibrated")
        stage = self.second_stage
        return Result(
            query=query.query,
            hits=hits[: query.top_k],
            answerable=answerable,
            rerank=ranking.report,
            language=ranking.language,
            timings_ms=timings,
            models={
                "encoder": self.encoder.identity.model,
                "reranker": stage.reranker.model if stage.reranker else "none",
                "calibration": stage.judge.name or "none",
                "order": ranking.order or recall.order,
            },
            generation=recall.index.generation,
            revision=recall.index.revision,
            documents=recall.index.documents,
            warnings=warnings,
        )

    def _hits(self, ranking: Ranking) -> list[Hit]:
        """One hit a document: its first passage in the final order."""
        hits: dict[str, Hit] = {}
        for row in ranking.rows:
            passage, pair = row.candidate.passage, row.pair
            if passage.document_id in hits:
                continue
            hits[passage.document_id] = Hit(
                rank=len(hits) + 1,
                id=passage.document_id,
                title=passage.title,
                text=passage.text,
                start=passage.start,
                end=passage.end,
                metadata=passage.metadata,
                confidence=self.second_stage.judge.thresholds.word(row.probability),
                probability=row.probability,
                rerank_score=pair.logit if pair else None,
                retrieval_score=row.candidate.score,
                retrieval_rank=row.candidate.rank,
                truncated=pair.truncated if pair else False,
                score=row.score,
                sparse_score=row.candidate.sparse_score,
            )
        return list(hits.values())


def _answerable(hits: list[Hit]) -> bool | None:
    """Does a hit reach `medium`? None where that is not known; no hit at all is a no.

    Of hits beyond the rerank's depth no probability is known; they are below those that have one.
    """
    if any(ORDER[hit.confidence] >= ORDER["medium"] for hit in hits):
        return True
    return None if hits and all(hit.probability is None for hit in hits) else False
