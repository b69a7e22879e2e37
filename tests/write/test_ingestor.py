"""Documents on their way from a file into the store."""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from service.errors import InferenceError, StoreFullError
from service.store.data_folder import DataFolder
from service.store.document_store import DocumentStore
from service.types import Document, EncodedDocument, Vectors
from service.write import ingestor
from service.write.ingestor import Ingestor
from tests.fixtures.doubles import HashEncoder
from tests.fixtures.stores import now


def test_of_several_with_one_id_the_last_counts_also_where_it_is_an_earlier_one_again(
    tmp_path: Path,
) -> None:
    first, second = Document("a", "The first text."), Document("a", "Another text.")
    with DataFolder.open(tmp_path / "data") as folder:
        folder.store.set_identity(HashEncoder.identity)
        report = Ingestor(folder.store, HashEncoder(), overlap=0).ingest([first, second, first])
        assert (report.added, report.updated, report.unchanged) == (1, 2, 0)
        with folder.store.view() as store:
            stored = store.document("a")
    assert stored is not None
    assert stored.document == first


class CountingEncoder(HashEncoder):
    """Notes what it is asked for."""

    def __init__(self, *, static: bool = False) -> None:
        self.static = static
        self.counted: list[int] = []
        self.encoded: list[int] = []

    def count_tokens(self, texts: Sequence[str], /) -> list[int]:
        self.counted.append(len(texts))
        return super().count_tokens(texts)

    def encode_passages(self, texts: Sequence[str], /) -> Vectors:
        self.encoded.append(len(texts))
        return super().encode_passages(texts)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[DocumentStore]:
    with DataFolder.open(tmp_path / "data") as folder:
        folder.store.set_identity(HashEncoder.identity)
        yield folder.store


WORDS = 7
"""Tokens of each text of `tides`, and of `CountingEncoder`."""


def tides(number: int) -> list[Document]:
    return [Document(f"d{i}", f"The tide of day {i} rises twice.", "Tides") for i in range(number)]


def test_tokens_of_many_texts_are_counted_at_once(store: DocumentStore) -> None:
    encoder = CountingEncoder()
    Ingestor(store, encoder, overlap=0).ingest(tides(64))
    assert encoder.counted == [64 + 2]  # the title, alone and before a text
    assert encoder.encoded == [64]


def test_batches_hold_as_many_tokens_whatever_lots_they_are_read_in(
    store: DocumentStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingestor, "BATCH_TOKENS", 100 * WORDS)
    encoder = CountingEncoder()
    long = [Document(f"l{i}", " ".join(f"word{i}" for _ in range(100))) for i in range(20)]
    Ingestor(store, encoder, overlap=0).ingest([*tides(150), *long])
    # 100 short ones; 50 and four of two passages each; seven of these, which are 700 words; nine.
    assert encoder.encoded == [100, 50 + 2 * 4, 2 * 7, 2 * 7, 2 * 2]


def test_a_static_encoder_gets_more_at_once(
    store: DocumentStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingestor, "STATIC_BATCH_TOKENS", 2000 * WORDS)
    encoder = CountingEncoder(static=True)
    heard: list[tuple[int, int]] = []
    report = Ingestor(store, encoder, overlap=0).ingest(
        tides(2100), lambda report: heard.append((report.passages, now(store).counts.passages))
    )
    assert encoder.encoded == [2000, 100]
    assert all(told <= there for told, there in heard)
    assert heard[-1] == (2100, 2100)
    assert (report.added, report.updated) == (2100, 0)
    with store.view() as view:
        order = [passage.document_id for passage in view.passages(range(1, 2101)).values()]
    assert order == [document.id for document in tides(2100)]


@pytest.mark.parametrize("static", [False, True])
def test_a_batch_is_encoded_while_another_is_stored(
    store: DocumentStore, monkeypatch: pytest.MonkeyPatch, static: bool
) -> None:
    monkeypatch.setattr(ingestor, "STATIC_BATCH_TOKENS", 4 * WORDS)
    monkeypatch.setattr(ingestor, "BATCH_TOKENS", 4 * WORDS)
    encoder = CountingEncoder(static=static)
    put, beside = store.put, []

    def slow(rows: Sequence[EncodedDocument], *more: Any) -> list[list[int]]:
        deadline = time.monotonic() + 5.0
        while len(encoder.encoded) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        beside.append(len(encoder.encoded))
        return put(rows, *more)

    monkeypatch.setattr(store, "put", slow)
    Ingestor(store, encoder, overlap=0).ingest(tides(8))
    assert beside == [2, 2]


@pytest.mark.parametrize("static", [False, True])
def test_what_was_stored_before_a_failure_stays(
    store: DocumentStore, monkeypatch: pytest.MonkeyPatch, static: bool
) -> None:
    monkeypatch.setattr(ingestor, "STATIC_BATCH_TOKENS", 4 * WORDS)
    monkeypatch.setattr(ingestor, "BATCH_TOKENS", 4 * WORDS)
    put = store.put

    def full(rows: Sequence[EncodedDocument], *more: Any) -> list[list[int]]:
        if rows[0].document.id == "d8":
            raise StoreFullError("the disk is full")
        return put(rows, *more)

    monkeypatch.setattr(store, "put", full)
    with pytest.raises(StoreFullError):
        Ingestor(store, CountingEncoder(static=static), overlap=0).ingest(tides(20))
    assert now(store).counts.documents == 8


@pytest.mark.parametrize("static", [False, True])
def test_one_that_cannot_be_read_is_refused_alone(store: DocumentStore, static: bool) -> None:
    rows = [*tides(2), Document("bad", "half a \ud800 pair"), Document("none", "\u200b")]
    report = Ingestor(store, CountingEncoder(static=static), overlap=0).ingest(rows)
    assert [refused.source for refused in report.refused] == ["bad", "none"]
    assert report.added == 2


def test_of_several_with_one_id_among_many_the_last_counts(store: DocumentStore) -> None:
    rows = tides(10)
    later = [Document("d3", "Another text."), Document("d3", rows[3].text, "Tides"), rows[4]]
    report = Ingestor(store, CountingEncoder(static=True), overlap=0).ingest([*rows, *later])
    assert (report.added, report.updated, report.unchanged) == (10, 2, 1)


def test_versions_that_are_under_way_together_are_stored_in_their_order(
    store: DocumentStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingestor, "BATCH_TOKENS", 1)
    texts = ["first", "second", "second", "first", "first", "last"]
    report = Ingestor(store, CountingEncoder(), overlap=0).ingest(
        Document("d", f"The {text} version.") for text in texts
    )
    assert (report.added, report.updated, report.unchanged) == (1, 3, 2)
    with store.view() as view:
        stored = view.document("d")
    assert stored is not None
    assert stored.document.text == "The last version."


class Moody(CountingEncoder):
    """Fails on a text with a certain word."""

    def encode_passages(self, texts: Sequence[str], /) -> Vectors:
        if any("unlucky" in text for text in texts):
            raise InferenceError("a vector has no direction")
        return super().encode_passages(texts)


def test_what_waits_is_encoded_in_batches_too_and_one_that_fails_is_named(
    store: DocumentStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingestor, "BATCH_TOKENS", 40 * WORDS)
    long = Document("long", " ".join(f"word{i}" for i in range(3000)))
    bad, none = Document("bad", "An unlucky text."), Document("none", "\u200b")
    for document in [*tides(100), bad, none, long]:
        store.stage([document])
    encoder, heard = Moody(), list[int]()
    # Nothing of the last batch is stored before each of its documents was tried alone.
    assert Ingestor(store, encoder, overlap=0).index_waiting(heard.append) == 101 + 2
    assert encoder.encoded[:2] == [40, 40]
    assert heard[:2] == [40, 80]
    assert heard == sorted(heard)
    with store.view() as view:
        assert view.counts.documents == 101
        found = [view.document(id_) for id_ in ("bad", "none")]
    problems = [one and one.problem for one in found]
    assert problems == [
        "a vector has no direction",
        "nothing is left of the text once it is cleaned",
    ]


def test_what_waits_is_read_in_lots_of_bounded_length(
    store: DocumentStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingestor, "LOT_CHARS", 40)  # reached with the second text
    for document in tides(4):
        store.stage([document])
    encoder = CountingEncoder()
    assert Ingestor(store, encoder, overlap=0).index_waiting() == 4
    assert encoder.counted == [2 + 2, 2 + 2]
    assert encoder.encoded == [4]
