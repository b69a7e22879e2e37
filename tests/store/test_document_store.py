import json
import sqlite3
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.errors import (
    IndexMismatchError,
    InferenceError,
    InvalidInputError,
    StoreError,
    UnprocessableTextError,
)
from service.store import unfinished
from service.store.document_store import DocumentStore
from service.store.records import Counts, EncodedDocument, content_hash
from service.types import Document, EncoderIdentity, Ids, Span, Vectors

Encoded = Callable[..., EncodedDocument]


def everything(store: DocumentStore, batch: int = 100) -> tuple[Ids, Vectors]:
    with store.view() as view:
        parts = list(view.vectors(batch))
    ids, vectors = zip(*parts, strict=True)
    return np.concatenate(ids), np.concatenate(vectors)


@pytest.mark.parametrize(
    "text",
    [
        "plain text",
        "𝒜😀👨‍👩‍👧 astral",
        "a\0b\0c NUL inside",
        "e\u0301 tiếng Việt",
        "line\r\nnext\u2028",
        "ไทย",
    ],
)
def test_a_passage_is_the_documents_text_cut_in_code_points(
    store: DocumentStore, encoded: Encoded, text: str
) -> None:
    store.put([encoded("d\0😀", text, title=text[::-1], passages=3, metadata={"a\0": text})])
    ids, _ = everything(store)
    passages = store.passages(ids.tolist())
    assert "".join(passages[id_].text for id_ in ids) == text
    for passage in passages.values():
        assert passage.text == text[passage.start : passage.end]
        assert passage.document_id == "d\0😀"
        assert passage.title == text[::-1]
        assert passage.metadata == {"a\0": text}


def test_metadata_comes_back_as_it_was(store: DocumentStore, encoded: Encoded) -> None:
    metadata = {"s": "x", "i": 3, "f": 0.1, "t": True, "none": None, "l": ["p", "q"], "e": []}
    store.put([encoded("d", metadata=metadata)])
    (passage, _) = store.passages(everything(store)[0].tolist()).values()
    assert json.dumps(passage.metadata) == json.dumps(metadata)


def test_vectors_come_back_to_the_bit_in_the_order_of_ids(
    store: DocumentStore, encoded: Encoded
) -> None:
    rows = [encoded(f"d{i}", passages=3) for i in range(7)]
    store.put(rows[:4])
    store.put(rows[4:])
    wanted = np.concatenate([row.vectors for row in rows])
    for batch in (1, 4, 21, 100):
        ids, vectors = everything(store, batch)
        assert ids.dtype == np.int64
        assert (np.diff(ids) > 0).all()
        assert vectors.dtype == np.float32
        assert np.array_equal(vectors, wanted)


def test_no_batch_of_vectors_is_larger_than_asked(store: DocumentStore, encoded: Encoded) -> None:
    store.put([encoded("d", passages=7)])
    with store.view() as view:
        assert [len(ids) for ids, _ in view.vectors(3)] == [3, 3, 1]


def test_putting_a_document_again_replaces_it_and_its_passages(
    store: DocumentStore, encoded: Encoded
) -> None:
    store.put([encoded("d", "old text", metadata={"year": 1}), encoded("other")])
    old, _ = everything(store)
    store.put([encoded("d", "new text!", metadata={"year": 2}, passages=1)])
    new, _ = everything(store)
    assert store.counts() == Counts(documents=2, passages=3)
    assert set(store.passages(old.tolist())) == set(old[2:].tolist())
    assert store.passages(new.tolist())[new[-1]].text == "new text!"
    assert store.allowed({"year": 1}).tolist() == []
    assert store.allowed({"year": 2}).tolist() == [new[-1]]


def test_a_passage_id_is_never_used_again(
    store: DocumentStore, encoded: Encoded, tmp_path: Path
) -> None:
    store.put([encoded("d")])
    first, _ = everything(store)
    store.delete(["d"])
    store.close()
    again = DocumentStore(tmp_path / "store.db")
    again.put([encoded("d")])
    second, _ = everything(again)
    again.close()
    assert second.min() > first.max()


def test_a_put_that_fails_changes_nothing(store: DocumentStore, encoded: Encoded) -> None:
    store.put([encoded("a", "before")])
    revision = store.revision()
    with pytest.raises(InvalidInputError) as caught:
        store.put([encoded("a", "after"), encoded("b", metadata={"bad": 2**63})])
    assert caught.value.field == "metadata.bad"
    assert store.counts() == Counts(documents=1, passages=2)
    assert store.revision() == revision
    assert {p.text for p in store.passages(everything(store)[0].tolist()).values()} == {
        "bef",
        "ore",
    }


def test_what_cannot_be_stored_unchanged_is_refused(store: DocumentStore, encoded: Encoded) -> None:
    for row, field in [
        (encoded("\ud800"), "id"),
        (encoded("d", "half \udfff"), "text"),
        (encoded("d", title="\ud800"), "title"),
    ]:
        with pytest.raises(UnprocessableTextError) as caught:
            store.put([row])
        assert caught.value.field == field
    values: list[Any] = [float("nan"), float("inf"), 2**63, "\ud800", ["a", 1], {"nested": 1}]
    for value in values:
        with pytest.raises(InvalidInputError):
            store.put([encoded("d", metadata={"field": value})])
    assert store.counts() == Counts(0, 0)


def test_vectors_and_spans_must_fit_the_text_and_the_encoder(
    store: DocumentStore, encoded: Encoded
) -> None:
    row = encoded("d", "four")
    unfit = [
        row._replace(spans=[Span(0, 2), Span(2, 5)]),
        row._replace(spans=[Span(3, 2), Span(2, 4)]),
        row._replace(spans=[Span(0, 4)]),
        row._replace(vectors=row.vectors[:, :7]),
        row._replace(vectors=row.vectors.astype(np.float64)),
    ]
    for bad in unfit:
        with pytest.raises(ValueError, match="document 'd'"):
            store.put([bad])
    with pytest.raises(InferenceError):
        store.put([row._replace(vectors=row.vectors * np.float32(np.nan))])


def test_a_document_may_have_no_passage(store: DocumentStore, encoded: Encoded) -> None:
    nothing = EncodedDocument(Document("d", ""), [], np.empty((0, 8), np.float32))
    store.put([nothing])
    assert store.counts() == Counts(documents=1, passages=0)


def test_unchanged_documents_are_known_by_their_hash(
    store: DocumentStore, encoded: Encoded
) -> None:
    rows = [encoded("a", metadata={"x": 1, "y": 2}), encoded("b")]
    store.put(rows)
    assert store.content_hashes(["a", "b", "c", "\ud800"]) == {
        row.document.id: content_hash(row.document) for row in rows
    }


def test_the_hash_covers_all_that_a_user_sends_but_not_the_order_of_keys() -> None:
    document = Document("id", "text", "title", {"x": 1, "y": "2"})
    changes: list[dict[str, Any]] = [
        {"id": "id2"},
        {"text": "text "},
        {"title": ""},
        {"metadata": {"x": 1}},
        {"metadata": {"x": True, "y": "2"}},
        {"metadata": {"x": 1, "y": 2}},
        {"title": "titletext", "text": ""},
    ]
    hashes = {content_hash(replace(document, **change)) for change in changes}
    assert len(hashes | {content_hash(document)}) == len(changes) + 1
    reordered = replace(document, metadata={"y": "2", "x": 1})
    assert content_hash(reordered) == content_hash(document)


def test_delete_takes_passages_along_and_passes_over_unknown_ids(
    store: DocumentStore, encoded: Encoded
) -> None:
    store.put([encoded("a", metadata={"k": 1}), encoded("b")])
    assert store.delete(["a", "unknown", "\ud800"]) == 1
    assert store.counts() == Counts(documents=1, passages=2)
    assert store.allowed({"k": 1}).tolist() == []
    assert store.content_hashes(["a"]) == {}


def test_more_ids_than_sqlite_takes_parameters(store: DocumentStore, encoded: Encoded) -> None:
    store.put([encoded("a")])
    ids, _ = everything(store)
    assert set(store.passages(range(100_000))) == set(ids.tolist())
    assert set(store.content_hashes([*map(str, range(40_000)), "a"])) == {"a"}


def test_the_revision_grows_with_writes_of_documents_only(
    store: DocumentStore, encoded: Encoded
) -> None:
    revisions = [store.revision()]
    store.put([encoded("a")])
    revisions.append(store.revision())
    store.delete(["a"])
    revisions.append(store.revision())
    assert revisions == sorted(set(revisions))
    store.put([])
    store.delete(["a"])
    assert store.revision() == revisions[-1]


def test_a_snapshot_does_not_see_later_writes(store: DocumentStore, encoded: Encoded) -> None:
    store.put([encoded("a")])
    with store.view() as view:
        store.put([encoded("b"), encoded("a")])
        assert view.counts == Counts(1, 2)
        assert sum(len(ids) for ids, _ in view.vectors(1)) == 2
        assert store.revision() > view.revision


def test_another_encoder_is_refused_with_what_differs_and_what_to_run(
    store: DocumentStore, identity: EncoderIdentity, tmp_path: Path
) -> None:
    store.set_identity(identity)
    others: dict[str, Any] = {
        "model": "other",
        "weights_sha256": "cd" * 32,
        "dimension": 16,
        "query_prefix": "",
        "passage_prefix": "",
        "max_length": 512,
        "normalizer_version": 2,
    }
    for field, value in others.items():
        with pytest.raises(IndexMismatchError) as caught:
            store.set_identity(replace(identity, **{field: value}))
        message = str(caught.value)
        assert f"{field} is {getattr(identity, field)!r} there, {value!r} here" in message
        assert f"secondpass reindex --data-dir {tmp_path}" in message
        assert not any(f"{other} is" in message for other in others if other != field)
    assert store.identity() == identity


def test_vectors_need_an_encoder(tmp_path: Path, encoded: Encoded) -> None:
    store = DocumentStore(tmp_path / "store.db")
    with pytest.raises(ValueError, match="set_identity"):
        store.put([encoded("a")])
    store.close()


def test_starting_over_keeps_documents_and_knows_which_are_left(
    store: DocumentStore, encoded: Encoded, identity: EncoderIdentity
) -> None:
    rows = [encoded(f"d{i}", f"text {i}", title="t", metadata={"i": i}) for i in range(3)]
    store.put(rows)
    other = replace(identity, weights_sha256="cd" * 32)
    store.start_over(other)
    assert store.identity() == other
    assert store.counts() == Counts(documents=0, passages=0)
    assert store.content_hashes(["d0"]) == {}

    def waiting() -> list[Document]:
        with store.view() as view:
            return [staged.document for staged in unfinished.fresh(view.connection, 2)]

    assert waiting() == [row.document for row in rows[:2]]
    store.put(rows[:2])
    assert waiting() == [rows[2].document]
    store.put(rows[2:])
    assert waiting() == []
    assert store.counts() == Counts(documents=3, passages=6)
    assert len(store.allowed({"i": [0, 1, 2]})) == 6


def test_a_vector_that_lost_bytes_is_noticed(
    store: DocumentStore, encoded: Encoded, tmp_path: Path
) -> None:
    store.put([encoded("a")])
    with sqlite3.connect(tmp_path / "store.db") as connection:
        connection.execute("UPDATE passages SET vector = substr(vector, 5) WHERE id = 2")
    connection.close()
    with pytest.raises(StoreError, match="passages 1 to 2 does not have 8 dimensions"):
        everything(store)


def test_readers_in_threads_see_whole_documents_while_another_writes(
    store: DocumentStore, encoded: Encoded
) -> None:
    store.put([encoded("d", "0" * 9, passages=3)])
    done = threading.Event()
    seen: list[str] = []
    failures: list[BaseException] = []

    def read() -> None:
        try:
            while not done.is_set():
                with store.view() as view:
                    ids = np.concatenate([ids for ids, _ in view.vectors(2)]).tolist()
                texts = [passage.text for passage in store.passages(ids).values()]
                # Between the two reads the document may have been replaced: then all are gone.
                assert len(texts) in (0, 3)
                assert len(set(texts)) <= 1
                seen.extend(texts)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=read) for _ in range(6)]
    for thread in threads:
        thread.start()
    for i in range(100):
        store.put([encoded("d", str(i % 10) * 9, passages=3)])
    done.set()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(set(seen)) > 1


def test_a_note_is_kept_with_the_documents_or_not_at_all(
    store: DocumentStore, encoded: Encoded
) -> None:
    store.put([encoded("a")], ("job", "first"))
    assert store.note("job") == "first"
    with pytest.raises(InvalidInputError):
        store.put([encoded("b"), encoded("c", metadata={"n": object()})], ("job", "second"))
    assert store.note("job") == "first"
    assert store.counts().documents == 1


def test_documents_are_read_one_by_one_as_they_are_asked_for(
    store: DocumentStore, encoded: Encoded
) -> None:
    store.put([encoded(f"d{i}") for i in range(5)])
    store.stage([Document("d1", "It changes.")])
    with store.view() as view:
        assert view.ids({}, "d0", 3) == ["d1", "d2", "d3"]
        found = view.documents({}, "", 10)
        assert next(found).document.id == "d0"
        assert next(found).document.text == "It changes."
        assert [stored.document.id for stored in found] == ["d2", "d3", "d4"]
