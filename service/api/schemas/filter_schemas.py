"""The wire of filters. One grammar reads them in bodies, query strings and the store."""

from typing import Annotated, Any

from pydantic import PlainValidator, ValidationError, WithJsonSchema
from pydantic_core import InitErrorDetails, PydanticCustomError

from service import strict_json
from service.api.schemas.common import component
from service.errors import DuplicateKeyError, InvalidInputError
from service.store.filter_grammar import (
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
"""Length of filters in a query string."""

DESCRIPTION = (
    "Metadata that a document must have. `{field: value}` for equality, `{field: [values]}` for "
    "one of them, `{field: {operator: ...}}` with `eq`, `in`, `gt`, `gte`, `lt`, `lte`, `exists`; "
    "`and`, `or` (lists of filters) and `not` (a filter) combine them. All entries of an object "
    f"must hold. Limits: {MAX_CONDITIONS} conditions, {MAX_VALUES} values in a list, {MAX_DEPTH} "
    "levels."
)
EXAMPLES: list[Any] = [
    {"kind": "topic", "year": [2025, 2026]},
    {"published": {"gte": "2026-01-01", "lt": "2026-07-01"}, "draft": {"exists": False}},
    {"or": [{"grade": {"gte": 11}}, {"tags": "exam"}], "not": {"language": "en"}},
]


def filters_from_text(text: str) -> Filters:
    """Filters from the JSON of a query string. Raises `InvalidInputError`."""
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


def _checked(given: Any) -> Any:
    _parsed(given)
    return given


def _not_empty(given: Any) -> Any:
    if _parsed(given) is None:
        raise ValueError("must have at least one condition")
    return given


def _parsed(given: Any) -> Filter | None:
    try:
        return parse(given)
    except InvalidInputError as error:
        # The place within the filters, as pydantic reports its own fields.
        path = (error.field or ROOT).removeprefix(ROOT).removeprefix(".")
        wrong = PydanticCustomError("filters", "{reason}", {"reason": str(error)})
        detail = InitErrorDetails(type=wrong, loc=(path,) if path else (), input=None)
        raise ValidationError.from_exception_data(ROOT, [detail]) from error


_JOINS = "and", "or", "not"
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
    "description": "A number, an ISO 8601 date or another string; one kind within a range.",
}
_OPERATORS = {
    "type": "object",
    "properties": {
        "eq": {**_SCALAR, "description": "The field has this value."},
        "in": {**_LIST, "description": "The field has one of these values."},
        **dict.fromkeys(COMPARISONS, _LIMIT),
        "exists": {"type": "boolean", "description": "Whether the field has any value."},
    },
    "additionalProperties": False,
    "minProperties": 1,
}
_CONDITION = {"anyOf": [*_SCALAR["anyOf"], _LIST, component("FilterOperators")]}
_NESTED = {**component("Filter"), "minProperties": 1}
_NESTED_LIST = {"type": "array", "items": _NESTED, "minItems": 1, "maxItems": MAX_CONDITIONS}
_FILTER = {
    "type": "object",
    "description": DESCRIPTION,
    "properties": {
        "and": {**_NESTED_LIST, "description": "All of these hold."},
        "or": {**_NESTED_LIST, "description": "At least one of these holds."},
        "not": {**_NESTED, "description": "This does not hold."},
    },
    "propertyNames": {"minLength": 1, "maxLength": MAX_NAME_CHARS},
    "maxProperties": MAX_CONDITIONS,
    # Every other name is a field with a condition.
    "patternProperties": {f"^(?!(?:{'|'.join(_JOINS)})$)": component("FilterCondition")},
    # No name is left for this. It is for generated types, whose index signature must fit the joins.
    "additionalProperties": {
        "anyOf": [
            component("FilterCondition"),
            component("Filter"),
            {"type": "array", "items": component("Filter")},
        ]
    },
    "examples": EXAMPLES,
}
COMPONENTS = {
    "Filter": _FILTER,
    "FilterCondition": {**_CONDITION, "description": "A value, one of a list, or operators."},
    "FilterOperators": {**_OPERATORS, "description": "All of them hold for one value."},
}
"""For `components.schemas`: a filter may contain filters, so it needs a name."""

FiltersField = Annotated[
    dict[str, Any], PlainValidator(_checked), WithJsonSchema(component("Filter"))
]
"""Filters in a body; `{}` matches all documents. Add `DESCRIPTION` and `EXAMPLES` to the field."""

SomeFilters = Annotated[dict[str, Any], PlainValidator(_not_empty), WithJsonSchema(_NESTED)]
"""The same for a deletion, where `{}` would do harm."""
