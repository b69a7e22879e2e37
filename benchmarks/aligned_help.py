"""Collections across languages, out of one handbook's collections in several languages.

    python benchmarks/aligned_help.py --data DIR --passages-in en-us --passages-in ja,ko --out OUT

`DIR` holds `lohelp-<language>` folders in BEIR's format whose ids are `language-page-section`, one
relevant section a query. `OUT/fit/to-en-us` and `OUT/test/to-en-us` get English sections as
passages and headings of every other language as queries; no page has queries in both. With several
languages of passages each page is in one of them (drawn by its number), and asked for in others.

A page has the same number in every language; a section has not, as each language counts those that
it has. A section is taken as the other language's where it is the only one of a page that has one
section in English, too, or where both languages have as many on the page, numbered with the same
gaps. Hindi has too few for that: its queries ask for the page, each of whose sections is relevant.
Sections that are not in their language (not translated, names of files) are left out.
"""

import argparse
import random
import sys
from collections import defaultdict
from itertools import pairwise
from pathlib import Path

import regex

from service.datasets import Collection, open_collection, write_beir
from service.types import Document

IN_LANGUAGE = {
    "en-us": r"[A-Za-z]",
    "hi": r"\p{Devanagari}",
    "ja": r"[\p{Han}\p{Hiragana}\p{Katakana}]",
    "ko": r"\p{Hangul}",
    "vi": r"[^\x00-\x7f]",
}
"""A letter that only a text in the language has."""

LEAST = {"en-us": 0.5, "hi": 0.4, "ja": 0.4, "ko": 0.4, "vi": 0.1}
"""Share of such letters, of all letters, in a passage of the language."""

WHOLE = "en-us"
"""The language in which no section is missing."""

WHOLE_PAGES = "hi"
"""The language whose queries ask for a page."""

LONGEST_PAGE = 5
"""Sections of a page that is asked for, at most."""

NO_PROSE = "This page is:"

Pages = dict[int, list[int]]


def main() -> None:
    """Write a collection for each set of passages."""
    arguments = _arguments()
    books = {code: open_collection(arguments.data / f"lohelp-{code}") for code in IN_LANGUAGE}
    pages = {code: _pages(book) for code, book in books.items()}
    for languages in (given.split(",") for given in arguments.passages_in):
        found = align(books, pages, languages)
        cut = _cut(found, arguments.queries, arguments.passages, arguments.seed)
        for number, part in enumerate(("fit", "test")):
            here = _part(cut, number)
            write_beir(arguments.out / part / here.name, here)
            count = f"{len(here.qrels)} queries, {len(here.documents)} passages"
            sys.stdout.write(f"{arguments.out / part / here.name}: {count}\n")


def align(
    books: dict[str, Collection], pages: dict[str, Pages], languages: list[str]
) -> Collection:
    """Passages in `languages`, and the queries of other languages that they answer."""
    passages: list[Document] = []
    home: dict[int, str] = {}
    ids: dict[int, dict[int, str]] = defaultdict(dict)
    for code in languages:
        for document in books[code].documents:
            page, section = _key(document.id)
            having = [other for other in sorted(languages) if page in pages[other]]
            home[page] = random.Random(page).choice(having)  # noqa: S311 - no secret
            if code == home[page] and _is_in(code, document.text, LEAST[code]):
                passages.append(document)
                ids[page][section] = document.id
    queries, qrels = {}, {}
    for code, book in books.items():
        for query, grades in book.qrels.items():
            page, section = _key(next(iter(grades)))
            if home.get(page, code) == code or not _is_in(code, book.queries[query], 0.0):
                continue
            there = list(ids[page]) if len(ids[page]) <= LONGEST_PAGE else []
            if code != WHOLE_PAGES:
                numbers = pages[code][page], pages[home[page]][page], pages[WHOLE].get(page, [])
                there = _same(*numbers, section)
            found = {ids[page][number]: 1 for number in there if number in ids[page]}
            if found:
                queries[query], qrels[query] = book.queries[query], found
    return Collection("to-" + "+".join(languages), passages, queries, qrels)


def _same(here: list[int], there: list[int], whole: list[int], section: int) -> list[int]:
    """The number of a page's section in the other language; none where that is not sure."""
    gaps = [[b - a for a, b in pairwise(numbers)] for numbers in (here, there)]
    sure = gaps[0] == gaps[1] and (len(here) > 1 or len(whole) == 1)
    return [there[here.index(section)]] if sure else []


def _cut(collection: Collection, queries: int, passages: int, seed: int) -> Collection:
    """So many queries of each language, and so many passages, those that answer among them."""
    draw = random.Random(seed)  # noqa: S311 - no secret
    asked: list[str] = []
    for code in IN_LANGUAGE:
        of = [query for query in sorted(collection.qrels) if query.lower().startswith(f"q{code}-")]
        asked += sorted(draw.sample(of, min(queries, len(of))))
    needed = {key for query in asked for key in collection.qrels[query]}
    others = [document.id for document in collection.documents if document.id not in needed]
    kept = needed | set(draw.sample(others, min(max(0, passages - len(needed)), len(others))))
    documents = [document for document in collection.documents if document.id in kept]
    return _with_queries(collection, documents, asked)


def _part(collection: Collection, number: int) -> Collection:
    """Half of the queries: those of half of the pages."""

    def part(query: str) -> int:
        page, _ = _key(next(iter(collection.qrels[query])))
        return random.Random(f"part {page}").randrange(2)  # noqa: S311 - no secret

    asked = [query for query in collection.qrels if part(query) == number]
    return _with_queries(collection, collection.documents, asked)


def _with_queries(
    collection: Collection, documents: list[Document], asked: list[str]
) -> Collection:
    return Collection(
        collection.name,
        documents,
        {query: collection.queries[query] for query in asked},
        {query: collection.qrels[query] for query in asked},
    )


def _pages(book: Collection) -> Pages:
    """Page -> its sections' numbers, rising; those that are left out later are counted."""
    pages: Pages = defaultdict(list)
    for page, section in sorted(_key(document.id) for document in book.documents):
        pages[page].append(section)
    return pages


def _key(document: str) -> tuple[int, int]:
    _, page, section = document.rsplit("-", 2)
    return int(page), int(section)


def _is_in(code: str, text: str, least: float) -> bool:
    """Has the text letters of the language, at least the share `least` of its letters?"""
    own = len(regex.findall(IN_LANGUAGE[code], text))
    letters = len(regex.findall(r"\p{L}", text)) or 1
    return own > 0 and NO_PROSE not in text and own / letters >= least


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--passages-in", action="append", required=True, metavar="LANGUAGE,...")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--queries", type=int, default=200, help="of each language")
    parser.add_argument("--passages", type=int, default=800)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


if __name__ == "__main__":
    main()
