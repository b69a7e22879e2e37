"""The sentences of a hit around its best match, for callers with little room."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import inf

from service.scheduling.gate import Deadline
from service.scheduling.shares import SHARES, one_caller
from service.search.query import Hit
from service.search.relevant_spans import matches_of, part_scores, span_ends
from service.search.searcher import Searcher
from service.text.normalizer import break_up
from service.text.passage import passage_text
from service.types import EncodedQuery, Span


@dataclass(frozen=True, slots=True)
class Excerpt:
    """A part of a document: `text` is `document text[start:end]`, in code points."""

    text: str
    start: int
    end: int


class Excerpter:
    """Cuts hits with the models of one collection. Used from one event loop."""

    def __init__(self, searcher: Searcher) -> None:
        self._searcher, self._stage = searcher, searcher.second_stage

    async def cut(
        self, query: str, hits: Sequence[Hit], rooms: Sequence[int], deadline: Deadline
    ) -> list[Excerpt]:
        """An excerpt of the first hits with at most the tokens that `rooms` gives each.

        A passage that fits stays whole. Raises `OverloadedError` (queue full) and `DeadlineError`.
        """
        searcher, hits = self._searcher, hits[: len(rooms)]
        prepare = partial(searcher.preparing.run, deadline)
        with one_caller() as caller, searcher.gate.permit(), SHARES.at_work(caller.account):
            counts = await prepare(partial(self.count, [hit.text for hit in hits]))
            fits = [count <= room for count, room in zip(counts, rooms, strict=True)]
            if all(fits):
                return [_whole(hit) for hit in hits]
            text, _warnings = await prepare(partial(searcher.normalize_query, query))
            encoded = await searcher.encode_query(text, deadline)
            return [
                _whole(hit) if fit else await self._cut(encoded, hit, room, deadline)
                for hit, fit, room in zip(hits, fits, rooms, strict=True)
            ]

    def count(self, texts: Sequence[str]) -> list[int]:
        """The tokens of each text, as the encoder counts them."""
        return self._searcher.encoder.count_tokens([break_up(text) for text in texts])

    async def _cut(self, query: EncodedQuery, hit: Hit, tokens: int, deadline: Deadline) -> Excerpt:
        spans, scores = await self._stage.run(deadline, partial(self._score, query, hit))
        texts = [hit.text[span.start : span.end] for span in spans]
        if not scores:
            scores = await self._cosines(query, texts, deadline)
        counts = await self._searcher.preparing.run(deadline, partial(self.count, texts))
        first, end = around_best(scores, counts, tokens)
        return _part(hit, Span(spans[first].start, spans[end - 1].end))

    def _score(self, query: EncodedQuery, hit: Hit) -> tuple[list[Span], list[float]]:
        """The parts of a hit's passage; their scores too, if the reranker tells."""
        reranker = self._stage.reranker
        (passage,) = self._stage.passages([hit.found])
        if passage.window >= len(query.windows):  # found by an earlier query that means the same
            passage = replace(passage, window=0)
        spans, ends = span_ends(hit.text, passage.text, self.count)
        matches = matches_of(reranker, query, passage)
        scores = part_scores(matches, ends)
        return spans, [-inf if score is None else score for score in scores]

    async def _cosines(
        self, query: EncodedQuery, texts: Sequence[str], deadline: Deadline
    ) -> list[float]:
        prefixes = self._searcher.encoder.identity.prefixes
        read = [passage_text("", text, prefixes) for text in texts]
        filled = [text for text in read if text]
        if not filled:
            return [-inf] * len(texts)
        named = {f"hits.{place}": text for place, text in enumerate(filled)}
        found = await self._searcher.embedder.vectors(named, "passage", deadline)
        cosines = iter((query.vectors @ found.vectors.T).max(axis=0).tolist())
        return [next(cosines) if text else -inf for text in read]


def around_best(scores: Sequence[float], counts: Sequence[int], tokens: int) -> tuple[int, int]:
    """The parts `first:end` around the best one that `tokens` have room for.

    The better neighbour joins first. The best part is always taken.
    """
    first = max(range(len(scores)), key=scores.__getitem__)
    end, left = first + 1, tokens - counts[first]
    while True:
        sides = [i for i in (first - 1, end) if 0 <= i < len(scores) and counts[i] <= left]
        if not sides:
            return first, end
        side = max(sides, key=scores.__getitem__)
        left -= counts[side]
        first, end = min(first, side), max(end, side + 1)


def _whole(hit: Hit) -> Excerpt:
    return Excerpt(hit.text, hit.start, hit.end)


def _part(hit: Hit, span: Span) -> Excerpt:
    text = hit.text[span.start : span.end]
    return Excerpt(text, hit.start + span.start, hit.start + span.end)
