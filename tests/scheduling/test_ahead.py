"""The next element is computed while the current one is used."""

import threading
from collections.abc import Iterator

import pytest

from service.scheduling.ahead import ahead


def test_elements_come_in_their_order_from_a_thread() -> None:
    names: set[str] = set()

    def source() -> Iterator[int]:
        for number in range(5):
            names.add(threading.current_thread().name)
            yield number

    with ahead(source(), "counting") as numbers:
        assert list(numbers) == [0, 1, 2, 3, 4]
    assert names == {"counting_0"}


def test_one_element_is_computed_ahead_and_no_more() -> None:
    computed: list[int] = []
    second = threading.Event()

    def source() -> Iterator[int]:
        for number in range(5):
            computed.append(number)
            if number == 1:
                second.set()
            yield number

    with ahead(source(), "counting") as numbers:
        assert next(numbers) == 0
        assert second.wait(10)
    assert computed == [0, 1]


def test_an_error_is_raised_where_its_element_would_be() -> None:
    with ahead(map(int, ["1", "2", "x", "4"]), "reading") as numbers:
        assert [next(numbers), next(numbers)] == [1, 2]
        with pytest.raises(ValueError, match="'x'"):
            next(numbers)


def test_an_error_of_the_block_ends_the_threads_of_a_chain() -> None:
    before = threading.active_count()

    def fail() -> None:
        with ahead(iter(range(100)), "a") as first, ahead(map(str, first), "b") as second:
            assert next(second) == "0"
            raise KeyError("full")

    with pytest.raises(KeyError, match="full"):
        fail()
    assert threading.active_count() == before
