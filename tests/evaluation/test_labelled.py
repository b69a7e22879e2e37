"""Which collections are measured, whatever happens to some of them."""

from pathlib import Path

import pytest

from service.errors import StoreError
from service.evaluation.labelled import Labelled, measure_each

COLLECTIONS = [Labelled(name, Path(name), "", {}, {}, ()) for name in ("a", "b", "c")]


def failing(name: str, error: BaseException) -> tuple[list[str], dict[str, str]]:
    def measured(labelled: Labelled) -> str:
        if labelled.name == name:
            raise error
        return labelled.name

    return measure_each(COLLECTIONS, measured)


def test_a_failure_costs_its_own_collection_only() -> None:
    assert failing("b", StoreError("it is full")) == (["a", "c"], {"b": "it is full"})
    assert failing("c", RuntimeError("x")) == (["a", "b"], {"c": "RuntimeError: x"})


def test_an_interruption_ends_it_and_keeps_what_was_measured() -> None:
    assert failing("b", KeyboardInterrupt()) == (["a"], dict.fromkeys("bc", "interrupted"))
    with pytest.raises(KeyboardInterrupt):
        failing("a", KeyboardInterrupt())


def test_where_nothing_could_be_measured_the_first_failure_is_raised() -> None:
    def measured(labelled: Labelled) -> str:
        raise StoreError(labelled.name)

    with pytest.raises(StoreError, match="a"):
        measure_each(COLLECTIONS, measured)
