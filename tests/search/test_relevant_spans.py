"""Where a passage's spans end in the text that models read."""

import pytest

from service.search.relevant_spans import RelevantSpan, SpanLimits, chosen, span_ends
from service.text.passage import passage_text
from service.types import Span

FIRST = "The bowline is a knot that makes a loop, and the loop does not slip under load."
SECOND = "Sailors use it to tie a boat to a ring, to a post or to another boat in harbour."
LAST = "It is one of the oldest knots that are known, and one of the most useful ones."


def words(texts: list[str]) -> list[int]:
    return [2 * len(text.split()) for text in texts]


@pytest.mark.parametrize(
    "text",
    [
        f"{FIRST} {SECOND} {LAST}",
        f"  query:  {FIRST}\n\n\u200b{SECOND}   \t{LAST}\n",
        f"Do\u0301nde? {FIRST} <s> {SECOND} [CLS] {LAST}",
        f"Passage : {FIRST} \u200b\u200b {SECOND}\u0000 {LAST}",
    ],
)
def test_each_span_ends_at_the_same_word_in_both_texts(text: str) -> None:
    read = passage_text("", text, ("query: ", "passage: "))
    spans, ends = span_ends(text, read, lambda texts: words(list(texts)))
    assert len(spans) == len(ends) >= 3
    assert ends == sorted(ends)
    assert ends[-1] == len(read)
    for span, end in zip(spans, ends, strict=True):
        last = text[span.start : span.end].rsplit(maxsplit=1)[-1].replace("\u0000", "")
        assert read[:end].split()[-1] == last


def test_a_prefix_that_is_a_span_by_itself_has_no_tokens() -> None:
    spans, ends = span_ends("query: a b", "a b", lambda texts: [20 * len(t.split()) for t in texts])
    assert len(spans) == 3
    assert ends == [0, 1, 3]


def test_spans_are_chosen_best_first_and_early_ones_before_later() -> None:
    parts = [(Span(0, 5), 0.2), (Span(6, 9), 0.9), (Span(10, 12), 0.2), (Span(13, 20), 0.05)]
    every = chosen(parts, lambda scores: scores, SpanLimits(0.1))
    assert [span.start for span in every] == [6, 0, 10]
    assert chosen(parts, lambda scores: scores, SpanLimits(0.0, 1)) == [RelevantSpan(6, 9, 0.9)]
    assert chosen([], lambda scores: scores, SpanLimits()) == []
