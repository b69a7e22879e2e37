"""Long documents are encoded in slices: short ones overtake, searches see each of them whole."""

import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from math import ceil
from pathlib import Path

import pytest

from service.errors import InferenceError, UnprocessableTextError
from service.store.data_folder import DataFolder
from service.store.document_store import DocumentStore
from service.types import Document, StoredDocument, Vectors
from service.write.document_encoder import Chunked, DocumentEncoder
from service.write.ingestor import Ingestor
from service.write.staged import LONG_CHARS, NEWEST_FIRST, STAGED_DOCUMENTS, STAGED_PASSAGES
from tests.fixtures.doubles import HashEncoder
from tests.fixtures.stores import now

LONG_TEXT = "\n\n".join(f"Paragraph {n} tells of tides and of moons." for n in range(1000))
"""Of 120 passages or so."""


class Counting(HashEncoder):
    """Remembers how many passages were encoded at a time."""

    def __init__(self) -> None:
        self.calls: list[int] = []
        self.fails_at = -1

    def encode_passages(self, texts: Sequence[str], /) -> Vectors:
        self.calls.append(len(texts))
        if self.fails_at == len(self.calls):
            raise InferenceError("a vector is not finite")
        return super().encode_passages(texts)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[DocumentStore]:
    with DataFolder.open(tmp_path / "data") as folder:
        folder.store.set_identity(HashEncoder.identity)
        yield folder.store


@pytest.fixture
def encoder() -> Counting:
    return Counting()


@pytest.fixture
def ingestor(store: DocumentStore, encoder: Counting) -> Ingestor:
    return Ingestor(store, encoder, overlap=0)


def found(store: DocumentStore, id_: str) -> StoredDocument:
    with store.view() as view:
        document = view.document(id_)
    assert document is not None
    return document


def passages(text: str = LONG_TEXT) -> int:
    (chunked,) = DocumentEncoder(HashEncoder(), overlap=0).chunk([Document("d", text)])
    assert isinstance(chunked, Chunked)
    return len(chunked.spans)


def steps_until_indexed(ingestor: Ingestor, store: DocumentStore, id_: str) -> int:
    for steps in range(1, 2000):
        ingestor.index_some()
        if found(store, id_).indexed:
            return steps
    raise AssertionError("it is never indexed")


def test_a_short_document_overtakes_a_long_one(
    store: DocumentStore, ingestor: Ingestor, encoder: Counting
) -> None:
    store.stage([Document("long", LONG_TEXT * 6)])
    assert len(LONG_TEXT) * 6 > 250_000
    ingestor.index_some()
    store.stage([Document("short", "tides")])
    assert steps_until_indexed(ingestor, store, "short") == 1
    assert not found(store, "long").indexed
    assert max(encoder.calls) <= STAGED_PASSAGES
    while ingestor.index_staged():
        pass
    assert found(store, "long").indexed
    assert max(encoder.calls) <= STAGED_PASSAGES


def test_a_short_document_in_the_midst_of_many_long_ones_waits_for_none(
    store: DocumentStore, ingestor: Ingestor, encoder: Counting
) -> None:
    count = 2 * (STAGED_DOCUMENTS + NEWEST_FIRST)
    rows = [Document(f"long {n}", LONG_TEXT) for n in range(count)]
    store.stage([*rows[: count // 2], Document("short", "tides"), *rows[count // 2 :]])
    assert steps_until_indexed(ingestor, store, "short") <= 3
    assert sum(encoder.calls) <= 3 * STAGED_PASSAGES + 1


def test_a_new_short_document_is_not_behind_many_earlier_ones(
    store: DocumentStore, ingestor: Ingestor
) -> None:
    store.stage([Document(f"d{n}", "tides " * (LONG_CHARS // 7)) for n in range(200)])
    ingestor.index_some()
    store.stage([Document("new", "tides")])
    assert steps_until_indexed(ingestor, store, "new") == 1
    assert not found(store, "d100").indexed


def test_a_long_document_gets_on_however_many_short_ones_come(
    store: DocumentStore, ingestor: Ingestor
) -> None:
    store.stage([Document("long", LONG_TEXT)])
    for step in range(ceil(passages() / STAGED_PASSAGES)):
        assert not found(store, "long").indexed
        store.stage([Document(f"short {step} {n}", "tides") for n in range(40)])
        ingestor.index_some()
    assert found(store, "long").indexed


def test_the_longest_gets_on_although_shorter_ones_overtake_it(
    store: DocumentStore, ingestor: Ingestor
) -> None:
    slices = ceil(passages(LONG_TEXT * 2) / STAGED_PASSAGES)
    store.stage([Document("longest", LONG_TEXT * 2)])
    ingestor.index_some()
    store.stage([Document("long", LONG_TEXT)])
    steps_until_indexed(ingestor, store, "long")
    assert not found(store, "longest").indexed
    for n in range(2 * slices):
        store.stage([Document(f"long {n}", LONG_TEXT)])
        ingestor.index_some()
    assert found(store, "longest").indexed


def test_the_oldest_is_cut_once_however_many_shorter_ones_come(
    store: DocumentStore, ingestor: Ingestor, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut: list[str] = []
    chunk = ingestor._documents.chunk

    def counted(documents: Sequence[Document]) -> Iterable[Chunked | UnprocessableTextError]:
        cut.extend(document.id for document in documents)
        return chunk(documents)

    monkeypatch.setattr(ingestor._documents, "chunk", counted)
    store.stage([Document("longest", LONG_TEXT * 2)])
    ingestor.index_some()
    for n in range(6):
        store.stage([Document(f"long {n}", LONG_TEXT[: -100 * (n + 1)])])
        ingestor.index_some()
        ingestor.index_some()
    assert Counter(cut) == {"longest": 1, **{f"long {n}": 1 for n in range(6)}}


def test_searches_see_all_of_a_long_document_or_nothing(
    store: DocumentStore, ingestor: Ingestor
) -> None:
    store.stage([Document("long", "the one before")])
    ingestor.index_some()
    store.stage([Document("long", LONG_TEXT)])
    seen = set()
    while ingestor.index_some().worked:
        seen.add(now(store).counts)
    assert seen == {(1, 1), (1, passages())}
    with store.view() as view:
        spans = [(p.start, p.text) for p in view.passages(view.allowed({}).tolist()).values()]
    assert len(spans) == passages()
    assert all(LONG_TEXT[start:].startswith(text) for start, text in spans)


def test_the_next_process_goes_on_where_the_last_one_was(
    store: DocumentStore, ingestor: Ingestor, encoder: Counting
) -> None:
    store.stage([Document("long", LONG_TEXT)])
    for _ in range(5):
        ingestor.index_some()
    assert sum(encoder.calls) == 5 * STAGED_PASSAGES
    another = Counting()
    Ingestor(store, another, overlap=0).index_staged()
    assert sum(another.calls) == passages() - 5 * STAGED_PASSAGES
    whole = now(store).counts
    fresh = Counting()
    store.delete(["long"])
    store.stage([Document("long", LONG_TEXT)])
    Ingestor(store, fresh, overlap=0).index_staged()
    assert (sum(fresh.calls), now(store).counts) == (passages(), whole)


def test_new_metadata_of_a_long_document_costs_no_passage(
    store: DocumentStore, ingestor: Ingestor, encoder: Counting
) -> None:
    store.stage([Document("long", LONG_TEXT)])
    for edition in range(5):
        ingestor.index_some()
        store.stage([Document("long", LONG_TEXT, metadata={"edition": edition})])
    while ingestor.index_staged():
        pass
    assert sum(encoder.calls) == passages()
    assert found(store, "long").document.metadata == {"edition": 4}
    assert found(store, "long").indexed


def test_a_long_document_that_is_written_again_or_deleted_leaves_nothing(
    store: DocumentStore, ingestor: Ingestor, tmp_path: Path
) -> None:
    store.stage([Document("a", LONG_TEXT), Document("b", LONG_TEXT), Document("c", LONG_TEXT)])
    for _ in range(6):
        ingestor.index_some()
    store.stage([Document("a", "short now")])
    store.stage([Document("b", LONG_TEXT[100:])])
    store.delete(["c"])
    while ingestor.index_staged():
        pass
    assert now(store).counts == (2, 1 + passages(LONG_TEXT[100:]))
    assert left(tmp_path) == [0, 0]


def test_a_slice_that_cannot_be_encoded_is_the_document_s_problem(
    store: DocumentStore, ingestor: Ingestor, encoder: Counting, tmp_path: Path
) -> None:
    store.stage([Document("long", LONG_TEXT), Document("short", "tides")])
    encoder.fails_at = 4
    while ingestor.index_staged():
        pass
    assert "not finite" in str(found(store, "long").problem)
    assert found(store, "short").indexed
    assert left(tmp_path)[1] == 0


def test_another_encoder_begins_a_long_document_again(
    store: DocumentStore, ingestor: Ingestor, tmp_path: Path
) -> None:
    store.stage([Document("long", LONG_TEXT)])
    ingestor.index_some()
    store.start_over(HashEncoder.identity)
    assert left(tmp_path) == [0, 0]
    ingestor.index_staged()
    assert now(store).counts == (1, passages())


def test_a_kill_amid_a_long_document_loses_nothing_and_repeats_a_slice(tmp_path: Path) -> None:
    with DataFolder.open(tmp_path) as folder:
        folder.store.set_identity(HashEncoder.identity)
        folder.store.stage([Document("long", LONG_TEXT), Document("short", "tides")])
    command = [sys.executable, "-m", "tests.faults.index_slowly", str(tmp_path)]
    encoded = 0
    for _ in range(2):
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            lines = [process.stdout.readline() for _ in range(4)]
            process.kill()
            lines += process.stdout.readlines()
        encoded += sum(map(int, lines))
    with DataFolder.open(tmp_path) as folder:
        last = Counting()
        ingestor = Ingestor(folder.store, last, overlap=0)
        while ingestor.index_staged():
            pass
        assert now(folder.store).counts == (2, 1 + passages())
    repeated = encoded + sum(last.calls) - passages() - 1
    assert 0 <= repeated <= 2 * STAGED_PASSAGES
    assert sum(last.calls) < passages() - 4 * STAGED_PASSAGES


def left(path: Path) -> list[int]:
    """Rows of what is unfinished in the store under `path`."""
    with sqlite3.connect(path / "data" / "store.db") as connection:
        tables = ("unfinished", "unfinished_passages")
        return [connection.execute(f"SELECT count(*) FROM {t}").fetchone()[0] for t in tables]
