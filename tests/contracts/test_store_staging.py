"""What every `Store` has to keep of documents that wait for their passages."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from service.errors import (
    ForbiddenError,
    InferenceError,
    InvalidInputError,
    UnprocessableTextError,
    VersionConflictError,
)
from service.store_protocol import Store
from service.types import (
    Counts,
    Document,
    EncodedDocument,
    EncoderIdentity,
    Ids,
    Mark,
    StoredDocument,
    Written,
)
from tests.fixtures.stores import encoded_of, everything, now, staged

Encoded = Callable[..., EncodedDocument]


def document(store: Store, id_: str) -> StoredDocument | None:
    with store.view() as view:
        return view.document(id_)


def publish_all(store: Store, encoded: Encoded) -> None:
    store.publish([(row, encoded_of(row, encoded)) for row in staged(store)])


def texts(store: Store) -> list[str]:
    """What searches can find, by passage."""
    ids = now(store).allowed({}).tolist()
    passages = now(store).passages(ids)
    return [passages[id_].text for id_ in ids]


def test_a_staged_document_waits_and_is_seen_once_it_is_published(
    store: Store, encoded: Encoded
) -> None:
    one = Document("d", "one two", "title", {"n": 1})
    (written,) = store.stage([one])
    assert written == Written("d", written.version, created=True, unchanged=False)
    assert document(store, "d") == StoredDocument(one, written.version, indexed=False, problem=None)
    assert (now(store).counts, texts(store)) == (Counts(0, 0), [])
    assert now(store).allowed({"n": 1}).tolist() == []
    with store.view() as view:
        assert view.still_staged([0, written.version])
        assert not view.still_staged([written.version - 1, written.version + 1])

    publish_all(store, encoded)
    assert document(store, "d") == StoredDocument(one, written.version, indexed=True, problem=None)
    assert (now(store).counts, texts(store)) == (Counts(1, 2), ["one", " two"])
    assert len(now(store).allowed({"n": 1})) == 2
    assert staged(store) == []
    with store.view() as view:
        assert not view.still_staged([written.version])


def test_searches_see_the_one_before_until_the_new_one_is_published(
    store: Store, encoded: Encoded
) -> None:
    store.put([encoded("d", "old text", metadata={"n": 1})])
    new = Document("d", "new text", metadata={"n": 2})
    store.stage([new])
    found = document(store, "d")
    assert found is not None
    assert (found.document, found.indexed) == (new, False)
    assert texts(store) == ["old ", "text"]
    assert (len(now(store).allowed({"n": 1})), len(now(store).allowed({"n": 2}))) == (2, 0)
    publish_all(store, encoded)
    assert texts(store) == ["new ", "text"]
    assert (len(now(store).allowed({"n": 1})), len(now(store).allowed({"n": 2}))) == (0, 2)
    assert now(store).counts == Counts(1, 2)


def test_new_metadata_alone_needs_no_encoding(store: Store, encoded: Encoded) -> None:
    store.put([encoded("d", metadata={"n": 1, "old": "x"})])
    passages, revision = now(store).allowed({}).tolist(), now(store).revision
    (written,) = store.stage([Document("d", "one two", metadata={"n": 2})])
    assert written == Written("d", written.version, created=False, unchanged=False)
    assert written.version > revision
    assert now(store).revision == written.version
    assert staged(store) == []
    assert now(store).allowed({"n": 2}).tolist() == passages
    assert [
        now(store).allowed({"n": 1}).tolist(),
        now(store).allowed({"old": "x"}).tolist(),
    ] == [[], []]
    (passage, _) = now(store).passages(passages).values()
    assert passage.metadata == {"n": 2}
    found = document(store, "d")
    assert found is not None
    assert (found.version, found.indexed) == (written.version, True)


def test_new_metadata_alone_takes_back_a_text_that_waits(store: Store, encoded: Encoded) -> None:
    store.put([encoded("d", metadata={"n": 1})])
    store.stage([Document("d", "another", metadata={"n": 1})])
    waiting = staged(store)
    store.stage([Document("d", "one two", metadata={"n": 3})])
    assert staged(store) == []
    store.publish([(waiting[0], encoded_of(waiting[0], encoded))])
    assert texts(store) == ["one", " two"]
    assert len(now(store).allowed({"n": 3})) == 2


def test_the_same_again_changes_nothing(store: Store, encoded: Encoded) -> None:
    one = Document("d", "one two", metadata={"a": 1, "b": 2})
    (first,) = store.stage([one])
    for again in (one, replace(one, metadata={"b": 2, "a": 1})):
        before = everything(store)
        assert store.stage([again]) == [first._replace(created=False, unchanged=True)]
        assert everything(store) == before
    publish_all(store, encoded)
    before = everything(store)
    assert store.stage([one]) == [first._replace(created=False, unchanged=True)]
    assert everything(store) == before


def test_of_several_with_one_id_the_last_one_counts(store: Store, encoded: Encoded) -> None:
    first, second = store.stage([Document("d", "first"), Document("d", "second")])
    assert second.version > first.version
    assert (first.created, second.created) == (True, False)
    assert [row.document.text for row in staged(store)] == ["second"]


def test_a_publish_after_a_newer_stage_is_passed_over(store: Store, encoded: Encoded) -> None:
    store.put([encoded("d", "old text")])
    store.stage([Document("d", "one two"), Document("other", "other")])
    late = staged(store)
    store.stage([Document("d", "newer!")])
    store.publish([(row, encoded_of(row, encoded)) for row in late])
    assert sorted(texts(store)) == sorted(["old ", "text", "ot", "her"])
    assert [row.document.text for row in staged(store)] == ["newer!"]
    publish_all(store, encoded)
    assert sorted(texts(store)) == sorted(["new", "er!", "ot", "her"])


@pytest.mark.parametrize("again", [False, True], ids=["gone", "there again"])
def test_a_publish_after_a_delete_is_passed_over(
    store: Store, encoded: Encoded, again: bool
) -> None:
    store.stage([Document("d", "one two")])
    late = staged(store)
    assert store.delete(["d"]) == 1
    if again:
        store.stage([Document("d", "one two")])
    store.publish([(late[0], encoded_of(late[0], encoded))])
    assert (now(store).counts, texts(store)) == (Counts(0, 0), [])
    assert len(staged(store)) == again
    assert (document(store, "d") is not None) == again


def test_a_publish_twice_is_one(store: Store, encoded: Encoded) -> None:
    store.stage([Document("d", "one two")])
    rows = [(row, encoded_of(row, encoded)) for row in staged(store)]
    store.publish(rows)
    passages = now(store).allowed({}).tolist()
    store.publish(rows)
    assert now(store).allowed({}).tolist() == passages


def test_a_delete_takes_what_is_seen_and_what_waits(store: Store, encoded: Encoded) -> None:
    store.put([encoded("d", "old text"), encoded("stays")])
    store.stage([Document("d", "one two"), Document("waits", "x")])
    assert store.delete(["d", "waits", "unknown"]) == 2
    assert [document(store, id_) for id_ in ("d", "waits")] == [None, None]
    assert (now(store).counts, staged(store)) == (Counts(1, 2), [])
    before = everything(store)
    assert store.delete(["d", "waits", "unknown"]) == 0
    assert everything(store) == before


def test_versions_only_grow_even_for_one_that_was_deleted(
    store: Store, encoded: Encoded, open_store: Callable[[], Store]
) -> None:
    versions: list[int] = []

    def written(rows: list[Written]) -> None:
        versions.extend(row.version for row in rows)

    written(store.stage([Document("d", "one"), Document("e", "one")]))
    publish_all(store, encoded)
    written(store.stage([Document("d", "one", metadata={"n": 1})]))
    store.delete(["d"])
    written(store.stage([Document("d", "one")]))
    store.put([encoded("d")])
    versions.append(now(store).revision)
    store.delete(["d", "e"])
    store.close()
    again = open_store()
    written(again.stage([Document("d", "one"), Document("e", "one")]))
    again.close()
    assert versions == sorted(set(versions))


def test_what_waits_comes_in_the_order_it_was_written(store: Store) -> None:
    for id_ in ("c", "a", "b", "c"):
        store.stage([Document(id_, f"text {len(staged(store))}")])
    with store.view() as view:
        assert [row.document.id for row in view.waiting(2)] == ["a", "b"]
        assert [row.document.id for row in view.waiting(2, newest=True)] == [
            "c",
            "b",
        ]
    assert [row.document.id for row in staged(store)] == ["a", "b", "c"]


def test_one_that_cannot_be_encoded_waits_no_longer_and_says_why(
    store: Store, encoded: Encoded
) -> None:
    store.put([encoded("d", "old text")])
    (written,) = store.stage([Document("d", "one two")])
    (waiting,) = staged(store)
    store.set_problem(waiting, "nothing is left of it")
    found = document(store, "d")
    assert found is not None
    assert (found.indexed, found.problem) == (False, "nothing is left of it")
    assert (staged(store), texts(store)) == ([], ["old ", "text"])
    with store.view() as view:
        assert not view.still_staged([written.version])
    # The same once more is another try.
    (again,) = store.stage([Document("d", "one two")])
    assert (again.unchanged, again.version > written.version) == (False, True)
    publish_all(store, encoded)
    assert texts(store) == ["one", " two"]


def test_a_problem_of_an_older_version_is_not_the_newer_ones(store: Store) -> None:
    store.stage([Document("d", "one")])
    (late,) = staged(store)
    store.stage([Document("d", "two")])
    store.set_problem(late, "bad")
    assert [row.document.text for row in staged(store)] == ["two"]
    store.delete(["d"])
    store.set_problem(late, "bad")
    assert document(store, "d") is None


def test_a_condition_that_is_not_met_leaves_all_as_it_was(store: Store, encoded: Encoded) -> None:
    (written, _) = store.stage([Document("d", "one"), Document("e", "one")])
    before = everything(store)
    both = [Document("e", "two"), Document("d", "two")]
    for expected, reason in [
        ({"d": lambda version: version is None}, f"the document has version {written.version}"),
        ({"d": lambda version: version == written.version + 1}, "the document has version"),
        ({"new": lambda version: version is not None}, "there is no such document"),
    ]:
        with pytest.raises(VersionConflictError, match=reason):
            store.stage(both, expected)
        with pytest.raises(VersionConflictError, match=reason):
            store.delete(["d", "e"], expected)
        assert everything(store) == before
    (again,) = store.stage([Document("d", "two")], {"d": lambda v: v == written.version})
    publish_all(store, encoded)
    assert store.delete(["d"], {"d": lambda v: v == again.version}) == 1
    store.stage([Document("d", "one")], {"d": lambda v: v is None})


def test_a_condition_is_asked_of_the_version_written_last(store: Store, encoded: Encoded) -> None:
    store.put([encoded("d")])
    (waiting,) = store.stage([Document("d", "new text")])
    asked: list[int | None] = []
    store.delete(["d"], {"d": lambda version: asked.append(version) or True})
    assert asked == [waiting.version]


def test_a_stage_within_a_filter_neither_takes_nor_gives_documents_away(
    store: Store, encoded: Encoded
) -> None:
    mine = {"tenant": "a"}
    store.put([encoded(id_, metadata={"tenant": id_[0]}) for id_ in ("a1", "b1")])
    before = everything(store)
    own = Document("a1", "new text", metadata=mine)
    for stolen in (
        Document("b1", "x", metadata=mine),
        Document("a1", "x", metadata={"tenant": "b"}),
        Document("a2", "x"),
    ):
        # The version of a hidden document is not told.
        never = {"b1": lambda _version: False} if stolen.id == "b1" else {}
        with pytest.raises(ForbiddenError, match=stolen.id):
            store.stage([own, stolen], never, mine)
        assert everything(store) == before
    assert [row.id for row in store.stage([own, Document("a3", "x", metadata=mine)], None, mine)]
    # The version that is written last counts, even while searches see another.
    store.stage([Document("a1", "x", metadata={"tenant": "b"})])
    assert now(store).satisfying(["a1", "a3", "b1", "unknown"], mine) == {"a3"}


def test_a_delete_within_a_filter_passes_over_others_as_if_unknown(
    store: Store, encoded: Encoded
) -> None:
    store.put([encoded(id_, metadata={"tenant": id_[0]}) for id_ in ("a1", "b1")])
    asked: list[int | None] = []
    expected = {"b1": lambda version: asked.append(version) or True}
    assert store.delete(["b1", "unknown"], expected, {"tenant": "a"}) == 0
    assert asked == [None]
    assert store.delete(["a1", "b1"], None, {"tenant": "a"}) == 1
    assert document(store, "b1") is not None


def test_a_stage_that_fails_changes_nothing(store: Store, encoded: Encoded) -> None:
    store.put([encoded("d", "old text")])
    before = everything(store)
    for bad, error in [
        (Document("x", "half \udfff"), UnprocessableTextError),
        (Document("x", "text", metadata={"n": 2**63}), InvalidInputError),
    ]:
        with pytest.raises(error):
            store.stage([Document("d", "new text"), Document("new", "x"), bad])
        assert everything(store) == before


def test_a_publish_that_fails_changes_nothing(store: Store, encoded: Encoded) -> None:
    store.stage([Document("d", "one two"), Document("e", "one two")])
    before = everything(store)
    first, second = ((row, encoded_of(row, encoded)) for row in staged(store))
    infinite = second[1]._replace(vectors=second[1].vectors * np.float32(np.inf))
    with pytest.raises(InferenceError):
        store.publish([first, (second[0], infinite)])
    assert everything(store) == before


def test_start_over_keeps_the_documents_as_they_were_last_written(
    store: Store, identity: EncoderIdentity, encoded: Encoded
) -> None:
    store.put([encoded("seen", "old text", metadata={"n": 1}), encoded("both", "old text")])
    store.stage([Document("both", "new text"), Document("waits", "x"), Document("bad", "y")])
    store.set_problem(staged(store)[-1], "bad")
    passages: Ids = now(store).allowed({})
    with store.view() as view:
        before = {found.document.id: found for found in view.documents({}, "", 100)}

    store.start_over(replace(identity, model="another", dimension=4))
    assert now(store).identity == replace(identity, model="another", dimension=4)
    assert now(store).counts == Counts(0, 0)
    assert {row.document.id for row in staged(store)} == {"seen", "both", "waits", "bad"}
    with store.view() as view:
        assert view.removed()[0].tolist() == passages.tolist()
        for found in view.documents({}, "", 100):
            assert found == before[found.document.id]._replace(indexed=False, problem=None)
    narrow = [
        (row, full._replace(vectors=full.vectors[:, :4].copy()))
        for row in staged(store)
        for full in [encoded_of(row, encoded)]
    ]
    store.publish(narrow)
    assert sorted(texts(store)) == sorted(["old ", "text", "new ", "text", "", "x", "", "y"])
    assert len(now(store).allowed({"n": 1})) == 2


def test_a_page_is_in_the_order_of_ids_and_as_last_written(store: Store, encoded: Encoded) -> None:
    store.put([encoded(id_, metadata={"n": 1}) for id_ in ("ä", "b", "a", "z")])
    store.stage([Document("b", "newer", metadata={"n": 2}), Document("c", "new")])
    with store.view() as view:
        page = list(view.documents({}, "", 100))
        assert [found.document.id for found in page] == ["a", "b", "c", "z", "ä"]
        assert [found.indexed for found in page] == [True, False, False, True, True]
        assert [found.document.id for found in view.documents({}, "b", 2)] == ["c", "z"]
        assert [found.document.id for found in view.documents({"n": 1}, "", 100)] == ["a", "z", "ä"]
        assert [found.document.id for found in view.documents({"n": 2}, "", 100)] == ["b"]


def test_a_long_document_is_kept_in_slices_until_it_is_published(
    store: Store, encoded: Encoded
) -> None:
    store.stage([Document("long", "one two three four"), Document("longer", "one two " * 9)])
    waiting = staged(store)
    whole = encoded("long", "one two three four", passages=4)
    store.set_aside(waiting)
    assert staged(store) == []
    for first in (0, 2):
        part = whole._replace(
            spans=whole.spans[first : first + 2], vectors=whole.vectors[first : first + 2]
        )
        assert now(store).next_long(shortest=True) == (waiting[0], first)
        store.keep_slice(waiting[0], first, part)
    spans, vectors = now(store).slices(waiting[0])
    assert spans == whole.spans
    assert np.array_equal(vectors, whole.vectors)
    assert (now(store).counts, texts(store)) == (Counts(0, 0), [])
    store.publish([(waiting[0], whole)])
    assert now(store).counts == Counts(1, 4)
    assert now(store).next_long(shortest=True) == (waiting[1], 0)


def test_staging_refuses_at_once_and_checks_its_conditions_when_it_writes(store: Store) -> None:
    with pytest.raises(UnprocessableTextError):
        store.staging([Document("a", "one"), Document("b", "half a pair \ud800")])
    write = store.staging([Document("a", "one"), Document("b", "two")], {"b": _is_new})
    assert staged(store) == []
    store.stage([Document("b", "other")])
    with pytest.raises(VersionConflictError):
        write()
    assert [row.document.id for row in staged(store)] == ["b"]
    store.delete(["b"])
    assert [written.id for written in write()] == ["a", "b"]


def _is_new(version: int | None) -> bool:
    return version is None


@pytest.mark.parametrize("change", ["set aside again", "written again", "given up"])
def test_a_change_drops_the_slices_of_a_document(
    store: Store, encoded: Encoded, change: str
) -> None:
    store.stage([Document("long", "one two")])
    (waiting,) = staged(store)
    store.set_aside([waiting])
    store.keep_slice(waiting, 0, encoded("long"))
    assert len(now(store).slices(waiting)[0]) == 2
    if change == "set aside again":
        store.set_aside([waiting])
    elif change == "written again":
        store.stage([Document("long", "one two, three")])
        store.keep_slice(waiting, 2, encoded("long"))
    else:
        store.set_problem(waiting, "bad")
    assert now(store).slices(waiting)[0] == []
    begins_again = (waiting, 0) if change == "set aside again" else None
    assert now(store).next_long(shortest=False) == begins_again


def test_each_view_shows_the_metadata_of_its_moment(store: Store, encoded: Encoded) -> None:
    ((id_,),) = store.put([encoded("d", "one two", passages=1, metadata={"year": 1})])
    with store.view() as before:
        store.stage([Document("d", "one two", metadata={"year": 2})])
        seen = [view.passages([id_])[id_].metadata for view in (before, now(store), before)]
        store.delete(["d"])
        assert now(store).passages([id_]) == {}
        assert before.passages([id_])[id_].metadata == {"year": 1}
    assert seen == [{"year": 1}, {"year": 2}, {"year": 1}]


def test_passages_know_their_place_in_the_outline(store: Store, encoded: Encoded) -> None:
    outline = (Mark(0, 1, ("Tides",)), Mark(4, 2, ("Tides", "Spring")))
    one = Document("d", "one two", outline=outline)
    store.stage([one])
    store.publish(
        [(row, encoded_of(row, encoded)._replace(headings_end=7)) for row in staged(store)]
    )
    passages = now(store).passages(now(store).allowed({}).tolist()).values()
    assert [passage.place for passage in passages] == [outline[0], outline[0]]
    assert [passage.before for passage in passages] == ["Tides", "Tides"]
    assert document(store, "d") is not None
    assert document(store, "d").document == one  # type: ignore[union-attr]
    assert len(now(store).matching("tides", 10)) == 2


def test_another_outline_is_encoded_again(store: Store, encoded: Encoded) -> None:
    one = Document("d", "one two", outline=(Mark(0, 1, ("Tides",)),))
    store.stage([one])
    publish_all(store, encoded)
    (written,) = store.stage([replace(one, outline=())])
    assert not written.unchanged
    assert [row.document.outline for row in staged(store)] == [()]
    publish_all(store, encoded)
    assert now(store).matching("tides", 10) == []
