import time
import unicodedata
from collections.abc import Sequence
from itertools import pairwise

import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st

from service.text.chunker import TokenCounter, chunk, sentences
from service.types import Span


def words(texts: Sequence[str]) -> list[int]:
    return [len(text.split()) for text in texts]


def characters(texts: Sequence[str]) -> list[int]:
    return [len(text) for text in texts]


def letters_and_gaps(texts: Sequence[str]) -> list[int]:
    """More for a whole than for its parts, as every gap counts ten."""
    return [len(text) + 9 * sum(map(str.isspace, text)) for text in texts]


COUNTERS: list[TokenCounter] = [words, characters, letters_and_gaps]
TEXTS = st.text() | st.lists(
    st.sampled_from(
        [
            "One.",
            " Two! ",
            "three",
            "\n\n",
            "\n",
            " ",
            "\r\n",
            "。",
            "「はい」",
            "ที่นี่",
            "क्षि",
            "।",
            "é",
            "́",
            "\x1c",
            "3.5",
            "？",
            "\u200b",
            "👨\u200d👩\u200d👧",
            "🇻🇳",
        ]
    ),
    max_size=60,
).map("".join)


def check_passages(text: str, spans: list[Span], budget: int, count: TokenCounter) -> None:
    covered: set[int] = set()
    clusters = {m.start() for m in regex.finditer(r"\X", text)} | {len(text)}
    blank = {i + 1 for i, c in enumerate(text) if c.isspace()}
    for start, end in spans:
        piece = text[start:end]
        assert piece == piece.strip() != ""
        # A passage may begin behind white space that a lone mark stands on.
        assert start in clusters | blank
        assert end in clusters
        assert count([piece])[0] <= budget or len(regex.findall(r"\X", piece)) == 1
        covered.update(range(start, end))
    assert covered >= {i for i, c in enumerate(text) if not c.isspace()}
    assert all(a.start < b.start and a.end < b.end for a, b in pairwise(spans))


@given(TEXTS, st.integers(1, 40), st.integers(0, 39), st.sampled_from(COUNTERS))
def test_passages_keep_every_promise_for_any_text(
    text: str, budget: int, overlap: int, count: TokenCounter
) -> None:
    overlap = min(overlap, budget - 1)
    spans = chunk(text, budget=budget, overlap=overlap, count_tokens=count)
    check_passages(text, spans, budget, count)
    assert spans == chunk(text, budget=budget, overlap=overlap, count_tokens=count)
    if count([text.strip()])[0] <= budget:
        assert len(spans) == bool(text.strip())


def pieces(text: str, budget: int, overlap: int = 0, count: TokenCounter = characters) -> list[str]:
    spans = chunk(text, budget=budget, overlap=overlap, count_tokens=count)
    check_passages(text, spans, budget, count)
    return [text[start:end] for start, end in spans]


def test_a_text_within_the_budget_is_one_passage_with_its_own_offsets() -> None:
    assert chunk("\n One. Two. ", budget=9, overlap=2, count_tokens=characters) == [Span(2, 11)]


def test_white_space_alone_has_no_passage() -> None:
    assert chunk(" \n\t ", budget=9, overlap=2, count_tokens=characters) == []


@pytest.mark.parametrize(("budget", "overlap"), [(0, 0), (4, 4), (4, -1)])
def test_an_overlap_outside_the_budget_is_refused(budget: int, overlap: int) -> None:
    with pytest.raises(ValueError, match="overlap"):
        chunk("text", budget=budget, overlap=overlap, count_tokens=characters)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "Dr. Lee left at 3.5 p.m. sharp. J. K. wrote (twice!) to us. Why? See Fig. 2 there.",
            [
                "Dr. Lee left at 3.5 p.m. sharp.",
                "J. K. wrote (twice!) to us.",
                "Why?",
                "See Fig. 2 there.",
            ],
        ),
        (
            "Cho hàm số y = 2x + 1. Tính y(0,5)! Đáp số: 2.\n\n1. Chứng minh f(x) > 0.",
            ["Cho hàm số y = 2x + 1.", "Tính y(0,5)!", "Đáp số: 2.", "1. Chứng minh f(x) > 0."],
        ),
        ("今天下雨。你去吗？我不去！", ["今天下雨。", "你去吗？", "我不去！"]),
        ("「行く?」と聞いた。はい。（笑）", ["「行く?」と聞いた。", "はい。", "（笑）"]),
        (
            "「はい。」と言った。「いいえ。」彼は。",
            ["「はい。」と言った。", "「いいえ。」", "彼は。"],
        ),
        ("यह घर है। वह पेड़ है॥ क्या?", ["यह घर है।", "वह पेड़ है॥", "क्या?"]),
        ("هل ذهبت؟ نعم. ذهبت أمس.", ["هل ذهبت؟", "نعم.", "ذهبت أمس."]),
        ("ខ្ញុំទៅផ្សារ។ អ្នកទៅណា៕", ["ខ្ញុំទៅផ្សារ។", "អ្នកទៅណា៕"]),
        ("Heading\n\nA line\nand its rest", ["Heading", "A line\nand its rest"]),
        ("What?\u0301 Done.", ["What?\u0301", "Done."]),
    ],
)
def test_sentences_end_where_a_reader_of_the_script_ends_them(
    text: str, expected: list[str]
) -> None:
    assert [text[a:b].strip() for a, b in sentences(text, 0)] == expected


def test_passages_are_packed_from_whole_sentences_and_share_them() -> None:
    text = "A one two. B one two. C one two. D one two. E one two. F one two."
    assert pieces(text, 9, 3, words) == [
        "A one two. B one two. C one two.",
        "C one two. D one two. E one two.",
        "E one two. F one two.",
    ]


def test_a_sentence_longer_than_the_overlap_is_not_shared() -> None:
    text = "A one two three. B one two three. C one two three. D one two three."
    assert pieces(text, 8, 3, words) == [text[:33], text[34:]]


def test_a_short_last_passage_reaches_back() -> None:
    text = "A b c. " * 4 + "End."
    assert pieces(text.replace("A", "X"), 12, 0, words)[-1] == "X b c. End."


def test_lines_are_cut_before_words_and_words_before_letters() -> None:
    assert pieces("first line\nsecond line\nthird", 12) == ["first line", "second line", "third"]
    assert pieces("one two three four", 9) == ["one two", "three", "four"]
    assert pieces("今天下雨，我们不去公园了", 8) == ["今天下雨，", "我们不去公园了"]


def test_thai_without_spaces_is_cut_between_clusters_and_overlaps() -> None:
    text = "ที่นี่ไม่มีการเว้นวรรคระหว่างคำ" * 20
    found = pieces(text, 64, 16)
    assert len(found) < 2 * len(text) / 48
    assert all(len(piece) > 40 for piece in found)
    assert not any(unicodedata.combining(piece[0]) for piece in found)
    spans = chunk(text, budget=64, overlap=16, count_tokens=characters)
    assert all(0 < a.end - b.start <= 16 for a, b in pairwise(spans[:-1]))


def test_emoji_families_and_flags_are_never_torn() -> None:
    family = "👨\u200d👩\u200d👧\u200d👦"
    assert pieces(family * 4, 14) == [family * 2] * 2
    assert pieces("🇻🇳🇯🇵" * 3, 4) == ["🇻🇳🇯🇵"] * 3
    assert pieces(family * 2, 3) == [family] * 2


def test_a_whole_that_counts_more_than_its_parts_stays_within_the_budget() -> None:
    text = "Ab cd. " * 50
    found = pieces(text, 60, 0, letters_and_gaps)
    assert sum(letters_and_gaps(found)) / len(found) > 30


def test_a_whole_far_over_its_parts_takes_few_rounds() -> None:
    rounds = []

    def one_word_or_too_many(texts: Sequence[str]) -> list[int]:
        rounds.append(texts)
        return [1 if " " not in text else 100 for text in texts]

    spans = chunk("word " * 500, budget=99, overlap=0, count_tokens=one_word_or_too_many)
    assert [span.end - span.start for span in spans] == [len("word")] * 500
    assert len(rounds) < 16


def test_a_mark_on_a_space_stays_with_it() -> None:
    assert pieces("ab cd \u0301ef", 6) == ["ab", "cd \u0301ef"]


@pytest.mark.parametrize(
    "unit",
    [
        "This is so. Is it? ",
        "今天下雨，我们不去。",
        "ภาษาไทยไม่มี",
        "word ",
        ".",
        "a\n ",
        ".)",
        "a\u200d",
    ],
)
def test_a_million_characters_take_seconds(unit: str) -> None:
    text = (unit * 1_000_000)[:1_000_000]
    begun = time.process_time()
    spans = chunk(text, budget=256, overlap=32, count_tokens=characters)
    # Measured 0.2 to 3 s; quadratic time would be hours.
    assert time.process_time() - begun < 20
    assert len(spans) < 8000
