"""Words of many scripts, and that SQLite's full-text index keeps each as it is."""

import sqlite3

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.store import lexical
from service.words import placed_words, tokenize

TEXTS = [
    ("Đạo hàm y' = f'(u)", ["đạo", "hàm", "y", "f", "u"]),
    ("Đạo hàm", ["đạo", "hàm"]),  # decomposed
    ("東京タワーは2019年", ["東京", "京タ", "タワ", "ワー", "ーは", "2019", "年"]),
    ("김치는 맛있다", ["김치", "치는", "맛있", "있다"]),
    ("หน้าที่", ["หน้", "น้า", "าที่"]),
    ("मसाला चाय हिन्दी", ["मसाला", "चाय", "हिन्दी"]),
    ("كِتَاب العربية", ["كِتَاب", "العربية"]),
    ("Ёлка İstanbul ΣΊΣΥΦΟΣ", ["ёлка", "i̇stanbul", "σίσυφοσ"]),
    ("ＯＩＬ Straße", ["oil", "strasse"]),
    ("x² ½ ℃ foo_bar3 𝔸𠮷", ["x2", "1", "2", "c", "foo_bar3", "a", "𠮷"]),
    ("co\u00adoper\u200bate می\u200cخواهم", ["cooperate", "میخواهم"]),  # invisible characters
    ("I ❤️ 🍵👩‍👧 ok", ["i", "❤", "🍵", "👩", "👧", "ok"]),
    ("\u0301 \u200d\ufe0f", []),  # marks and joiners of nothing
    ("… !", []),
]


@pytest.mark.parametrize(("text", "words"), TEXTS)
def test_words_of_many_scripts(text: str, words: list[str]) -> None:
    assert tokenize(text) == words


@pytest.mark.parametrize(("text", "words"), [pair for pair in TEXTS if pair[1]])
def test_the_full_text_index_neither_parts_nor_changes_a_word(text: str, words: list[str]) -> None:
    connection = sqlite3.connect(":memory:")
    for statement in lexical.TABLES:
        connection.execute(statement)
    lexical.insert(connection, [(1, lexical.words("", text))])
    stored = {term for (term,) in connection.execute("SELECT term FROM word_counts")}
    assert stored == set(words)
    for word in words:
        assert [found.passage_id for found in lexical.search(connection, word, 5)] == [1]
    connection.close()


MIXED = st.text(
    st.sampled_from("aBß éİﬁＡ½㍿ﾊﾞ京都ハー한국แมว\u00ad\u200d\u0301🦊👩.,'_-1\n") | st.characters()
)


@given(MIXED)
def test_placed_words_are_those_of_tokenize(text: str) -> None:
    placed = placed_words(text)
    assert [word.word for word in placed] == tokenize(text)
    assert all(0 <= word.start < word.end <= len(text) for word in placed)


@pytest.mark.parametrize(
    ("text", "places"),
    [
        ("Đạo hàm, 東京都", ["Đạo", "hàm", "東京", "京都"]),
        ("Stra\u00adße STRASSE", ["Stra\u00adße", "STRASSE"]),
        ("ﬁn \u200bx", ["ﬁn", "x"]),
    ],
)
def test_placed_words_name_the_text_as_given(text: str, places: list[str]) -> None:
    assert [text[word.start : word.end] for word in placed_words(text)] == places
