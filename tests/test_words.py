"""Words of many scripts, and that SQLite's full-text index keeps each as it is."""

import sqlite3

import pytest

from service.store import lexical
from service.words import tokenize

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
