"""Parses filters. Each record is one kind of condition.

    filters   = {name: condition, "and": [filters, ...], "or": [filters, ...], "not": filters}
    condition = scalar | [scalar, ...] | {"eq": scalar, "in": [scalar, ...], "gt": limit,
                "gte": limit, "lt": limit, "lte": limit, "exists": boolean}

Everything in one object must hold. A scalar is short for `eq`, a list for `in`. Reading stops at
the first fault or limit, so a hostile filter costs no more than a long one.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from operator import ge, gt, le, lt
from typing import Any, Literal, NamedTuple, TypeGuard

from service.documents.rows import composed, is_unicode
from service.errors import InvalidInputError
from service.store.metadata_values import Kind, kind_of, microseconds
from service.types import Filters, FilterScalar

MAX_DEPTH = 8
"""Levels of filters: the outermost is the first; each `and`, `or` and `not` adds one."""
MAX_CONDITIONS = 100
"""In all levels together; each operator is one."""
MAX_VALUES = 100
"""Of one list."""
MAX_NAME_CHARS = 128
MAX_VALUE_CHARS = 1000

ROOT = "filters"
"""How the path of what is wrong begins."""

JOINS = ("and", "or", "not")
"""No field of one of these names can be filtered."""
COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {"gt": gt, "gte": ge, "lt": lt, "lte": le}
OPERATORS = ("eq", "in", *COMPARISONS, "exists")


class Limit(NamedTuple):
    """One end of a range; a date's is in microseconds since 1970."""

    comparison: str
    value: str | int | float


@dataclass(frozen=True, slots=True)
class OneOf:
    """The field has one of these values; nothing satisfies it where there are none."""

    field: str
    values: tuple[FilterScalar, ...]


@dataclass(frozen=True, slots=True)
class InRange:
    """One value of the field is of this kind and within all limits."""

    field: str
    kind: Kind
    limits: tuple[Limit, ...]


@dataclass(frozen=True, slots=True)
class Exists:
    """The field has a value; null and an empty list are none."""

    field: str


@dataclass(frozen=True, slots=True)
class Joined:
    """All of the parts hold, or any of them."""

    how: Literal["and", "or"]
    parts: tuple["Filter", ...]


@dataclass(frozen=True, slots=True)
class Not:
    """The part does not hold, as where it asks for a field that the document does not have."""

    part: "Filter"


Filter = OneOf | InRange | Exists | Joined | Not
_Path = tuple[str, ...]


def parse(filters: Filters) -> Filter | None:
    """Read a filter; None for the empty one, which every document satisfies.

    Raises `InvalidInputError` that names the place (`filters.or.1.year.gte`) and the limit.
    """
    return _read(filters, MAX_DEPTH, MAX_CONDITIONS)


def both(one: Filters, other: Filters) -> Filters:
    """What satisfies two filters, each within the limits; for `parse_both`."""
    return {"and": [one, other]} if one and other else one or other


def parse_both(filters: Filters) -> Filter | None:
    """As `parse`, for what `both` may have joined: the store takes either."""
    return _read(filters, MAX_DEPTH + 1, 2 * MAX_CONDITIONS)


def _read(filters: Filters, depth: int, conditions: int) -> Filter | None:
    if isinstance(filters, Mapping) and not filters:
        return None
    return _Reader(depth, conditions).filters(filters, (ROOT,), depth=1)


class _Reader:
    def __init__(self, most_depth: int, most_conditions: int) -> None:
        self._most_depth, self._most_conditions = most_depth, most_conditions
        self._conditions = 0

    def filters(self, given: object, path: _Path, depth: int) -> Filter:
        if not isinstance(given, Mapping):
            raise _wrong("must be an object of fields and their conditions", path)
        if depth > self._most_depth:
            raise _wrong(f"filters can be nested at most {self._most_depth} deep", path)
        if not given:
            raise _wrong("must hold at least one condition", path)
        return _all_of(
            self._joined(name, value, (*path, name), depth)
            if name in JOINS
            else self._condition(_name(name, path), value, (*path, name))
            for name, value in given.items()
        )

    def _joined(self, join: str, given: object, path: _Path, depth: int) -> Filter:
        if join == "not":
            return Not(self.filters(given, path, depth + 1))
        if not isinstance(given, list | tuple) or not given:
            raise _wrong(f"{join} joins a list of filters; no field can have its name", path)
        parts = tuple(
            self.filters(part, (*path, str(place)), depth + 1) for place, part in enumerate(given)
        )
        return _all_of(parts) if join == "and" else Joined("or", parts)

    def _condition(self, field: str, given: object, path: _Path) -> Filter:
        if isinstance(given, Mapping):
            return self._operators(field, given, path)
        self._count(path)
        return OneOf(field, _values(given, path) if _is_list(given) else (_scalar(given, path),))

    def _operators(self, field: str, given: Mapping[str, object], path: _Path) -> Filter:
        """What `exists` says of the field, and what the others say of one and the same value."""
        if not given:
            raise _wrong(f"must have an operator: {', '.join(OPERATORS)}", path)
        parts: list[Filter] = []
        lists: list[tuple[FilterScalar, ...]] = []
        limits: list[tuple[Kind, Limit]] = []
        for operator, operand in given.items():
            here = (*path, str(operator)[:MAX_NAME_CHARS])
            self._count(here)
            if operator == "exists":
                if not isinstance(operand, bool):
                    raise _wrong("must be true or false", here)
                parts.append(Exists(field) if operand else Not(Exists(field)))
            elif operator == "eq":
                lists.append((_scalar(operand, here),))
            elif operator == "in":
                lists.append(_values(operand, here))
            elif operator in COMPARISONS:
                limits.append(_limit(operator, operand, here))
                if limits[-1][0] != limits[0][0]:
                    raise _wrong(
                        "the limits of one range must be all numbers, dates or texts", here
                    )
            else:
                raise _wrong(f"is no operator; there are {', '.join(OPERATORS)}", here)
        if lists or limits:
            parts.append(_of_one_value(field, lists, limits))
        return _all_of(parts)

    def _count(self, path: _Path) -> None:
        self._conditions += 1
        if self._conditions > self._most_conditions:
            most = self._most_conditions
            raise _wrong(f"filters can have at most {most} conditions in all", path)


def _of_one_value(
    field: str, lists: list[tuple[FilterScalar, ...]], limits: list[tuple[Kind, Limit]]
) -> Filter:
    if not lists:
        return InRange(field, limits[0][0], tuple(limit for _, limit in limits))
    first, *others = lists
    return OneOf(
        field,
        tuple(
            value
            for value in first
            if all(any(_same(value, other) for other in values) for values in others)
            and all(_within(value, kind, limit) for kind, limit in limits)
        ),
    )


def _same(one: FilterScalar, other: FilterScalar) -> bool:
    return kind_of(one) == kind_of(other) and one == other


def _within(value: FilterScalar, kind: Kind, limit: Limit) -> bool:
    if kind == "date":
        time = microseconds(value) if isinstance(value, str) else None
        return time is not None and COMPARISONS[limit.comparison](time, limit.value)
    return kind_of(value) == kind and COMPARISONS[limit.comparison](value, limit.value)


def _all_of(parts: Iterable[Filter]) -> Filter:
    together = tuple(parts)
    return together[0] if len(together) == 1 else Joined("and", together)


def _limit(comparison: str, given: object, path: _Path) -> tuple[Kind, Limit]:
    value = _scalar(given, path)
    if isinstance(value, bool):
        raise _wrong("must be a number, a date or another text, which have an order", path)
    time = microseconds(value) if isinstance(value, str) else None
    if time is not None:
        return "date", Limit(comparison, time)
    return "text" if isinstance(value, str) else "number", Limit(comparison, value)


def _values(given: object, path: _Path) -> tuple[FilterScalar, ...]:
    if not _is_list(given) or not given:
        raise _wrong("must be a list of at least one value", path)
    if len(given) > MAX_VALUES:
        raise _wrong(f"can list at most {MAX_VALUES} values", path)
    return tuple(_scalar(value, (*path, str(place))) for place, value in enumerate(given))


def _scalar(given: object, path: _Path) -> FilterScalar:
    if not isinstance(given, str | int | float):
        raise _wrong("must be a string, a number or a boolean", path)
    if isinstance(given, str) and len(given) > MAX_VALUE_CHARS:
        raise _wrong(f"must have at most {MAX_VALUE_CHARS} characters", path)
    if kind_of(given) is None:
        raise _wrong("must be valid Unicode or a finite number within 64 bits", path)
    return composed(given) if isinstance(given, str) else given


def _name(given: object, path: _Path) -> str:
    if not isinstance(given, str) or not 1 <= len(given) <= MAX_NAME_CHARS or not is_unicode(given):
        raise _wrong(f"a field's name must have 1 to {MAX_NAME_CHARS} characters of Unicode", path)
    return composed(given)


def _is_list(given: object) -> TypeGuard[list[object] | tuple[object, ...]]:
    return isinstance(given, list | tuple)


def _wrong(message: str, path: _Path) -> InvalidInputError:
    return InvalidInputError(message, ".".join(path))
