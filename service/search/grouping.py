"""Groups: hits with one value of a metadata field, in the order of the best of each group."""

from collections.abc import Hashable, Sequence

from service.documents.rows import composed
from service.store.metadata_values import kind_of
from service.types import FilterScalar, Metadata


def group_value(metadata: Metadata, field: str) -> FilterScalar | None:
    """The value that groups a document: of a list the first; None where there is none."""
    name = composed(field)
    found = next((value for n, value in metadata.items() if composed(n) == name), None)
    if isinstance(found, list):
        found = found[0] if found else None
    return composed(found) if isinstance(found, str) else found


def grouped(values: Sequence[FilterScalar | None]) -> list[list[int]]:
    """The places of each group, in the order of their first ones.

    Values are equal as in a filter: 1 and 1.0 are, 1 and true are not. A document without a value
    is a group of its own.
    """
    groups: dict[Hashable, list[int]] = {}
    for place, value in enumerate(values):
        key = place if value is None else (kind_of(value), value)
        groups.setdefault(key, []).append(place)
    return list(groups.values())
