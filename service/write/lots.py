"""Groups rows into lots of bounded size, so that memory is bounded for any texts."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def lots(
    rows: Iterable[T], size: Callable[[T], int], enough: int, most_rows: int | None = None
) -> Iterator[list[T]]:
    """The rows in lots; a lot ends with the row whose size makes it `enough`."""
    lot: list[T] = []
    total = 0
    for row in rows:
        lot.append(row)
        total += size(row)
        if total >= enough or len(lot) == most_rows:
            yield lot
            lot, total = [], 0
    if lot:
        yield lot
