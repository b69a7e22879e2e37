"""Filters on the wire: read by the one grammar, so that body, query string and store agree."""

from typing import Annotated, Any

from pydantic import PlainValidator, ValidationError, WithJsonSchema
from pydantic_core import InitErrorDetails, PydanticCustomError

from service import strict_json
from service.errors import DuplicateKeyError, InvalidInputError
from service.index.filter_grammar import (
    COMPARISONS,
    MAX_CONDITIONS,
    MAX_DEPTH,
    MAX_NAME_CHARS,
    MAX_VALUE_CHARS,
    MAX_VALUES,
    ROOT,
    Filter,
    parse,
)
from service.types import Filters

MAX_TEXT_CHARS = 60_000
"""Of filters in a query string."""

DESCRIPTION = (
    "Metadata that a document must have. `{field: value}` for equality, `{field: [values]}` for "
    "one of them, `{field: {operator: ...}}` with `eq`, `in`, `gt`, `gte`, `lt`, `lte`, `exists`; "
    "`and`, `or` (lists of filters) and `not` (a filter) join them. Everything in one object must "
    f"hold. At most {MAX_CONDITIONS} conditions, {MAX_VALUES} values in a list, {MAX_DEPTH} levels."
)
EXAMPLES: list[Any] = [
    {"kind": "topic", "year": [2025, 2026]},
    {"published": {"gte": "2026-01-01", "lt": "2026-07-01"}, "draft": {"exists": False}},
    {"or": [{"grade": {"gte": 11}}, {"tags": "exam"}], "not": {"language": "en"}},
]


def filters_from_text(text: str) -> Filters:
    """Filters in JSON, as a query string has them. Raises `InvalidInputError`."""
    if len(text) > MAX_TEXT_CHARS:
        raise InvalidInputError(f"must have at most {MAX_TEXT_CHARS} characters", ROOT)
    try:
        filters: Filters = strict_json.loads(text)
    except DuplicateKeyError as error:
        raise error.under(ROOT) from error
    except (ValueError, RecursionError) as error:
        raise InvalidInputError("must be a JSON object", ROOT) from error
    parse(filters)
    return filters


def _checked(given: Any) -> Filters:
    _parsed(given)
    filters: Filters = given
    return filters


def _not_empty(given: Any) -> Filters:
    if _parsed(given) is None:
        raise ValueError("must hold at least one condition")
    filters: Filters = given
    return filters


def _parsed(given: Any) -> Filter | None:
    try:
        return parse(given)
    except InvalidInputError as error:
        # The place within the filters, as pydantic would say it of its own fields.
        path = (error.field or ROOT).removeprefix(ROOT).removeprefix(".")
        wrong = PydanticCustomError("filters", "{reason}", {"reason": str(error)})
        detail = InitErrorDetails(type=wrong, loc=(path,) if path else (), input=None)
        raise ValidationError.from_exception_data(ROOT, [detail]) from error


_SCALAR = {
    "anyOf": [
        {"type": "string", "maxLength": MAX_VALUE_CHARS},
        {"type": "number"},
        {"type": "boolean"},
    ]
}
_LIST = {"type": "array", "items": _SCALAR, "minItems": 1, "maxItems": MAX_VALUES}
_LIMIT = {
    "anyOf": [{"type": "string", "maxLength": MAX_VALUE_CHARS}, {"type": "number"}],
    "description": "A number, an ISO 8601 date or another text; all of one range of one kind.",
}
_OPERATORS = {
    "type": "object",
    "properties": {
        "eq": _SCALAR,
        "in": _LIST,
        **dict.fromkeys(COMPARISONS, _LIMIT),
        "exists": {"type": "boolean"},
    },
    "additionalProperties": False,
    "minProperties": 1,
}
_NESTED = {"type": "object", "minProperties": 1, "description": "Filters, as on the outside."}
_SCHEMA = {
    "type": "object",
    "propertyNames": {"minLength": 1, "maxLength": MAX_NAME_CHARS},
    "properties": {
        "and": {"type": "array", "items": _NESTED, "minItems": 1},
        "or": {"type": "array", "items": _NESTED, "minItems": 1},
        "not": _NESTED,
    },
    "additionalProperties": {"anyOf": [*_SCALAR["anyOf"], _LIST, _OPERATORS]},
    "maxProperties": MAX_CONDITIONS,
}

FiltersField = Annotated[dict[str, Any], PlainValidator(_checked), WithJsonSchema(_SCHEMA)]
"""Filters in a body; `{}` keeps all documents. Give it `DESCRIPTION` and `EXAMPLES`."""

SomeFilters = Annotated[
    dict[str, Any],
    PlainValidator(_not_empty),
    WithJsonSchema({**_SCHEMA, "minProperties": 1}),
]
"""The same where `{}` would do harm, as in a deletion."""
