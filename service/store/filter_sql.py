"""Filters as conditions in SQL. Names and values only ever travel as bound parameters.

Each leaf is one walk through a stretch of the primary key (field, kind, value, document).
"""

from typing import NamedTuple

from service.store.filter_grammar import Exists, Filter, InRange, Joined, Not, OneOf, parse_both
from service.store.metadata_values import Kind, kind_of
from service.types import Filters

_COMPARISONS = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}
_KINDS: tuple[Kind, ...] = ("text", "number", "boolean")


class Condition(NamedTuple):
    """A piece of SQL and the values bound to its question marks."""

    sql: str
    parameters: list[str | int | float]


def condition(filters: Filters, column: str, *, one_row: bool = False) -> Condition:
    """What a row satisfies whose `column` is the number of a document that satisfies `filters`.

    With `one_row` each leaf looks that document up; otherwise it lists all that satisfy it, once.
    Raises `InvalidInputError` for what is no filter or beyond the limits.
    """
    parsed = parse_both(filters)
    return Condition("1", []) if parsed is None else _condition(parsed, column, one_row=one_row)


def _condition(part: Filter, column: str, *, one_row: bool) -> Condition:
    match part:
        case Not(inner):
            sql, parameters = _condition(inner, column, one_row=one_row)
            return Condition(f"NOT {sql}", parameters)
        case Joined(how, parts):
            conditions = [_condition(each, column, one_row=one_row) for each in parts]
            return Condition(
                f"({f' {how.upper()} '.join(each.sql for each in conditions)})",
                [parameter for each in conditions for parameter in each.parameters],
            )
        case _ if one_row:
            sql, parameters = _documents(part, f"document = {column} AND ")
            return Condition(f"EXISTS ({sql})", parameters)
        case _:
            sql, parameters = _documents(part)
            return Condition(f"{column} IN ({sql})", parameters)


def _documents(leaf: OneOf | InRange | Exists, where: str = "") -> Condition:
    """The numbers of the documents whose metadata satisfies a condition without parts."""
    # Nothing but question marks and comparisons from the table above goes into any of these.
    start = f"SELECT document FROM metadata WHERE {where}field = ?"  # noqa: S608
    match leaf:
        case Exists(field):
            return Condition(start, [field])
        case InRange(field, kind, limits):
            compared = "".join(f" AND value {_COMPARISONS[limit.comparison]} ?" for limit in limits)
            values = [limit.value for limit in limits]
            return Condition(f"{start} AND kind = ?{compared}", [field, kind, *values])
        case OneOf(field, values):
            stretches = []
            parameters: list[str | int | float] = []
            for each in _KINDS:
                of_kind = [value for value in values if kind_of(value) == each]
                if of_kind:
                    marks = ", ".join("?" * len(of_kind))
                    stretches.append(f"{start} AND kind = ? AND value IN ({marks})")
                    parameters += [field, each, *of_kind]
            if not stretches:
                return Condition(f"{start} AND 0", [field])
            return Condition(" UNION ALL ".join(stretches), parameters)
