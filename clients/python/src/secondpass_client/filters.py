"""What a filter may look like."""

from collections.abc import Mapping, Sequence
from typing import TypeAlias

FilterScalar = str | int | float | bool
FilterValue: TypeAlias = (
    FilterScalar
    | Sequence[FilterScalar]
    | Mapping[str, "FilterValue"]
    | Sequence[Mapping[str, "FilterValue"]]
)
Filters = Mapping[str, FilterValue]
"""Which documents to keep; everything in one mapping must hold.

`{field: scalar}` for equality, `{field: [scalars]}` for one of them, `{field: {operator: ...}}`
with `eq`, `in`, `gt`, `gte`, `lt`, `lte` and `exists`; `{"and": [filters]}`, `{"or": [filters]}`
and `{"not": filters}` join filters.
"""
