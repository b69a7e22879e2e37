from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from service.store.document_store import DocumentStore
from service.store.filter_grammar import MAX_CONDITIONS, MAX_VALUES, both
from service.store.filter_sql import condition
from service.types import Document, EncodedDocument, IndexIdentity, Metadata, Span
from tests.fixtures.stores import now

Encoded = Callable[..., EncodedDocument]

CORPUS: dict[str, Metadata] = {
    "text-1": {"v": "1"},
    "number-1": {"v": 1},
    "true": {"v": True},
    "false": {"v": False},
    "zero": {"v": 0},
    "null": {"v": None},
    "none": {},
    "list": {"v": ["1", "b"]},
    "empty list": {"v": []},
    "empty text": {"v": ""},
    "float": {"v": 0.1 + 0.2},
    "large": {"v": 2**63 - 1},
    "nul": {"v": "a\0b"},
    "two": {"v": "x", "w": "y"},
    "second only": {"w": 1},
    "odd names": {"a' OR 1=1 --": "x", "$.v": "x", 'v"]': "x", "é.ü": "x", "": "x", "v\0": "x"},
}


@pytest.fixture
def filled(store: DocumentStore, encoded: Encoded) -> DocumentStore:
    store.put([encoded(name, metadata=metadata) for name, metadata in CORPUS.items()])
    return store


def found(store: DocumentStore, filters: Any) -> set[str]:
    ids = now(store).allowed(filters)
    assert ids.dtype == np.int64
    assert (np.diff(ids) > 0).all()
    passages = now(store).passages(ids.tolist()).values()
    names = [passage.document_id for passage in passages]
    assert all(names.count(name) == 2 for name in names)  # both passages of each document
    return set(names)


@pytest.mark.parametrize(
    ("filters", "names"),
    [
        ({}, set(CORPUS)),
        ({"v": "1"}, {"text-1", "list"}),
        ({"v": 1}, {"number-1"}),
        ({"v": 1.0}, {"number-1"}),
        ({"v": True}, {"true"}),
        ({"v": False}, {"false"}),
        ({"v": 0}, {"zero"}),
        ({"v": ""}, {"empty text"}),
        ({"v": "b"}, {"list"}),
        ({"v": ["1", 1, True]}, {"text-1", "number-1", "true", "list"}),
        ({"v": 0.1 + 0.2}, {"float"}),
        ({"v": 0.3}, set()),
        ({"v": 2**63 - 1}, {"large"}),
        ({"v": float(2**63)}, set()),
        ({"v": "a\0b"}, {"nul"}),
        ({"v": "a"}, set()),
        ({"v": "null"}, set()),
        ({"unknown": "x"}, set()),
        ({"v": "x", "w": "y"}, {"two"}),
        ({"v": "x", "w": "z"}, set()),
        ({"v": "x", "unknown": "y"}, set()),
        # UNION inside one field must not swallow the INTERSECT of two.
        ({"v": ["x", 1, True], "w": ["y", 1]}, {"two"}),
        ({"a' OR 1=1 --": "x"}, {"odd names"}),
        ({"$.v": "x"}, {"odd names"}),
        ({'v"]': "x"}, {"odd names"}),
        ({"é.ü": "x"}, {"odd names"}),
        ({"v\0": "x"}, {"odd names"}),
        ({"v": "x' OR '1'='1"}, set()),
        ({"v') OR ('1'='1": "x"}, set()),
    ],
)
def test_a_filter_finds_exactly_its_documents(
    filled: DocumentStore, filters: Any, names: set[str]
) -> None:
    assert found(filled, filters) == names


def test_filters_at_their_limits_work(filled: DocumentStore) -> None:
    values = [f"value {i}" for i in range(MAX_VALUES - 1)]
    assert found(filled, {"v": [*values, "b"]}) == {"list"}
    many = {f"f{i}": [*values, "b"] for i in range(MAX_CONDITIONS - 1)}
    assert found(filled, {"v": [*values, "b"], **many}) == set()
    assert found(filled, {"or": [{name: value} for name, value in many.items()]}) == set()
    most = {"v": "b", "not": {"or": [{f: v} for f, v in many.items()]}}
    assert found(filled, most) == {"list"}
    assert found(filled, both(most, most)) == {"list"}
    with filled.view() as view:
        assert view.satisfying(["list", "none"], both(most, most)) == {"list"}


@pytest.mark.parametrize(
    ("low", "limit", "high"),
    [
        (1, 2, 2.5),
        (2**53, 2**53 + 1, 2.0**53 + 2),
        ("10", "9", "a"),
        ("Z", "a", "é"),
        ("\uffff", "\U0001f600", "\U0001f601"),
        ("2026-11-21T01:00+07:00", "2026-11-20T18:00:00.000001Z", "2026-11-21"),
    ],
)
def test_each_end_of_a_range_is_where_it_should_be(
    store: DocumentStore, encoded: Encoded, low: Any, limit: Any, high: Any
) -> None:
    values = {"low": low, "at": limit, "high": high, "other": True, "none": None}
    store.put([encoded(name, metadata={"v": value}) for name, value in values.items()])
    store.put([encoded("missing")])
    assert found(store, {"v": {"gt": limit}}) == {"high"}
    assert found(store, {"v": {"gte": limit}}) == {"at", "high"}
    assert found(store, {"v": {"lt": limit}}) == {"low"}
    assert found(store, {"v": {"lte": limit}}) == {"low", "at"}
    assert found(store, {"v": {"gte": low, "lt": high}}) == {"low", "at"}
    assert found(store, {"v": {"gt": low, "lte": high}}) == {"at", "high"}
    assert found(store, {"v": {"in": [low, limit, high], "lte": limit}}) == {"low", "at"}
    assert found(store, {"v": {"gt": high, "lt": low}}) == set()
    assert found(store, {"not": {"v": {"lte": limit}}}) == {"high", "other", "none", "missing"}


# Few values, so that many documents and filters meet.
FIELDS = st.sampled_from(["a", "A"])
TEXTS = st.sampled_from(["", "1", "x", "\U0001f600", "\uffff", "a\0b"])
DATES = st.sampled_from(["2026-11-21", "2026-11-21T00:00Z", "2026-11-21T01:00+07:00", "2026-12-01"])
NUMBERS = st.sampled_from([-1, 0, 1, 2, 1.0, 0.5, 2**53, 2**53 + 1, 2.0**53])
SCALARS = st.one_of(TEXTS, DATES, NUMBERS, st.booleans())
VALUES = st.one_of(SCALARS, st.none(), st.lists(TEXTS | DATES, max_size=3))
METADATA = st.one_of(
    st.fixed_dictionaries({"a": VALUES, "A": VALUES}), st.dictionaries(FIELDS, VALUES, max_size=1)
)
LISTS = st.lists(SCALARS, min_size=1, max_size=3)
COMPARISONS = st.sampled_from(["gt", "gte", "lt", "lte"])
# Ranges of one kind each: others are refused.
RANGES = st.one_of(
    *(
        st.dictionaries(COMPARISONS, limits, min_size=1, max_size=2)
        for limits in (TEXTS, DATES, NUMBERS)
    )
)
OPERATORS = st.one_of(
    RANGES,
    st.fixed_dictionaries({"exists": st.booleans()}),
    st.builds(
        lambda values, limits, about: {**values, **limits, **about},
        st.fixed_dictionaries({}, optional={"eq": SCALARS, "in": LISTS}),
        RANGES,
        st.fixed_dictionaries({}, optional={"exists": st.booleans()}),
    ),
)
CONDITIONS = st.one_of(SCALARS, LISTS, OPERATORS)
FILTERS = st.recursive(
    st.dictionaries(FIELDS, CONDITIONS, min_size=1, max_size=2),
    lambda inner: st.builds(
        lambda fields, joins: {**fields, **joins},
        st.dictionaries(FIELDS, CONDITIONS, max_size=2),
        st.one_of(
            st.fixed_dictionaries({"not": inner}),
            st.fixed_dictionaries({"or": st.lists(inner, min_size=1, max_size=3)}),
            st.fixed_dictionaries({"and": st.lists(inner, min_size=1, max_size=2), "not": inner}),
        ),
    ),
    max_leaves=5,
)


def same(stored: Any, wanted: Any) -> bool:
    kinds = [(isinstance(v, str), isinstance(v, bool)) for v in (stored, wanted)]
    return kinds[0] == kinds[1] and bool(stored == wanted)


def moment(value: Any) -> datetime | None:
    try:
        read = datetime.fromisoformat(value) if len(value) > 9 else None
    except (TypeError, ValueError):
        return None
    return read.replace(tzinfo=read.tzinfo or UTC) if read else None


def in_order(stored: Any, operator: str, limit: Any) -> bool:
    """Written apart from the product: by datetime, and by code points one at a time."""
    if isinstance(stored, bool) or isinstance(stored, str) != isinstance(limit, str):
        return False
    one, other = stored, limit
    if moment(limit) is not None:
        if moment(stored) is None:
            return False
        one, other = moment(stored), moment(limit)
    elif isinstance(stored, str):
        one, other = [ord(c) for c in stored], [ord(c) for c in limit]
    return {"gt": one > other, "gte": one >= other, "lt": one < other, "lte": one <= other}[
        operator
    ]


def holds(value: Any, operator: str, operand: Any) -> bool:
    if operator == "eq":
        return same(value, operand)
    if operator == "in":
        return any(same(value, choice) for choice in operand)
    return in_order(value, operator, operand)


def satisfies(metadata: Metadata, filters: dict[str, Any]) -> bool:
    return all(satisfies_one(metadata, name, wanted) for name, wanted in filters.items())


def satisfies_one(metadata: Metadata, name: str, wanted: Any) -> bool:
    if name == "not":
        return not satisfies(metadata, wanted)
    if name in {"and", "or"}:
        found = [satisfies(metadata, part) for part in wanted]
        return all(found) if name == "and" else any(found)
    stored = metadata.get(name)
    values = stored if isinstance(stored, list) else [] if stored is None else [stored]
    if not isinstance(wanted, dict):
        wanted = {"in": wanted} if isinstance(wanted, list) else {"eq": wanted}
    of_value = {operator: operand for operator, operand in wanted.items() if operator != "exists"}
    return wanted.get("exists", bool(values)) == bool(values) and (
        not of_value or any(all(holds(v, *each) for each in of_value.items()) for v in values)
    )


@settings(max_examples=60, deadline=None)
@example([{"a": -1}, {"a": True}, {"a": "2026-11-30"}], [{"a": {"eq": -1, "lt": "2026-12-01"}}])
@example([{"a": True}, {"a": 1}], [{"a": {"in": [True, 1], "lt": "2026-12-01"}}])
@given(
    st.lists(METADATA, min_size=8, max_size=16),
    st.lists(FILTERS, min_size=4, max_size=8),
)
def test_filters_agree_with_plain_python(
    property_store: DocumentStore, corpus: list[dict[str, Any]], several: list[dict[str, Any]]
) -> None:
    property_store.delete([str(i) for i in range(16)])
    rows = [
        EncodedDocument(Document(str(i), "x", "", m), [Span(0, 1)], np.zeros((1, 8), np.float32))
        for i, m in enumerate(corpus)
    ]
    property_store.put(rows)
    for filters in several:
        with property_store.view() as view:
            passages = view.passages(view.allowed(filters).tolist()).values()
            listed = [stored.document.id for stored in view.documents(filters, "", 100)]
            satisfying = view.satisfying([str(i) for i in range(20)], filters)
        wanted = sorted(str(i) for i, m in enumerate(corpus) if satisfies(m, filters))
        assert sorted(passage.document_id for passage in passages) == wanted
        assert listed == wanted
        assert satisfying == set(wanted)


@pytest.fixture(scope="module")
def property_store(tmp_path_factory: pytest.TempPathFactory) -> Any:
    path: Path = tmp_path_factory.mktemp("property") / "store.db"
    store = DocumentStore(path)
    store.set_identity(IndexIdentity("m", "0" * 64, 8, "", "", 256, 1))
    yield store
    store.close()


KIND = "field=? AND kind=?"
EQUAL = f"{KIND} AND value=?"


@pytest.mark.parametrize(
    ("filters", "walks"),
    [
        ({"v": "x"}, [EQUAL]),
        ({"v": ["x", 1]}, [EQUAL] * 2),
        ({"v": {"gte": 1}}, [f"{KIND} AND value>?"]),
        ({"v": {"gt": "2026-01-01", "lt": "2027-01-01"}}, [f"{KIND} AND value>? AND value<?"]),
        ({"v": {"exists": True}}, ["field=?"]),
        ({"v": 1, "not": {"w": 2}}, [EQUAL] * 2),
        ({"or": [{"v": 1}, {"w": {"lte": 2}}]}, [EQUAL, f"{KIND} AND value<?"]),
    ],
)
def test_every_condition_is_a_stretch_of_the_primary_key(
    filled: DocumentStore, filters: Any, walks: list[str]
) -> None:
    for column, table in (("document", "passages"), ("number", "documents")):
        where = condition(filters, column)
        with filled.view() as view:
            plan = [
                row[3]
                for row in view.connection.execute(
                    f"EXPLAIN QUERY PLAN SELECT 1 FROM {table} WHERE {where.sql}", where.parameters
                )
            ]
        used = [line for line in plan if "metadata" in line]
        assert used == [f"SEARCH metadata USING PRIMARY KEY ({walk})" for walk in walks], plan


HUE_NFC, HUE_NFD = "Hu\u1ebf", "Hue\u0302\u0301"


@pytest.mark.parametrize("filters", [
    {"city": HUE_NFC},
    {"city": HUE_NFD},
    {"city": ["x", HUE_NFD]},
    {"city": {"in": [HUE_NFC], "eq": HUE_NFD}},
    {"city": {"gte": HUE_NFC, "lte": HUE_NFD}},
    {HUE_NFC: True, "city": HUE_NFC},
    {HUE_NFD: {"exists": True}},
    {"not": {"or": [{"city": {"lt": HUE_NFD}}, {HUE_NFD: {"exists": False}}]}},
])  # fmt: skip
@pytest.mark.parametrize("form", [HUE_NFC, HUE_NFD])
def test_a_text_is_the_same_in_all_its_code_points(
    store: DocumentStore, encoded: Encoded, filters: Any, form: str
) -> None:
    store.put([
        encoded("scalar", metadata={"city": form, form: True}),
        encoded("list", metadata={"city": [form], form: True}),
        encoded("other", metadata={"city": "Hue"}),
    ])  # fmt: skip
    assert found(store, filters) == {"scalar", "list"}
    with store.view() as view:  # shown as it was sent
        stored = view.document("scalar")
        assert stored is not None
        assert stored.document.metadata == {"city": form, form: True}
