"""What is measured, whatever happens to some of it."""

import os
import signal

import pytest

from service.errors import SecondpassError, StoreError
from service.evaluation.partial_results import measure_each, require_all


def failing(name: str, error: BaseException) -> tuple[dict[str, str], dict[str, str]]:
    def measure(one: str) -> str:
        if one == name:
            raise error
        return one

    return measure_each({one: one for one in "abc"}, measure)


def test_a_failure_costs_nothing_else() -> None:
    assert failing("b", StoreError("it is full")) == ({"a": "a", "c": "c"}, {"b": "it is full"})
    assert failing("c", RuntimeError("x")) == ({"a": "a", "b": "b"}, {"c": "RuntimeError: x"})


def test_an_interruption_ends_it_and_keeps_what_was_measured() -> None:
    assert failing("b", KeyboardInterrupt()) == ({"a": "a"}, dict.fromkeys("bc", "interrupted"))
    with pytest.raises(KeyboardInterrupt):
        failing("a", KeyboardInterrupt())


def test_a_termination_is_an_interruption() -> None:
    def measure(one: str) -> str:
        if one == "b":
            os.kill(os.getpid(), signal.SIGTERM)
        return one

    before = signal.getsignal(signal.SIGTERM)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a mend that is undone fails, and kills nothing
    try:
        assert measure_each({one: one for one in "abc"}, measure) == (
            {"a": "a"},
            dict.fromkeys("bc", "interrupted"),
        )
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, before)


def test_where_nothing_could_be_measured_the_first_failure_is_raised() -> None:
    def measure(one: str) -> str:
        raise StoreError(one)

    with pytest.raises(StoreError, match="a"):
        measure_each({one: one for one in "ab"}, measure)


def test_what_failed_is_told_at_the_end() -> None:
    require_all({}, 2)
    with pytest.raises(SecondpassError, match="1 of 3 were not measured: b: it is full"):
        require_all({"b": "it is full"}, 2)
