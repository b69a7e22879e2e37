"""What people say about hits, and that it stays."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from service.errors import ConflictError, NotFoundError
from service.store import label_store
from service.store.label_store import Judged, LabelStore


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LabelStore]:
    store = LabelStore(tmp_path / "labels.db")
    yield store
    store.close()


def known(store: LabelStore, kind: label_store.LabelKind = "labels") -> dict[str, dict[str, int]]:
    return {
        query.text: {one.document: one.effective for one in query.judged}
        for query in store.queries(kind)
    }


def test_a_new_grade_replaces_the_old_one_and_stays_after_a_restart(
    store: LabelStore, tmp_path: Path
) -> None:
    store.add("labels", "tides", [Judged("a", 2), Judged("b", 0)])
    store.add("labels", "tides", [Judged("a", 1)])
    store.add("labels", "waves", [Judged("a", 2)])
    store.close()
    again = LabelStore(tmp_path / "labels.db")
    assert known(again) == {"tides": {"a": 1, "b": 0}, "waves": {"a": 2}}
    assert [query.id for query in again.queries("labels")] == ["q1", "q2"]
    assert again.counts("labels") == label_store.LabelCounts(2, 3, 2, 1)
    again.close()


def test_feedback_is_apart_from_labels(store: LabelStore) -> None:
    store.add("labels", "tides", [Judged("a", 0)])
    store.add("feedback", "tides", [Judged("a", None, 1, rank=3)], "r1")
    assert known(store) == {"tides": {"a": 0}}
    assert known(store, "feedback") == {"tides": {"a": 1}}
    assert store.delete("feedback") == 1
    assert known(store) == {"tides": {"a": 0}}


def test_a_click_that_is_sent_twice_counts_once(store: LabelStore) -> None:
    store.add("feedback", "tides", [Judged("a", 2)], "r1")  # judged, then clicked
    for request in ("r1", "r1", "r2", None, None):
        store.add("feedback", "tides", [Judged("a", None, 1, rank=2)], request)
    (query,) = store.queries("feedback")
    (one,) = query.judged
    assert (one.clicks, one.rank, one.grade) == (4, 2, 2)


def test_a_judgement_outweighs_clicks(store: LabelStore) -> None:
    store.add("feedback", "tides", [Judged("a", None, 1), Judged("b", None, 1)])
    store.add("feedback", "tides", [Judged("a", 0)])
    assert known(store, "feedback") == {"tides": {"a": 0, "b": 1}}
    assert store.counts("feedback") == label_store.LabelCounts(1, 2, 1, 1)


def test_a_query_without_labels_is_forgotten(store: LabelStore) -> None:
    store.add("labels", "tides", [Judged("a", 2), Judged("b", 2)])
    store.remove("labels", "tides", ["a", "z"])
    assert known(store) == {"tides": {"b": 2}}
    store.remove("labels", "tides", ["b"])
    store.remove("labels", "never seen", ["b"])
    assert known(store) == {}


def test_pages_and_the_deletion_of_one_query(store: LabelStore) -> None:
    for text in ("one", "two", "three"):
        store.add("labels", text, [Judged("a", 2)])
    assert [q.text for q in store.queries("labels", after=1, limit=1)] == ["two"]
    assert store.delete("labels", 2) == 1
    assert [q.text for q in store.queries("labels")] == ["one", "three"]
    with pytest.raises(NotFoundError, match="q2"):
        store.delete("labels", 2)
    store.add("labels", "two", [Judged("a", 2)])
    assert store.queries("labels")[-1].number == 4  # the number of a deleted query never comes back


def test_a_full_set_refuses_and_changes_nothing(
    store: LabelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(label_store, "MOST_JUDGED", 2)
    store.add("labels", "tides", [Judged("a", 2), Judged("b", 2)])
    with pytest.raises(ConflictError, match="2 judged hits, the most"):
        store.add("labels", "waves", [Judged("a", 2)])
    store.add("labels", "tides", [Judged("a", 0)])  # replaces
    assert known(store) == {"tides": {"a": 0, "b": 2}}
    monkeypatch.setattr(label_store, "MOST_BYTES", 1)
    with pytest.raises(ConflictError, match="labels and feedback take 0 MiB together"):
        store.add("feedback", "tides", [Judged("a", 2)])


def test_deleted_labels_make_room(store: LabelStore, monkeypatch: pytest.MonkeyPatch) -> None:
    for n in range(50):
        store.add("labels", f"{n}" + "x" * 4000, [Judged("a", 2)])
    monkeypatch.setattr(label_store, "MOST_BYTES", 100_000)
    with pytest.raises(ConflictError, match="delete some"):
        store.add("labels", "tides", [Judged("a", 2)])
    store.delete("labels")
    store.add("labels", "tides", [Judged("a", 2)])
    assert known(store) == {"tides": {"a": 2}}
