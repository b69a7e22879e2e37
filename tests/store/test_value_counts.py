"""Counts of documents, values and fields, beside a plain count in Python; changed metadata."""

import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from service.errors import (
    DeadlineError,
    ForbiddenError,
    InvalidInputError,
    NotFoundError,
    VersionConflictError,
)
from service.store import value_counts
from service.store.document_store import DocumentStore
from service.types import Document, EncodedDocument, Facet, FacetsAsked, FacetValue
from tests.fixtures.stores import now

Encoded = Callable[..., EncodedDocument]

VALUES: list[Any] = ["a", "b", "2026-01-02", 1, 2.5, True, False, None, [], ["a", "c"], ["a", "a"]]


def facet(store: DocumentStore, name: str, most: int = 100, **filters: Any) -> Facet:
    found: dict[str, Facet] = now(store).facets(FacetsAsked((name,), most), filters)
    return found[name]


@pytest.fixture
def rows(store: DocumentStore, encoded: Encoded) -> list[dict[str, Any]]:
    """The metadata of 60 documents that are in the store."""
    rng = random.Random(0)
    rows = [
        {name: rng.choice(VALUES) for name in ("v", "w") if rng.random() < 0.8} for _ in range(60)
    ]
    store.put([encoded(f"d{n}", metadata=row, passages=1) for n, row in enumerate(rows)])
    store.stage([Document("waits", "text", metadata={"v": "a"})])  # no search sees it
    return rows


def values_of(row: dict[str, Any], name: str = "v") -> list[Any]:
    given = row.get(name)
    unique: list[Any] = []
    for one in given if isinstance(given, list) else [given]:
        if one is not None and (type(one), one) not in [(type(u), u) for u in unique]:
            unique.append(one)
    return unique


def test_a_facet_counts_each_value_once_per_document(
    store: DocumentStore, rows: list[dict[str, Any]]
) -> None:
    expected = Counter((type(v).__name__, v) for row in rows for v in values_of(row))
    found = facet(store, "v")
    assert {(type(v.value).__name__, v.value): v.count for v in found.values} == expected
    counts = [value.count for value in found.values]
    assert counts == sorted(counts, reverse=True)
    assert (found.other, found.missing) == (0, sum(not values_of(row) for row in rows))
    few = facet(store, "v", most=2)
    assert few.values == found.values[:2]
    assert few.other == sum(counts[2:])
    assert facet(store, "x") == Facet([], 0, len(rows))


def test_a_filter_narrows_what_is_counted(store: DocumentStore, rows: list[dict[str, Any]]) -> None:
    under = [row for row in rows if "a" in values_of(row, "w")]
    assert now(store).count({"w": "a"}) == len(under) > 0
    assert now(store).count({}) == len(rows)
    found = facet(store, "v", w="a")
    assert sum(v.count for v in found.values) == sum(len(values_of(row)) for row in under)
    assert found.missing == sum(not values_of(row) for row in under)


def test_equal_counts_come_in_the_order_of_the_values(
    store: DocumentStore, encoded: Encoded
) -> None:
    store.put([encoded(name, metadata={"v": name}) for name in ("b", "c", "a")])
    assert facet(store, "v").values == [FacetValue(name, 1) for name in "abc"]


def test_fields_have_types(store: DocumentStore, rows: list[dict[str, Any]]) -> None:
    fields = now(store).fields({}, 10)
    assert list(fields) == ["v", "w"]
    is_text = sum(any(isinstance(v, str) for v in values_of(row)) for row in rows)
    assert fields["v"]["text"] == is_text
    assert fields["v"]["date"] == sum("2026-01-02" in values_of(row) for row in rows)
    assert now(store).fields({"v": True}, 10)["v"] == {
        "boolean": sum(row.get("v") is True for row in rows)
    }
    assert list(now(store).fields({}, 1)) == ["v"]


def test_a_count_that_takes_too_long_ends(
    store: DocumentStore, rows: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(value_counts, "_STEPS", 1)
    with pytest.raises(DeadlineError), store.view() as view, view.within(-1.0):
        view.facets(FacetsAsked(("v",), 10), {})
    with store.view() as view:  # the same connection, without a limit
        assert view.count({"v": "a"}) > 0


def test_a_patch_merges_metadata_and_keeps_all_else(store: DocumentStore, encoded: Encoded) -> None:
    store.put([encoded("a", "text", title="T", metadata={"kept": 1, "gone": "x", "new": 1})])
    passages = now(store).allowed({})
    before = now(store).document("a")
    written = store.patch("a", {"gone": None, "new": ["y"], "never": None})
    after = now(store).document("a")
    assert after.document.metadata == {"kept": 1, "new": ["y"]}
    assert (after.document.text, after.document.title) == ("text", "T")
    assert after.indexed
    assert written.version == after.version > before.version
    assert now(store).allowed({"new": "y"}).tolist() == passages.tolist()
    assert not len(now(store).allowed({"gone": {"exists": True}}))
    assert store.patch("a", {"kept": 1}).unchanged
    assert now(store).document("a").version == after.version


def test_a_patch_changes_the_last_version(store: DocumentStore, encoded: Encoded) -> None:
    store.put([encoded("a", "old", metadata={"v": 1})])
    store.stage([Document("a", "new", metadata={"v": 2})])
    store.patch("a", {"w": 3})
    found = now(store).document("a")
    assert (found.document.text, found.document.metadata) == ("new", {"v": 2, "w": 3})
    assert not found.indexed
    assert now(store).count({"v": 1}) == 1  # searches see the old one


def test_a_patch_is_refused_as_other_writes(store: DocumentStore, encoded: Encoded) -> None:
    store.put([encoded("a", metadata={"tenant": "a"}), encoded("b", metadata={"tenant": "b"})])
    within = {"tenant": "a"}
    for id_ in ("b", "nothing"):
        with pytest.raises(NotFoundError):
            store.patch(id_, {"v": 1}, within=within)
        with pytest.raises(VersionConflictError):
            store.patch(id_, {"v": 1}, lambda version: version is not None, within)
    with pytest.raises(ForbiddenError):
        store.patch("a", {"tenant": "b"}, within=within)
    with pytest.raises(VersionConflictError):
        store.patch("a", {"v": 1}, lambda version: version == 99)
    with pytest.raises(InvalidInputError, match="64 are the most"):
        store.patch("a", {f"f{n}": n for n in range(64)})
    with pytest.raises(InvalidInputError):
        store.patch("a", {"deep": {"er": 1}})  # type: ignore[dict-item]
    assert now(store).document("a").document.metadata == {"tenant": "a"}
