"""What a filter may say, and that each fault is named with its place and the limit."""

import time
from typing import Any

import pytest

from service.errors import InvalidInputError
from service.store.filter_grammar import (
    MAX_CONDITIONS,
    MAX_DEPTH,
    MAX_NAME_CHARS,
    MAX_VALUE_CHARS,
    MAX_VALUES,
    Exists,
    InRange,
    Joined,
    Limit,
    Not,
    OneOf,
    parse,
)
from service.store.metadata_values import metadata_rows, microseconds


def nested(levels: int) -> dict[str, Any]:
    filters: dict[str, Any] = {"a": 1}
    for _ in range(levels - 1):
        filters = {"not": filters}
    return filters


@pytest.mark.parametrize(
    ("filters", "meaning"),
    [
        ({}, None),
        ({"a": 1}, OneOf("a", (1,))),
        ({"a": {"eq": 1}}, OneOf("a", (1,))),
        ({"a": [1, "x"]}, OneOf("a", (1, "x"))),
        ({"a": {"in": [1, "x"]}}, OneOf("a", (1, "x"))),
        ({"a": {"exists": True}}, Exists("a")),
        ({"a": {"exists": False}}, Not(Exists("a"))),
        (
            {"a": {"gt": 1, "lte": 2.5}},
            InRange("a", "number", (Limit("gt", 1), Limit("lte", 2.5))),
        ),
        ({"a": {"lt": "m"}}, InRange("a", "text", (Limit("lt", "m"),))),
        (
            {"a": {"gte": "1970-01-02"}},
            InRange("a", "date", (Limit("gte", 86_400_000_000),)),
        ),
        ({"a": 1, "b": True}, Joined("and", (OneOf("a", (1,)), OneOf("b", (True,))))),
        ({"or": [{"a": 1}, {"b": 2}]}, Joined("or", (OneOf("a", (1,)), OneOf("b", (2,))))),
        ({"and": [{"a": 1}]}, OneOf("a", (1,))),
        ({"not": {"a": 1}}, Not(OneOf("a", (1,)))),
        # Values are narrowed by limits here already: both are about one and the same value.
        ({"a": {"in": [1, 5, "5", True], "gt": 2}}, OneOf("a", (5,))),
        ({"a": {"in": ["x", "2026-05-01"], "gt": "2026-01-01"}}, OneOf("a", ("2026-05-01",))),
        ({"a": {"eq": 1, "in": [True, "1"]}}, OneOf("a", ())),
        ({"a": {"eq": 1.0, "in": [1]}}, OneOf("a", (1.0,))),
    ],
)
def test_each_form_has_one_meaning(filters: Any, meaning: object) -> None:
    assert parse(filters) == meaning
    assert repr(parse(filters)) == repr(meaning)  # 1 == True in Python


@pytest.mark.parametrize(
    ("filters", "place", "said"),
    [
        ([], "filters", "object"),
        (None, "filters", "object"),
        ("x", "filters", "object"),
        ({"": 1}, "filters", f"1 to {MAX_NAME_CHARS}"),
        ({"n" * (MAX_NAME_CHARS + 1): 1}, "filters", f"1 to {MAX_NAME_CHARS}"),
        ({"\ud800": 1}, "filters", "Unicode"),
        ({7: 1}, "filters", "name"),
        ({"a": None}, "filters.a", "string, a number or a boolean"),
        ({"a": object()}, "filters.a", "string, a number or a boolean"),
        ({"a": []}, "filters.a", "at least one"),
        ({"a": [[1]]}, "filters.a.0", "string"),
        ({"a": [1, None]}, "filters.a.1", "string"),
        ({"a": [1] * (MAX_VALUES + 1)}, "filters.a", f"at most {MAX_VALUES}"),
        ({"a": "x" * (MAX_VALUE_CHARS + 1)}, "filters.a", f"at most {MAX_VALUE_CHARS}"),
        ({"a": "\ud800"}, "filters.a", "Unicode"),
        ({"a": 2**63}, "filters.a", "64 bits"),
        ({"a": float("nan")}, "filters.a", "finite"),
        ({"a": {}}, "filters.a", "operator"),
        ({"a": {"ne": 1}}, "filters.a.ne", "eq, in, gt, gte, lt, lte, exists"),
        ({"a": {"eq": [1]}}, "filters.a.eq", "string"),
        ({"a": {"in": 1}}, "filters.a.in", "list"),
        ({"a": {"in": []}}, "filters.a.in", "at least one"),
        ({"a": {"gt": True}}, "filters.a.gt", "order"),
        ({"a": {"gt": [1]}}, "filters.a.gt", "string"),
        ({"a": {"exists": 1}}, "filters.a.exists", "true or false"),
        ({"a": {"gt": 1, "lt": "z"}}, "filters.a.lt", "one range"),
        ({"a": {"gt": "2026-01-01", "lt": "z"}}, "filters.a.lt", "one range"),
        ({"and": 1}, "filters.and", "list of filters"),
        ({"or": {"a": 1}}, "filters.or", "list of filters"),
        ({"or": []}, "filters.or", "list of filters"),
        ({"or": [{"a": 1}, {}]}, "filters.or.1", "at least one"),
        ({"not": {}}, "filters.not", "at least one"),
        ({"not": [{"a": 1}]}, "filters.not", "object"),
        ({"not": "x"}, "filters.not", "object"),
        ({"or": [{"a": 1}, {"b": {"gte": None}}]}, "filters.or.1.b.gte", "string"),
        (nested(MAX_DEPTH + 1), "filters" + ".not" * MAX_DEPTH, f"at most {MAX_DEPTH}"),
        (
            {f"f{i}": 1 for i in range(MAX_CONDITIONS + 1)},
            f"filters.f{MAX_CONDITIONS}",
            f"at most {MAX_CONDITIONS}",
        ),
        (
            {"or": [{"a": {"gt": 1, "lt": 9}}] * (MAX_CONDITIONS // 2 + 1)},
            f"filters.or.{MAX_CONDITIONS // 2}.a.gt",
            f"at most {MAX_CONDITIONS}",
        ),
    ],
)
def test_each_fault_is_named_with_its_place(filters: Any, place: str, said: str) -> None:
    with pytest.raises(InvalidInputError, match=said) as caught:
        parse(filters)
    assert caught.value.field == place


def test_what_is_just_within_the_limits_is_read() -> None:
    parse(nested(MAX_DEPTH))
    parse({f"f{i}": list(range(MAX_VALUES)) for i in range(MAX_CONDITIONS)})
    parse({"n" * MAX_NAME_CHARS: "x" * MAX_VALUE_CHARS})
    parse({"a": [2**63 - 1, -(2**63), 1.5, ""]})


@pytest.mark.parametrize(
    "filters",
    [
        {f"f{i}": 1 for i in range(100_000)},
        {"a": ["x"] * 100_000},
        {"or": [{"a": 1}] * 100_000},
        {"or": [{}] * 100_000},
        {"a": dict.fromkeys((f"o{i}" for i in range(100_000)), 1)},
        {"a": "x" * 3_000_000},
        nested(300),
    ],
)
def test_a_hostile_filter_is_refused_at_once(filters: Any) -> None:
    began = time.perf_counter()
    with pytest.raises(InvalidInputError) as caught:
        parse(filters)
    assert time.perf_counter() - began < 0.1
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("text", "same_as"),
    [
        ("2026-11-21", "2026-11-21T00:00:00Z"),
        ("2026-11-21T07:30", "2026-11-21 07:30:00"),
        ("2026-11-21T07:30+07:00", "2026-11-21T00:30:00Z"),
        ("2026-11-21T00:00:00.5-05", "2026-11-21T05:00:00,500000Z"),
        ("2026-11-21t07:30:00z", "2026-11-21T07:30:00+0000"),
        ("2026-11-21T07:30:00.123456789Z", "2026-11-21T07:30:00.123456Z"),
        ("0001-01-01T00:00+14:00", "0001-01-01T00:00+1400"),
    ],
)
def test_dates_are_moments(text: str, same_as: str) -> None:
    assert microseconds(text) is not None
    assert microseconds(text) == microseconds(same_as)


@pytest.mark.parametrize(
    "text",
    [
        "", "2026", "2026-11", "20261121", "2026-W47-6", "2026-02-30", "2026-13-01", "0000-01-01",
        "2026-11-21T24:00", "2026-11-21T07", "2026-11-21T07:30+25:00", "2026-11-21 ", " 2026-11-21",
        "2026-11-21\n", "٢٠٢٦-١١-٢١", "2026-11-21T07:30Zoo", "tomorrow",
    ],
)  # fmt: skip
def test_other_texts_are_no_dates(text: str) -> None:
    assert microseconds(text) is None


def test_order_of_dates_is_that_of_time_beyond_the_ends_of_the_calendar() -> None:
    in_order = [
        "0001-01-01T00:00+14:00",
        "0001-01-01",
        "1969-12-31T23:59:59.999999Z",
        "1970-01-01",
        "9999-12-31T23:59:59Z",
        "9999-12-31T23:59:59-14:00",
    ]
    moments = [microseconds(text) for text in in_order]
    assert moments == sorted(moments, key=lambda moment: moment or 0)
    assert len(set(moments)) == len(moments)


def test_a_date_is_kept_as_text_and_as_time() -> None:
    rows = metadata_rows({"when": ["2026-11-21", "soon"], "n": 1, "none": None})
    assert rows == [
        ("when", "text", "2026-11-21"),
        ("when", "date", 1_795_219_200_000_000),
        ("when", "text", "soon"),
        ("n", "number", 1),
    ]
