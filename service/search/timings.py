"""How long the stages of one request took."""

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Timings:
    """Milliseconds per stage, and in all."""

    def __init__(self) -> None:
        self._began = time.perf_counter()
        self._stages: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Measure what is done within."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self._stages[name] = _milliseconds(began)

    def finish(self) -> dict[str, float]:
        """The stages in their order, then `total`."""
        return {**self._stages, "total": _milliseconds(self._began)}


def _milliseconds(began: float) -> float:
    return round((time.perf_counter() - began) * 1000, 3)
