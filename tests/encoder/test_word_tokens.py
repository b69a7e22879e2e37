"""The ids of a whole text, from those of its words."""

import random
from pathlib import Path

import pytest
from tokenizers import AddedToken, Tokenizer

from service.encoder import word_tokens
from service.encoder.word_tokens import WordTokens
from service.models.sources import prepare
from tests.fixtures.multilingual import TEXTS

ODD = [
    "",
    " ",
    "a\x1cb",
    "a\x85b\u3000c\u2028d",
    "▁a ▁",
    "ﬁn ﷺ",
    "A\u030a Å",
    "don't-stop (now)!",
    "\u200bx",
]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    cache = tmp_path_factory.mktemp("cache")
    folder = prepare("sse-512", "bi-encoder", cache_dir=cache, offline=True).folder
    return Tokenizer.from_file(str(Path(folder) / "tokenizer.json"))


def ids(tokenizer: Tokenizer, text: str) -> list[int]:
    found: list[int] = tokenizer.encode(text, add_special_tokens=False).ids
    return found


def test_ids_are_those_of_the_tokenizer(tokenizer: Tokenizer) -> None:
    words = WordTokens(tokenizer)
    draw = random.Random(5)
    signs = [*map(chr, range(1, 0x3100)), *" \t\n　 " * 400, *"ﷺ▁😀𝔸ｱ"]
    drawn = ["".join(draw.choices(signs, k=30)) for _ in range(300)]
    texts = [*TEXTS, *ODD, *drawn, *TEXTS]
    assert words(texts) == [ids(tokenizer, text) for text in texts]
    assert words._by_word
    assert words([]) == []


def test_what_is_kept_is_bounded(tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(word_tokens, "_MOST_WORDS", 50)
    words = WordTokens(tokenizer)
    for text in TEXTS:
        assert words([text]) == [ids(tokenizer, text)]
        assert len(words._known) <= max(50, len(text.split()))


def test_a_tokenizer_that_looks_across_words_sees_whole_texts(tokenizer: Tokenizer) -> None:
    joined = Tokenizer.from_str(tokenizer.to_str())
    joined.add_tokens([AddedToken("New York", normalized=False)])
    words = WordTokens(joined)
    assert words(["in New York"]) == [ids(joined, "in New York")]
    assert words(["in New York"]) != WordTokens(tokenizer)(["in New York"])
