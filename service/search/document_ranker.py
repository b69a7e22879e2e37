"""Ranks documents that a request brings along: they are in no index."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import accumulate
from math import ceil
from typing import NamedTuple

import numpy as np

from service.confidence.judge import ORDER
from service.errors import InvalidInputError
from service.scheduling.gate import Deadline
from service.scheduling.shares import SHARES, one_caller
from service.search.embedder import CHARS_PER_TOKEN
from service.search.query import Timings
from service.search.relevance import Scale
from service.search.relevant_spans import (
    RelevantSpan,
    SpanLimits,
    chosen,
    matches_of,
    part_scores,
    span_ends,
)
from service.search.searcher import Searcher
from service.search.second_stage import LANGUAGE_SAMPLE
from service.text.chunker import chunk
from service.text.language import search_language
from service.text.normalizer import break_up, require_unicode
from service.text.passage import passage_text
from service.types import EncodedPassage, EncodedQuery, PairScore, Span, Word

TOKENS_PER_DOCUMENT = 4096
"""Most tokens that are read of a document, unless the request names another number."""

MOST_PAIRS = 131_072
"""Most passages of a request, times the parts that its query is read in."""

_ENCODED_TOGETHER = 2048
"""Passages that wait for the encoder at a time: each is a task of the event loop."""

_CUT_CHARS = 65_536
"""Documents are cut into passages this many characters at a time; others get turns in between."""


class Names(NamedTuple):
    """How the request calls what is ranked."""

    query: str = "query"
    documents: str = "documents"


_NAMES = Names()


@dataclass(frozen=True, slots=True)
class RankedDocument:
    """A document by its best passage.

    `index` is its place in the request. `score` orders: the reranker's logit, or the cosine where
    nothing is reranked. `relevance`, 0 to 1, is the probability; where there is none, it rises with
    the score.
    """

    index: int
    score: float
    relevance: float
    probability: float | None
    confidence: Word
    truncated: bool
    spans: list[RelevantSpan] | None = None


@dataclass(frozen=True, slots=True)
class DocumentRanking:
    """Documents, best first.

    `answerable` is None where nothing is calibrated. `model` gave the scores; `reranked` is False
    where it is the encoder, whose scores are cosines. `tokens` counts what was read of all
    documents.
    """

    documents: list[RankedDocument]
    answerable: bool | None
    model: str
    reranked: bool
    tokens: int
    timings_ms: dict[str, float]
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Cut:
    """The passages of a document as spans and as models read them."""

    spans: list[Span]
    texts: list[str]
    tokens: int
    truncated: bool


@dataclass(frozen=True, slots=True)
class _Scores:
    """For each passage: its score, whether it was cut, the window of the query that fits best."""

    values: list[float]
    truncated: list[bool]
    windows: list[int]
    scale: Scale

    def at(self, part: slice) -> "_Scores":
        """The scores of one document's passages."""
        return _Scores(self.values[part], self.truncated[part], self.windows[part], self.scale)


class DocumentRanker:
    """Ranks with the models of one collection. Used from one event loop."""

    def __init__(self, searcher: Searcher) -> None:
        self._searcher, self._stage = searcher, searcher.second_stage

    async def rank(
        self,
        query: str,
        documents: Sequence[str],
        deadline: Deadline,
        *,
        top_n: int | None = None,
        tokens_per_document: int = TOKENS_PER_DOCUMENT,
        spans: SpanLimits | None = None,
        names: Names = _NAMES,
    ) -> DocumentRanking:
        """Score every document by its best passage; give the first `top_n`, or all.

        Ties go to the earlier document. Raises `UnprocessableTextError` for a query that is empty
        or too long, `InvalidInputError` for more than `MOST_PAIRS`, `OverloadedError` (queue full),
        and `DeadlineError`, as an answer is whole. Errors use the request's `names`.
        """
        searcher, timings = self._searcher, Timings()
        with one_caller() as caller, searcher.gate.permit(), SHARES.at_work(caller.account):
            with timings.stage("normalize"):
                normalize = partial(searcher.normalize_query, query, names.query)
                text, warnings = await searcher.preparing.run(deadline, normalize)
                cuts = await self._cut_all(documents, tokens_per_document, deadline, names)
            with timings.stage("encode"):
                encoded = await searcher.encode_query(text, deadline)
            with timings.stage("rerank"):
                scores = await self._score(text, encoded, cuts, deadline, names)
                parts = _parts_of(cuts)
                ranked = await searcher.preparing.run(
                    deadline, partial(self._ranked, cuts, parts, scores)
                )
            answerable = _answerable(ranked)
            ranked = ranked[:top_n]
            if spans and scores.scale.reranker:
                with timings.stage("spans"):
                    for place, one in enumerate(ranked):
                        own = scores.at(parts[one.index])
                        text, cut = documents[one.index], cuts[one.index]
                        found = await self._spans(encoded, text, cut, own, spans, deadline)
                        ranked[place] = replace(one, spans=found)
        if unread := sum(one.truncated for one in ranked):
            warnings.append(f"the ends of {unread} documents were not read")
        if answerable is None and ranked:
            warnings.append("no calibration fits these models: the scores are no probabilities")
        reranker = scores.scale.reranker
        return DocumentRanking(
            ranked,
            answerable,
            reranker.model if reranker else searcher.encoder.identity.model,
            reranker is not None,
            sum(one.tokens for one in cuts),
            timings.finish(),
            warnings,
        )

    async def _cut_all(
        self, documents: Sequence[str], tokens: int, deadline: Deadline, names: Names
    ) -> list[_Cut]:
        cuts: list[_Cut] = []
        for part in _parts(documents):
            cut = partial(self._cut, part, tokens, len(cuts), names)
            cuts += await self._searcher.preparing.run(deadline, cut)
        return cuts

    def _cut(self, documents: Sequence[str], tokens: int, first: int, names: Names) -> list[_Cut]:
        for place, text in enumerate(documents, first):
            require_unicode(text, f"{names.documents}.{place}")
        encoder = self._searcher.encoder
        budget = min(tokens, encoder.passage_budget)
        heads = [text[: CHARS_PER_TOKEN * tokens] for text in documents]
        cuts = []
        for text, head, count in zip(documents, heads, self._count(heads), strict=True):
            spans = [Span(0, len(head))]
            if count > budget:
                spans = chunk(head, budget=budget, overlap=0, count_tokens=self._count)
            read = spans[: ceil(tokens / budget)]
            texts = [
                passage_text("", head[span.start : span.end], encoder.identity.prefixes)
                for span in read
            ]
            truncated = len(read) < len(spans) or len(head) < len(text)
            cuts.append(_Cut(read, texts, min(count, tokens), truncated))
        return cuts

    def _count(self, texts: Sequence[str]) -> list[int]:
        return self._searcher.encoder.count_tokens([break_up(text) for text in texts])

    async def _score(
        self,
        text: str,
        query: EncodedQuery,
        cuts: Sequence[_Cut],
        deadline: Deadline,
        names: Names,
    ) -> _Scores:
        texts = [passage for cut in cuts for passage in cut.texts]
        count, windows = len(texts), len(query.windows)
        if count * windows > MOST_PAIRS:
            raise InvalidInputError(
                f"the {names.documents} have {count} passages and the {names.query} is read in "
                f"{windows} parts; together these may be {MOST_PAIRS} pairs at most",
                names.documents,
            )
        judge, reranker = self._stage.judge, self._stage.reranker
        language = search_language(text, texts[:LANGUAGE_SAMPLE])
        share = judge.rerank_weight(language)
        if reranker is None or share == 0.0:  # as in a search
            scale = Scale(judge, None, language, share)
            cosines = await self._cosines(query, texts, deadline, names)
            return _Scores(cosines, [False] * count, [0] * count, scale)

        def read(places: Sequence[int]) -> list[EncodedPassage]:
            return [EncodedPassage(texts[at % count], window=at // count) for at in places]

        # Where a query has several windows, the one that fits a passage best counts.
        places = range(count * windows)
        pairs = await self._stage.score_passages(reranker, query, places, read, deadline)
        scale = Scale(judge, reranker, language, share)
        best = partial(_best_windows, pairs, windows, scale)
        return await self._searcher.preparing.run(deadline, best)

    async def _cosines(
        self, query: EncodedQuery, texts: Sequence[str], deadline: Deadline, names: Names
    ) -> list[float]:
        cosines = np.full(len(texts), -1.0)  # of empty texts
        filled = [place for place, text in enumerate(texts) if text]
        for start in range(0, len(filled), _ENCODED_TOGETHER):
            places = filled[start : start + _ENCODED_TOGETHER]
            named = {f"{names.documents}.{place}": texts[place] for place in places}
            found = await self._searcher.embedder.vectors(named, "passage", deadline)
            cosines[places] = (query.vectors @ found.vectors.T).max(axis=0)
        return cosines.tolist()

    def _ranked(
        self, cuts: Sequence[_Cut], parts: Sequence[slice], scores: _Scores
    ) -> list[RankedDocument]:
        best = [max(scores.values[part]) for part in parts]
        cut_short = [
            cut.truncated or any(scores.truncated[part])
            for cut, part in zip(cuts, parts, strict=True)
        ]
        known: Sequence[float | None]
        known = scores.scale.probabilities(best) or [None] * len(best)
        relevance = scores.scale.relevance(best)
        word = scores.scale.judge.thresholds.word
        ranked = [
            RankedDocument(i, best[i], relevance[i], known[i], word(known[i]), cut_short[i])
            for i in range(len(best))
        ]
        return sorted(ranked, key=lambda one: (-one.score, one.index))

    async def _spans(
        self,
        query: EncodedQuery,
        document: str,
        cut: _Cut,
        scores: _Scores,
        limits: SpanLimits,
        deadline: Deadline,
    ) -> list[RelevantSpan]:
        """The spans of one document, whose passages have these scores."""
        parts: list[tuple[Span, float]] = []
        for place, score in enumerate(scores.values):
            # No part scores above its passage.
            if scores.scale.relevance([score])[0] >= limits.threshold:
                passage = EncodedPassage(cut.texts[place], window=scores.windows[place])
                work = partial(self._parts, query, document, cut.spans[place], passage)
                parts += await self._stage.run(deadline, work)
        return chosen(parts, scores.scale.relevance, limits)

    def _parts(
        self, query: EncodedQuery, document: str, place: Span, passage: EncodedPassage
    ) -> list[tuple[Span, float]]:
        reranker = self._stage.reranker
        text = document[place.start : place.end]
        spans, ends = span_ends(text, passage.text, self._count)
        matches = matches_of(reranker, query, passage)
        scores = part_scores(matches, ends)
        return [
            (Span(place.start + span.start, place.start + span.end), score)
            for span, score in zip(spans, scores, strict=False)
            if score is not None
        ]


def _answerable(ranked: Sequence[RankedDocument]) -> bool | None:
    if any(one.probability is None for one in ranked):
        return None
    return any(ORDER[one.confidence] >= ORDER["medium"] for one in ranked)


def _parts_of(cuts: Sequence[_Cut]) -> list[slice]:
    """Which of all passages are each document's."""
    ends = list(accumulate(len(cut.texts) for cut in cuts))
    return [slice(start, end) for start, end in zip([0, *ends], ends, strict=False)]


def _best_windows(pairs: Sequence[PairScore], windows: int, scale: Scale) -> _Scores:
    """For each passage the best of its windows; the pairs are sorted by window."""
    logits = np.array([pair.logit for pair in pairs]).reshape(windows, -1)
    return _Scores(
        logits.max(axis=0).tolist(),
        [pair.truncated for pair in pairs[: logits.shape[1]]],
        logits.argmax(axis=0).tolist(),
        scale,
    )


def _parts(documents: Sequence[str]) -> list[list[str]]:
    """The documents in parts of about `_CUT_CHARS` characters."""
    parts: list[list[str]] = [[]]
    chars = 0
    for text in documents:
        if chars >= _CUT_CHARS:
            parts.append([])
            chars = 0
        parts[-1].append(text)
        chars += len(text)
    return parts
