"""Which parts of a passage are marked, from matches of tokens and from words."""

import time
from itertools import pairwise

import numpy as np
import pytest

from service.search.highlights import MOST_WORDS, PART_BYTES, Highlight, highlights
from service.types import Span, TokenMatches

FIRST = (
    "A bowline is a knot that makes a loop at the end of a rope, and sailors learn it first. " * 2
)
SECOND = "It does not slip under load, and it is easy to untie after the strain is gone. " * 2
LAST = "In 1892 it was printed in the manual of the navy. "
TEXT = (FIRST + SECOND + LAST).strip()


def matches(*found: tuple[str, str, float], query: str, text: str = TEXT) -> TokenMatches:
    """Matches of (query token, passage token, similarity); all others are 0."""
    asked = list(dict.fromkeys(q for q, _, _ in found))
    read = sorted({p for _, p, _ in found}, key=text.index)
    similar = np.zeros((len(asked), len(read)), np.float32)
    for q, p, value in found:
        similar[asked.index(q), read.index(p)] = value
    return TokenMatches(
        [Span(query.index(q), query.index(q) + len(q)) for q in asked],
        [Span(text.index(p), text.index(p) + len(p)) for p in read],
        similar,
        np.ones(len(asked), np.float32),
        0.0,
    )


def parts(found: tuple[Highlight, ...], text: str = TEXT) -> list[str]:
    return [text[mark.start : mark.end] for mark in found if mark.kind == "part"]


def words(found: tuple[Highlight, ...], text: str = TEXT) -> list[str]:
    return [text[mark.start : mark.end] for mark in found if mark.kind == "word"]


def test_the_part_whose_tokens_match_best_is_first() -> None:
    query = "when was the knot in a book"
    found = matches(
        ("when", "1892", 0.7), ("book", "manual", 0.8), ("knot", "knot", 0.6), query=query
    )
    first, *_ = parts(highlights(query, TEXT, TEXT, found, 3))
    assert LAST.strip() in first
    assert len(first.encode()) <= PART_BYTES
    only = parts(highlights(query, TEXT, TEXT, found, 1))
    assert only == [first]


def test_a_token_counts_once_by_its_best_match() -> None:
    query = "knot load"
    found = matches(
        ("knot", "bowline", 0.9), ("knot", "loop", 0.9), ("load", "bowline", 0.3),
        ("knot", "slip", 0.5), ("load", "strain", 0.9), query=query,
    )  # fmt: skip
    assert "strain" in parts(highlights(query, TEXT, TEXT, found, 1))[0]  # 1.4 beside 1.2


def test_parts_do_not_overlap_and_end_on_sentences() -> None:
    query = "knot"
    found = highlights(query, TEXT, TEXT, matches(("knot", "knot", 1.0), query=query), 5)
    marks = sorted((mark.start, mark.end) for mark in found if mark.kind == "part")
    assert all(end <= start for (_, end), (start, _) in pairwise(marks))
    assert all(TEXT[end - 1] == "." for _, end in marks)


def test_a_long_sentence_is_cut() -> None:
    text = "word " * 500
    found = highlights("word", text, text, None, 2)
    assert all(len(part.encode()) <= PART_BYTES for part in parts(found, text))
    assert len(words(found, text)) == MOST_WORDS


def test_a_title_and_a_removed_prefix_shift_nothing() -> None:
    text = f"passage: {TEXT}"
    read = f"Knots {TEXT}"
    query = "when"
    found = matches(("when", "1892", 0.9), query=query, text=read)
    first = parts(highlights(query, text, read, found, 1), text)[0]
    assert "1892" in first


def test_without_matches_rare_words_decide() -> None:
    found = highlights("the navy is it", TEXT, TEXT, None, 1)
    assert "navy" in parts(found)[0]


def test_words_are_folded_and_those_that_say_little_are_left_out() -> None:
    query = "THE Navy manual"
    found = matches(
        ("Navy", "navy", 0.9), ("manual", "manual", 0.9), ("THE", "knot", 0.1), query=query
    )
    weak = TokenMatches(
        found.query, found.passage, found.similar, np.array([1.0, 0.9, 0.01], np.float32), 0.0
    )
    assert words(highlights(query, TEXT, TEXT, weak, 1)) == ["manual", "navy"]
    every = words(highlights(query, TEXT, TEXT, None, 1))
    assert every.count("the") == TEXT.split().count("the")


@pytest.mark.parametrize(
    ("query", "text", "marked"),
    [
        ("京都の茶", "宇治は京都の茶の産地。", ["京都の茶"]),  # pairs that overlap are one place
        ("straße", "Die STRASSE, die Straße.", ["STRASSE", "Straße"]),
        (
            "cafe\u0301",
            "Das Caf\u00e9 und das ca\u00adfe\u0301.",
            ["Caf\u00e9", "ca\u00adfe\u0301"],
        ),
        ("ｗｉｄｅ", "a wide ＷＩＤＥ word", ["wide", "ＷＩＤＥ"]),
    ],
)
def test_words_of_any_script_are_found_where_they_are(
    query: str, text: str, marked: list[str]
) -> None:
    assert words(highlights(query, text, text, None, 1), text) == marked


def test_an_empty_answer_has_no_marks() -> None:
    assert highlights("a", "", "", None, 3) == ()
    nothing = TokenMatches([], [], np.zeros((0, 0), np.float32), np.zeros(0, np.float32), 1.0)
    assert parts(highlights("a", "One. Two.", "One. Two.", nothing, 1), "One. Two.")


def test_a_text_of_a_thousand_sentences_takes_little_time() -> None:
    text = "A! " * 660 + "The tide rises!"
    began = time.process_time()
    found = highlights("when does the tide rise", text, text, None, 5)
    assert text[found[0].start : found[0].end].endswith("The tide rises!")
    assert time.process_time() - began < 0.2
