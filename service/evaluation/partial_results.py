"""Measure one thing after the other, and keep the results if another one fails."""

import logging
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar

from service.errors import SecondpassError

log = logging.getLogger(__name__)

_Given = TypeVar("_Given")
_Measured = TypeVar("_Measured")


def measure_each(
    given: Mapping[str, _Given], measure: Callable[[_Given], _Measured]
) -> tuple[dict[str, _Measured], dict[str, str]]:
    """The results, and why the others failed, by name.

    An interruption (SIGINT or SIGTERM) ends it and counts as the failure of the rest. Raises the
    first failure if nothing could be measured.
    """
    results: dict[str, _Measured] = {}
    failed: dict[str, BaseException] = {}
    with _interrupted_by_sigterm():
        for name, one in given.items():
            try:
                results[name] = measure(one)
            except KeyboardInterrupt as error:
                left = [left for left in given if left not in results and left not in failed]
                failed |= dict.fromkeys(left, error)
                break
            except SecondpassError as error:
                failed[name] = error
            except Exception as error:
                log.exception("%s cannot be measured", name)
                failed[name] = error
    if failed and not results:
        raise next(iter(failed.values()))
    return results, {name: _reason(error) for name, error in failed.items()}


def require_all(failed: Mapping[str, str], measured: int) -> None:
    """Raise `SecondpassError` if something failed; call it once the results are reported."""
    if failed:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in failed.items())
        total = measured + len(failed)
        raise SecondpassError(f"{len(failed)} of {total} were not measured: {reasons}")


@contextmanager
def _interrupted_by_sigterm() -> Iterator[None]:
    """Make SIGTERM, as from `timeout`, act like Ctrl+C. Only the main thread can."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _reason(error: BaseException) -> str:
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    if isinstance(error, SecondpassError):
        return str(error)
    return f"{type(error).__name__}: {error}"
