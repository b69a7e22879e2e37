from collections.abc import Sequence
from itertools import pairwise

import pytest
from tokenizers import Tokenizer

from service.models.sources import PreparedModel
from service.text.chunker import TokenCounter
from service.text.normalizer import clean
from service.text.passage import fit_title, passage_input, split_document
from service.types import Document


def words(texts: Sequence[str]) -> list[int]:
    return [len(text.split()) for text in texts]


@pytest.fixture(scope="module")
def e5_tokens(e5: PreparedModel) -> TokenCounter:
    tokenizer = Tokenizer.from_file(str(e5.folder / "tokenizer.json"))

    def count(texts: Sequence[str]) -> list[int]:
        encodings = tokenizer.encode_batch(list(texts), add_special_tokens=False)
        return [len(encoding.ids) for encoding in encodings]

    return count


def test_the_title_stands_before_the_text() -> None:
    assert passage_input("Title", "text") == "Title text"


@pytest.mark.parametrize("title", ["", " \n"])
def test_no_title_adds_nothing(title: str) -> None:
    assert passage_input(title, "text") == "text"


def test_a_title_is_cut_on_a_word_border_to_a_quarter_of_the_budget() -> None:
    title = "one two three four five six"
    assert fit_title(title, budget=16, count_tokens=words) == "one two three four"
    assert fit_title(title, budget=24, count_tokens=words) == title
    assert fit_title(" ", budget=24, count_tokens=words) == ""


def test_every_passage_leaves_room_for_the_title() -> None:
    document = Document("1", "a b c d. " * 10, title="one two three four five six")
    spans = split_document(document, budget=16, overlap=4, count_tokens=words)
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
    ],
)
def test_passages_of_real_tokens_fit_the_window_and_fill_it(
    unit: str, title: str, e5_tokens: TokenCounter
) -> None:
    document = Document("1", unit * 120, title=title)
    spans = split_document(document, budget=256, overlap=32, count_tokens=e5_tokens)
    fitted = fit_title(title, budget=256, count_tokens=e5_tokens)
    seen = [clean(passage_input(fitted, document.text[a:b])) for a, b in spans]
    counts = e5_tokens(seen)
    assert max(counts) <= 256
    assert len(spans) > 1
    assert all(count > 200 for count in counts[:-1])
    assert all(a.end >= b.start for a, b in pairwise(spans)) or unit[-1].isspace()
