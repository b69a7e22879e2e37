"""The sentences of a document for which a reranker gave it its score."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate

from service.text.chunker import TokenCounter, chunk
from service.text.normalizer import break_up, clean
from service.types import Span

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
    """The spans of a passage, and where each of them ends in `read`, the text that models read.

    Cleaning changes white space and removes a prefix at the start, so a place is found again by
    the number of other characters behind it.
    """
    spans = chunk(text, budget=SPAN_TOKENS, overlap=0, count_tokens=count_tokens)
    sizes = [_letters(break_up(clean(text[span.start : span.end]))) for span in spans]
    places = [place for place, letter in enumerate(read) if not letter.isspace()]
    removed = sum(sizes) - len(places)
    ends = [places[end - removed - 1] + 1 if end > removed else 0 for end in accumulate(sizes)]
    return spans, ends


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
