"""The sentences of a document for which a reranker gave it its score."""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

from service.protocols import Reranker
from service.text.chunker import TokenCounter, chunk
from service.text.normalizer import break_up, clean
from service.types import EncodedPassage, EncodedQuery, Span, TokenMatches

SPAN_TOKENS = 32
"""A span has at most this many tokens: short sentences, or a part of a long one."""


@dataclass(frozen=True, slots=True)
class SpanLimits:
    """Spans of at least this relevance are named, and of each document at most `most`."""

    threshold: float = 0.1
    most: int | None = None


@dataclass(frozen=True, slots=True)
class RelevantSpan:
    """A part of a document, `text[start:end]` in code points, and its relevance, 0 to 1."""

    start: int
    end: int
    relevance: float


def span_ends(text: str, read: str, count_tokens: TokenCounter) -> tuple[list[Span], list[int]]:
    """The spans of a passage, and where each of them ends in `read`, the text that models read."""
    spans = chunk(text, budget=SPAN_TOKENS, overlap=0, count_tokens=count_tokens)
    return spans, ends_in(text, read, spans)


def ends_in(text: str, read: str, spans: Sequence[Span]) -> list[int]:
    """Where spans that together are all of `text` end in `read`, the text that models read.

    Cleaning changes white space and removes a prefix at the start, so a place is found again by
    the number of other characters behind it.
    """
    sizes = [_letters(break_up(clean(text[span.start : span.end]))) for span in spans]
    places = [place for place, letter in enumerate(read) if not letter.isspace()]
    removed = sum(sizes) - len(places)
    return [places[end - removed - 1] + 1 if end > removed else 0 for end in accumulate(sizes)]


def matches_of(
    reranker: Reranker | None, query: EncodedQuery, passage: EncodedPassage
) -> TokenMatches | None:
    """The matches of one passage, if there is a reranker that can tell."""
    found = reranker.matches(query, [passage]) if reranker else None
    return found[0] if found else None


def part_scores(matches: TokenMatches | None, ends: Sequence[int]) -> list[float | None]:
    """The passage's score if only the tokens of one part could match, for each part.

    A part ends before `ends[i]`, a place in the passage's text, and begins where the one before
    ends. A token belongs to the part that has its last character. None for a part that the
    reranker did not read; empty without matches.
    """
    if matches is None:
        return []
    last = [span.end for span in matches.passage]
    borders = [bisect_right(last, end) for end in accumulate((0, *ends), max)]
    return [
        round(matches.rest + float(matches.points @ matches.similar[:, a:b].max(axis=1)), 3)
        if a < b
        else None
        for a, b in pairwise(borders)
    ]


def _letters(text: str) -> int:
    return sum(not letter.isspace() for letter in text)


def chosen(
    parts: Sequence[tuple[Span, float]],
    relevance: Callable[[Sequence[float]], Sequence[float]],
    limits: SpanLimits,
) -> list[RelevantSpan]:
    """The scored parts that reach the threshold, best first; ties go to the earlier one."""
    values = relevance([score for _, score in parts]) if parts else []
    found = [RelevantSpan(*span, value) for (span, _), value in zip(parts, values, strict=True)]
    reached = [span for span in found if span.relevance >= limits.threshold]
    return sorted(reached, key=lambda span: (-span.relevance, span.start))[: limits.most]
