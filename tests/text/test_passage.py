from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import pytest
from tokenizers import Tokenizer

from service.errors import UnprocessableTextError
from service.models.sources import PreparedModel
from service.text.chunker import TokenCounter, chunk
from service.text.passage import cut_document, passage_text, stored_text, title_end
from service.types import Document, Mark, StoredPassage


def words(texts: Sequence[str]) -> list[int]:
    return [len(text.split()) for text in texts]


@pytest.fixture(scope="module")
def e5_tokens(e5: PreparedModel) -> TokenCounter:
    tokenizer = Tokenizer.from_file(str(e5.folder / "tokenizer.json"))

    def count(texts: Sequence[str]) -> list[int]:
        encodings = tokenizer.encode_batch(list(texts), add_special_tokens=False)
        return [len(encoding.ids) for encoding in encodings]

    return count


def test_the_title_comes_before_the_text() -> None:
    assert passage_text("Title", "text") == "Title text"


@pytest.mark.parametrize("title", ["", " \n", "\u200b", "passage:"])
def test_no_title_adds_nothing(title: str) -> None:
    assert passage_text(title, "text") == "text"


@pytest.mark.parametrize("text", ["", " ", "\u200b", "query: passage:"])
def test_a_title_alone_is_no_passage(text: str) -> None:
    assert passage_text("Title", text) == ""


@pytest.mark.parametrize(
    "typed", ["X", "passage: X", "query: X", "Passage : query:X", "ｑｕｅｒｙ：X"]
)
@pytest.mark.parametrize("title", ["", "T", "passage: T"])
def test_typed_prefixes_are_removed_from_title_and_text(typed: str, title: str) -> None:
    assert passage_text(title, typed) == ("T X" if title else "X")


def test_the_prefixes_of_the_model_are_removed_too() -> None:
    assert passage_text("", "Document> X", ["Document>"]) == "X"


def test_a_lone_surrogate_is_named_by_its_field() -> None:
    with pytest.raises(UnprocessableTextError) as raised:
        passage_text("a\ud800", "text")
    assert raised.value.field == "title"


def test_a_stored_passage_has_the_title_that_was_read_when_it_was_stored() -> None:
    passage = StoredPassage(1, "d", "one two three", "passage: text", 0, 13, {}, title_end=7)
    assert stored_text(passage, ()) == "one two text"


def test_a_title_is_cut_on_a_word_border_to_a_quarter_of_the_window() -> None:
    title = "one two three four five six"
    assert title[: title_end(title, window=16, count_tokens=words)] == "one two three four"
    assert title_end(title, window=24, count_tokens=words) == len(title)
    assert title_end(" ", window=24, count_tokens=words) == 0


def test_every_passage_leaves_room_for_the_title() -> None:
    document = Document("1", "a b c d. " * 10, title="one two three four five six")
    cut = cut_document(document, budget=16, overlap=4, count_tokens=words)
    spans = cut.spans
    assert document.title[: cut.title_end] == "one two three four"
    assert [words([document.text[a:b]])[0] for a, b in spans][:-1] == [12] * (len(spans) - 1)
    assert all(a.end - b.start == len("a b c d.") for a, b in pairwise(spans[:-1]))


@pytest.mark.parametrize("title", ["", "Giải tích: đạo hàm", "東京の天気について", "x" * 3000])
@pytest.mark.parametrize(
    "unit",
    [
        "The limit exists. Does it? Yes, at x = 3.5 only. ",
        "Cho hàm số y = x² − 2x + 1. Tìm giá trị nhỏ nhất trên [0; 3].\n\n",
        "今天下雨，我们不去公园。",
        "東京は今日も晴れです。",
        "ภาษาไทยไม่มีการเว้นวรรคระหว่างคำ",
        "ខ្ញុំទៅផ្សារជាមួយមិត្តភក្តិ។",
        "यह घर बड़ा है। ",
        "هل ذهبت إلى المدرسة؟ نعم. ",
        "👨\u200d👩\u200d👧\u200d👦🇻🇳",
        "supercalifragilistic",
        "The <s> tag and <pad> and [SEP]. ",
    ],
)
def test_passages_of_real_tokens_fit_the_window_and_fill_it(
    unit: str, title: str, e5_tokens: TokenCounter
) -> None:
    document = Document("1", unit * 120, title=title)
    cut = cut_document(document, budget=256, overlap=32, count_tokens=e5_tokens)
    spans, read = cut.spans, title[: cut.title_end]
    counts = e5_tokens([passage_text(read, document.text[a:b]) for a, b in spans])
    assert max(counts) <= 256
    assert len(spans) > 1
    assert all(count > 200 for count in counts[:-1])
    assert all(a.end >= b.start for a, b in pairwise(spans)) or unit[-1].isspace()


SECTIONS = Document(
    "1",
    "a b c d e f g h i j k l m n",
    title="Title",
    outline=(Mark(0, 1, ("One",)), Mark(12, 2, ("Two", "Two and a half")), Mark(20, 3, ("Two",))),
)


def read(document: Document, budget: int) -> list[str]:
    cut = cut_document(document, budget=budget, overlap=2, count_tokens=words)
    title = document.title[: cut.title_end]
    return [
        passage_text(document.place(start).under(title, cut.headings_end), document.text[start:end])
        for start, end in cut.spans
    ]


def test_a_passage_says_the_headings_where_it_begins() -> None:
    assert read(SECTIONS, 12) == [
        "Title One a b c d e f",
        "Title Two > Two g h i j k l m n",
    ]


def test_a_passage_begins_at_a_heading_rather_than_elsewhere() -> None:
    assert read(SECTIONS, 16) == [
        "Title One a b c d e f g h i j",
        "Title Two k l m n",
    ]


def test_short_sections_share_a_passage() -> None:
    assert read(SECTIONS, 40) == ["Title One a b c d e f g h i j k l m n"]


def test_headings_get_at_most_a_quarter_of_the_window() -> None:
    long = replace(SECTIONS, outline=(Mark(0, None, ("x y z " * 20,)),))
    passages = read(long, 16)
    assert all(passage.startswith("Title x y z x ") for passage in passages)
    assert all(words([passage])[0] <= 16 for passage in passages)


def test_another_page_alone_is_no_border() -> None:
    pages = tuple(Mark(start, page) for page, start in enumerate(range(0, 28, 2), 1))
    assert read(replace(SECTIONS, outline=pages), 8) == read(replace(SECTIONS, outline=()), 8)


def test_a_stored_passage_has_the_headings_that_were_read_when_it_was_stored() -> None:
    place = Mark(0, 4, ("one", "two three"))
    passage = StoredPassage(1, "d", "T", "text", 0, 4, {}, place=place, headings_end=9)
    assert stored_text(passage, ()) == "T one > two text"


@pytest.mark.parametrize("cuts", [(0, 5), (3, 30, 31, 60), tuple(range(0, 110, 7)), (500,)])
@pytest.mark.parametrize("overlap", [0, 3, 7])
def test_borders_lose_no_character(cuts: tuple[int, ...], overlap: int) -> None:
    text = "a b c d. " * 12
    spans = chunk(text, budget=8, overlap=overlap, count_tokens=words, borders=cuts)
    covered = {place for start, end in spans for place in range(start, end)}
    assert covered >= {place for place, character in enumerate(text) if not character.isspace()}
    assert all(a.start < b.start and a.end < b.end for a, b in pairwise(spans))
    assert all(words([text[start:end]])[0] <= 8 for start, end in spans)


def test_a_short_last_section_reaches_back_over_no_heading() -> None:
    half = "a a a a. " * 4
    spans = chunk(half * 2 + "b b", budget=16, overlap=0, count_tokens=words, borders=[72])
    assert [(half * 2 + "b b")[a:b] for a, b in spans] == [half.strip(), half.strip(), "b b"]
