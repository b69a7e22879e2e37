"""Search by words: BM25 through SQLite's full-text index (FTS5), in the same file as the passages.

`service.words` makes the words that are stored and searched for. FTS5's own tokenizer (`ascii`,
with `_`) only splits them at spaces: their other characters belong to words, and folding changes
none of them. Words are written and removed in the transaction of their passages.
"""

import json
import sqlite3
from collections import Counter
from collections.abc import Sequence

from service.store.many_rows import execute_rows
from service.types import Candidate, Ids
from service.words import tokenize

TABLES = (
    "CREATE VIRTUAL TABLE passage_words USING fts5 (words, tokenize = \"ascii tokenchars '_'\")",
    "CREATE VIRTUAL TABLE word_counts USING fts5vocab (passage_words, row)",
)

MOST_ENTRIES = 50_000
"""The most index entries that a search reads; the rarest word is always read."""

MOST_WORDS = 64
"""A search looks for this many different words of a query, the rarest ones."""

MOST_REPEATS = 4
"""A word that the query has several times counts as often, up to this."""


def words(before: str, text: str) -> str:
    """The words that a passage is found by: those of its title and headings, and its own."""
    return " ".join(tokenize(f"{before}\n{text}"))


def insert(connection: sqlite3.Connection, passages: Sequence[tuple[int, str]]) -> None:
    """Write the `words` of passages, named by their ids."""
    execute_rows(connection, "INSERT INTO passage_words (rowid, words) VALUES {rows}", passages)


def search(
    connection: sqlite3.Connection, text: str, count: int, allowed: Ids | None = None
) -> list[Candidate]:
    """At most `count` passages that share a word with `text`, by (-score, passage id).

    The score is FTS5's BM25 (k1 1.2, b 0.75): above 0, without an upper bound, not comparable
    between queries. `allowed` narrows to these passages before the count is taken.
    """
    words = _words(connection, tokenize(text))
    if not words:
        return []
    # A quoted string is a word to FTS5 and never an operator.
    match = " OR ".join('"' + word.replace('"', '""') + '"' for word in words)
    narrowed, parameters = "", []
    if allowed is not None:
        # The plus keeps SQLite from asking FTS5 once for each of them.
        narrowed = "AND +rowid IN (SELECT value FROM json_each(?))"
        parameters = [json.dumps(allowed.tolist())]
    rows = connection.execute(
        "SELECT rowid, -rank FROM passage_words WHERE passage_words MATCH ? "  # noqa: S608
        f"{narrowed} ORDER BY rank, rowid LIMIT ?",
        [match, *parameters, count],
    )
    return [Candidate(id_, score) for id_, score in rows]


def _words(connection: sqlite3.Connection, query: list[str]) -> list[str]:
    """The words of a query to look for, the rarest first, each as often as it counts.

    BM25 looks at every passage that has one of the words. The most common words cost most and say
    least, so they are left out once rarer words have enough entries.
    """
    counts = connection.execute(
        "SELECT term, doc FROM json_each(?) CROSS JOIN word_counts ON term = value "
        "ORDER BY doc, term LIMIT ?",
        [json.dumps(sorted(set(query))), MOST_WORDS],
    )
    repeats = Counter(query)
    words: list[str] = []
    entries = 0
    for word, passages in counts:
        entries += passages
        if words and entries > MOST_ENTRIES:
            break
        words += [word] * min(repeats[word], MOST_REPEATS)
    return words
