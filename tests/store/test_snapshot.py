"""What goes into an archive comes out of it, of one moment, in constant memory."""

import hashlib
import io
import json
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from service.store import snapshot
from service.store.document_store import DocumentStore
from service.store.snapshot import CHECKSUM_FILE, MANIFEST_FILE, write
from service.store.snapshot_reader import Snapshot
from service.types import Document, DocumentLimits
from tests.fixtures.library import DOCUMENTS
from tests.fixtures.snapshots import (
    IDENTITY,
    all_rows,
    archive_of,
    fill,
    halves,
    restored,
    unpacked,
)
from tests.fixtures.stores import now


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory):
    store = DocumentStore(tmp_path_factory.mktemp("store") / "store.db")
    fill(store)
    yield store
    store.close()


@pytest.fixture(scope="module")
def archive(store: DocumentStore) -> bytes:
    return archive_of(store)


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot, "DOCUMENTS_BYTES", 900)
    monkeypatch.setattr(snapshot, "VECTORS_BYTES", 3 * 4 * 8)


def test_a_store_comes_back_row_by_row_with_versions_vectors_and_what_is_staged(
    store: DocumentStore, archive: bytes, tmp_path: Path
) -> None:
    other = restored(archive, tmp_path / "store.db")
    assert all_rows(other) == all_rows(store)
    assert now(other).revision == now(store).revision
    with other.view() as view:
        assert view.unseen == (2, 0)
        assert view.counts == (len(DOCUMENTS) - 1, 2 * (len(DOCUMENTS) - 1))
        assert view.document("py-except").document.metadata == {"none": None, "half": 0.5}
    other.close()


def test_parts_are_bounded_and_vectors_are_cut_anywhere(
    store: DocumentStore, small_parts: None, tmp_path: Path
) -> None:
    content = archive_of(store)
    members = unpacked(content)
    kinds = [name.partition("-")[0] for name, _ in members]
    assert kinds.count("documents") > 3
    assert kinds.count("vectors") == -(-2 * (len(DOCUMENTS) - 1) // 3)
    longest = max(len(document.text.encode()) for document in DOCUMENTS)
    assert all(len(part) < 900 + longest + 500 for name, part in members if "documents" in name)
    other = restored(content, tmp_path / "store.db")
    assert all_rows(other) == all_rows(store)
    other.close()


def test_usual_tools_read_it(archive: bytes, store: DocumentStore) -> None:
    members = dict(unpacked(archive))
    assert [*members] == [
        "documents-00001.jsonl",
        "vectors-00001.npy",
        MANIFEST_FILE,
        CHECKSUM_FILE,
    ]
    vectors = np.load(io.BytesIO(members["vectors-00001.npy"]), allow_pickle=False)
    assert vectors.dtype == np.float32
    with store.view() as view:
        assert np.array_equal(vectors, np.concatenate([v for _, v in view.vectors(100)]))
    lines = [json.loads(line) for line in members["documents-00001.jsonl"].splitlines()]
    assert {line["id"] for line in lines} == {document.id for document in DOCUMENTS}
    assert [line["id"] for line in lines if line["staged"]] == ["py-except", DOCUMENTS[-1].id]
    manifest = json.loads(members[MANIFEST_FILE])
    assert manifest["documents"] == len(DOCUMENTS) - 1
    assert manifest["settings"] == {"rerank_depth": 7}
    wanted, name = members[CHECKSUM_FILE].decode().split()
    assert wanted == hashlib.sha256(members[name]).hexdigest()


def test_it_is_of_one_moment_whatever_is_written_meanwhile(tmp_path: Path) -> None:
    store = DocumentStore(tmp_path / "a.db")
    fill(store)
    before = all_rows(store)
    with store.view() as view:
        pieces = write(view, {})
        first = next(pieces)
        store.delete([document.id for document in DOCUMENTS])
        store.put([halves(Document("new", "came later"), 99)])
        content = first + b"".join(pieces)
    other = restored(content, tmp_path / "b.db")
    assert all_rows(other) == before
    other.close()
    store.close()


def test_an_empty_store_without_an_encoder(tmp_path: Path) -> None:
    store = DocumentStore(tmp_path / "store.db")
    found = Snapshot.verified(io.BytesIO(archive_of(store)))
    assert (
        found.manifest.encoder,
        found.manifest.documents,
        list(found.rows(DocumentLimits())),
    ) == (None, 0, [])
    store.close()


def test_memory_does_not_grow_with_the_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshot, "DOCUMENTS_BYTES", 1 << 18)
    monkeypatch.setattr(snapshot, "VECTORS_BYTES", 1 << 18)
    store = DocumentStore(tmp_path / "store.db")
    store.set_identity(IDENTITY)
    text = "word " * 5000
    for lot in range(2):
        rows = [Document(f"d{lot}-{i}", f"{lot}-{i} {text}") for i in range(100)]
        store.put([halves(row, i) for i, row in enumerate(rows)])
    with (tmp_path / "out.tar").open("w+b") as file:
        tracemalloc.start()
        with store.view() as view:
            for piece in write(view, {}):
                file.write(piece)
        rows_seen = sum(1 for _ in Snapshot.verified(file).rows(DocumentLimits()))
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        size = file.seek(0, 2)
    store.close()
    assert rows_seen == 200
    assert size > 5_000_000
    assert peak < 2_500_000
