"""Groups rows into batches of bounded size, so that memory is bounded for any texts."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def row_batches(
    rows: Iterable[T], size: Callable[[T], int], enough: int, most_rows: int | None = None
) -> Iterator[list[T]]:
    """The rows in batches; a batch ends with the row whose size makes it `enough`."""
    batch: list[T] = []
    total = 0
    for row in rows:
        batch.append(row)
        total += size(row)
        if total >= enough or len(batch) == most_rows:
            yield batch
            batch, total = [], 0
    if batch:
        yield batch
