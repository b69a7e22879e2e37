"""The corpus of the benchmark: made of real sentences, the same each time, with true labels."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from benchmarks.speed import corpus
from benchmarks.speed.prose import prose_of, sentences
from service.datasets.beir import write_beir
from service.datasets.labels import Collection
from service.types import Document

RIVERS = (
    "Each spring the melting snow swells the upper rivers {n} until they reach an old bridge. "
    "Boatmen wait there for the second flood, which carries far less sand than the first one {n}. "
    "Where the valley widens the water slows and drops what it brought from mountain {n}. "
    "Farmers have planted poplars along the banks of field {n} so that the soil stays in place. "
    "A gauge on pillar {n} has been read every morning for more than a hundred years. "
    "Its readings show that floods now come about nine days earlier than grandparents of {n} knew."
)


def words(texts: Sequence[str]) -> list[int]:
    return [len(text.split()) for text in texts]


@pytest.fixture(scope="module")
def pages() -> list[tuple[str, list[str]]]:
    return [(f"page {i}", [RIVERS.format(n=3 * i + j) for j in range(3)]) for i in range(40)]


def test_it_is_the_same_each_time(pages: list[tuple[str, list[str]]]) -> None:
    first, second = (corpus.make(pages, 20, 10, words) for _ in range(2))
    assert (first.documents, first.queries, first.qrels) == (
        second.documents,
        second.queries,
        second.qrels,
    )


def test_a_query_is_a_sentence_that_its_passage_lost(pages: list[tuple[str, list[str]]]) -> None:
    made = corpus.make(pages, 20, 10, words)
    texts = {document.id: document.text for document in made.documents}
    assert len(made.queries) == 10
    for query, grades in made.qrels.items():
        (passage,) = grades
        assert all(made.queries[query] not in text for text in texts.values())
        # The number is the place: its neighbours in the passage name that of the same paragraph.
        source = next(p for _, page in pages for p in page if made.queries[query] in p)
        assert any(sentence in texts[passage] for sentence in sentences(source))


def test_lengths_are_within_the_limits(pages: list[tuple[str, list[str]]]) -> None:
    made = corpus.make(pages, 20, 0, words)
    lengths = words([document.text for document in made.documents])
    assert min(lengths) >= corpus.SHORTEST
    assert max(lengths) <= corpus.LONGEST
    assert len(set(lengths)) > 3


def test_too_few_pages_are_told(pages: list[tuple[str, list[str]]]) -> None:
    with pytest.raises(ValueError, match="passages; 1000 are wanted"):
        corpus.make(pages, 1000, 10, words)


def test_prose_is_told_from_code_and_tables() -> None:
    text = (
        "Return the sum of all the numbers that the caller gave to it.\n\n"
        ">>> total([1, 2, 3])\n6\n\n"
        "x : int\n    The first number of the two that are to be added up here.\n\n"
        "Too short to count.\n\n"
        "The result is exact as long as every\nnumber is an integer, however large it is."
    )
    assert list(prose_of(text)) == [
        "Return the sum of all the numbers that the caller gave to it.",
        "The result is exact as long as every number is an integer, however large it is.",
    ]


def test_a_collection_s_documents_are_cut_to_one_passage(tmp_path: Path) -> None:
    long = " ".join(RIVERS.format(n=i) for i in range(5))
    documents = [Document("far", "Nothing of it."), Document("river", long, "Floods")]
    labels = {"q": {"river": 1}}
    write_beir(tmp_path / "given", Collection("given", documents, {"q": "When?"}, labels))
    made = corpus.of_collection(tmp_path / "made", tmp_path / "given", 40, words, most=1)
    assert list(made.passages) == ["river"], "the judged ones come first"
    assert made.passages["river"].startswith("Floods Each spring")
    assert words(list(made.passages.values()))[0] <= 41
    assert made.qrels == labels
    again = corpus.of_collection(tmp_path / "made", tmp_path / "given", 40, words, most=1)
    assert again.sha256 == made.sha256
