"""Computes the next element of an iterable while the current one is used."""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")


@contextmanager
def ahead(source: Iterable[T], name: str) -> Iterator[Iterator[T]]:
    """The elements of `source`, computed in a thread of this name, one at a time and one ahead.

    An error of `source` is raised in place of its element. The end of the block waits for the
    element that is being computed.
    """
    iterator, end = iter(source), object()
    with ThreadPoolExecutor(1, name) as thread:

        def elements() -> Iterator[T]:
            coming = thread.submit(next, iterator, end)
            while (element := coming.result()) is not end:
                coming = thread.submit(next, iterator, end)
                yield element  # type: ignore[misc]

        yield elements()
