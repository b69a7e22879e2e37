"""What every `Store` has to keep: documents, passages and vectors."""

import json
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from service.errors import (
    InferenceError,
    InvalidInputError,
    UnprocessableTextError,
)
from service.store_protocol import Store
from service.types import (
    Counts,
    Document,
    EncodedDocument,
    EncoderIdentity,
    Ids,
    Span,
    Vectors,
)
from tests.fixtures.stores import now

Encoded = Callable[..., EncodedDocument]


def all_vectors(store: Store, batch: int = 100) -> tuple[Ids, Vectors]:
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
    store: Store, encoded: Encoded, text: str
) -> None:
    store.put([encoded("d\0😀", text, title=text[::-1], passages=3, metadata={"a\0": text})])
    ids, _ = all_vectors(store)
    passages = now(store).passages(ids.tolist())
    assert "".join(passages[id_].text for id_ in ids) == text
    for passage in passages.values():
        assert passage.text == text[passage.start : passage.end]
        assert passage.document_id == "d\0😀"
        assert passage.title == text[::-1]
        assert passage.metadata == {"a\0": text}


def test_metadata_comes_back_as_it_was(store: Store, encoded: Encoded) -> None:
    metadata = {"s": "x", "i": 3, "f": 0.1, "t": True, "none": None, "l": ["p", "q"], "e": []}
    store.put([encoded("d", metadata=metadata)])
    (passage, _) = now(store).passages(all_vectors(store)[0].tolist()).values()
    assert json.dumps(passage.metadata) == json.dumps(metadata)


def test_vectors_come_back_to_the_bit_in_the_order_of_ids(store: Store, encoded: Encoded) -> None:
    rows = [encoded(f"d{i}", passages=3) for i in range(7)]
    store.put(rows[:4])
    store.put(rows[4:])
    wanted = np.concatenate([row.vectors for row in rows])
    for batch in (1, 4, 21, 100):
        ids, vectors = all_vectors(store, batch)
        assert ids.dtype == np.int64
        assert (np.diff(ids) > 0).all()
        assert vectors.dtype == np.float32
        assert np.array_equal(vectors, wanted)


def test_no_batch_of_vectors_is_larger_than_asked(store: Store, encoded: Encoded) -> None:
    store.put([encoded("d", passages=7)])
    with store.view() as view:
        assert [len(ids) for ids, _ in view.vectors(3)] == [3, 3, 1]


def test_putting_a_document_again_replaces_it_and_its_passages(
    store: Store, encoded: Encoded
) -> None:
    store.put([encoded("d", "old text", metadata={"year": 1}), encoded("other")])
    old, _ = all_vectors(store)
    store.put([encoded("d", "new text!", metadata={"year": 2}, passages=1)])
    new, _ = all_vectors(store)
    assert now(store).counts == Counts(documents=2, passages=3)
    assert set(now(store).passages(old.tolist())) == set(old[2:].tolist())
    assert now(store).passages(new.tolist())[new[-1]].text == "new text!"
    assert now(store).allowed({"year": 1}).tolist() == []
    assert now(store).allowed({"year": 2}).tolist() == [new[-1]]


def test_a_passage_id_is_never_used_again(
    store: Store, encoded: Encoded, open_store: Callable[[], Store]
) -> None:
    store.put([encoded("d")])
    first, _ = all_vectors(store)
    store.delete(["d"])
    store.close()
    again = open_store()
    again.put([encoded("d")])
    second, _ = all_vectors(again)
    again.close()
    assert second.min() > first.max()


def test_a_put_that_fails_changes_nothing(store: Store, encoded: Encoded) -> None:
    store.put([encoded("a", "before")])
    revision = now(store).revision
    with pytest.raises(InvalidInputError) as caught:
        store.put([encoded("a", "after"), encoded("b", metadata={"bad": 2**63})])
    assert caught.value.field == "metadata.bad"
    assert now(store).counts == Counts(documents=1, passages=2)
    assert now(store).revision == revision
    assert {p.text for p in now(store).passages(all_vectors(store)[0].tolist()).values()} == {
        "bef",
        "ore",
    }


def test_what_cannot_be_stored_unchanged_is_refused(store: Store, encoded: Encoded) -> None:
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
    assert now(store).counts == Counts(0, 0)


def test_vectors_and_spans_must_fit_the_text_and_the_encoder(
    store: Store, encoded: Encoded
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


def test_a_document_may_have_no_passage(store: Store, encoded: Encoded) -> None:
    nothing = EncodedDocument(Document("d", ""), [], np.empty((0, 8), np.float32))
    store.put([nothing])
    assert now(store).counts == Counts(documents=1, passages=0)


def test_unchanged_documents_are_known_by_their_hash(store: Store, encoded: Encoded) -> None:
    rows = [encoded("a", metadata={"x": 1, "y": 2}), encoded("b")]
    store.put(rows)
    assert now(store).content_hashes(["a", "b", "c", "\ud800"]) == {
        row.document.id: row.document.content_hash for row in rows
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
    hashes = {replace(document, **change).content_hash for change in changes}
    assert len(hashes | {document.content_hash}) == len(changes) + 1
    reordered = replace(document, metadata={"y": "2", "x": 1})
    assert reordered.content_hash == document.content_hash


def test_delete_takes_passages_along_and_passes_over_unknown_ids(
    store: Store, encoded: Encoded
) -> None:
    store.put([encoded("a", metadata={"k": 1}), encoded("b")])
    assert store.delete(["a", "unknown", "\ud800"]) == 1
    assert now(store).counts == Counts(documents=1, passages=2)
    assert now(store).allowed({"k": 1}).tolist() == []
    assert now(store).content_hashes(["a"]) == {}


def test_more_ids_than_sqlite_takes_parameters(store: Store, encoded: Encoded) -> None:
    store.put([encoded("a")])
    ids, _ = all_vectors(store)
    assert set(now(store).passages(range(100_000))) == set(ids.tolist())
    assert set(now(store).content_hashes([*map(str, range(40_000)), "a"])) == {"a"}


def test_the_revision_grows_with_writes_of_documents_only(store: Store, encoded: Encoded) -> None:
    revisions = [now(store).revision]
    store.put([encoded("a")])
    revisions.append(now(store).revision)
    store.delete(["a"])
    revisions.append(now(store).revision)
    assert revisions == sorted(set(revisions))
    store.put([])
    store.delete(["a"])
    assert now(store).revision == revisions[-1]


def test_a_snapshot_does_not_see_later_writes(store: Store, encoded: Encoded) -> None:
    store.put([encoded("a")])
    with store.view() as view:
        store.put([encoded("b"), encoded("a")])
        assert view.counts == Counts(1, 2)
        assert sum(len(ids) for ids, _ in view.vectors(1)) == 2
        assert now(store).revision > view.revision


def test_vectors_need_an_encoder(open_store: Callable[[], Store], encoded: Encoded) -> None:
    store = open_store()
    with pytest.raises(ValueError, match="set_identity"):
        store.put([encoded("a")])
    store.close()


def test_starting_over_keeps_documents_and_knows_which_are_left(
    store: Store, encoded: Encoded, identity: EncoderIdentity
) -> None:
    rows = [encoded(f"d{i}", f"text {i}", title="t", metadata={"i": i}) for i in range(3)]
    store.put(rows)
    other = replace(identity, weights_sha256="cd" * 32)
    store.start_over(other)
    assert now(store).identity == other
    assert now(store).counts == Counts(documents=0, passages=0)
    assert now(store).content_hashes(["d0"]) == {}

    def waiting() -> list[Document]:
        with store.view() as view:
            return [staged.document for staged in view.waiting(2)]

    assert waiting() == [row.document for row in rows[:2]]
    store.put(rows[:2])
    assert waiting() == [rows[2].document]
    store.put(rows[2:])
    assert waiting() == []
    assert now(store).counts == Counts(documents=3, passages=6)
    assert len(now(store).allowed({"i": [0, 1, 2]})) == 6


def test_readers_in_threads_see_whole_documents_while_another_writes(
    store: Store, encoded: Encoded
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
                texts = [passage.text for passage in now(store).passages(ids).values()]
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


def test_a_note_is_kept_with_the_documents_or_not_at_all(store: Store, encoded: Encoded) -> None:
    store.put([encoded("a")], ("job", "first"))
    assert now(store).note("job") == "first"
    with pytest.raises(InvalidInputError):
        store.put([encoded("b"), encoded("c", metadata={"n": object()})], ("job", "second"))
    assert now(store).note("job") == "first"
    assert now(store).counts.documents == 1


def test_documents_are_read_one_by_one_as_they_are_asked_for(
    store: Store, encoded: Encoded
) -> None:
    store.put([encoded(f"d{i}") for i in range(5)])
    store.stage([Document("d1", "It changes.")])
    with store.view() as view:
        some = view.documents({}, "d0", 3)
        assert [stored.document.id for stored in some] == ["d1", "d2", "d3"]
        found = view.documents({}, "", 10)
        assert next(found).document.id == "d0"
        assert next(found).document.text == "It changes."
        assert [stored.document.id for stored in found] == ["d2", "d3", "d4"]
