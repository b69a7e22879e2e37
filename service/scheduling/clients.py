"""On whose behalf the work under way is done."""

from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar


class Caller:
    """A request, and the client that sent it; a caller without a client is a client of its own."""

    def __init__(self, client: str | None = None) -> None:
        self.client = client
        self.had = 0.0
        """Seconds of the threads that work for many: see `service.scheduling.shares`."""

    @property
    def account(self) -> Hashable:
        """Who has what it takes counted: its client."""
        return self if self.client is None else self.client


_caller: ContextVar[Caller | None] = ContextVar("caller", default=None)


def current_caller() -> Caller:
    """The request under way; a new caller where there is none: of a command, say.

    A task and a thread that a request starts (`asyncio.to_thread`) have its caller.
    """
    return _caller.get() or Caller()


def current_client() -> str | None:
    """The client of the request under way; None where there is none."""
    return current_caller().client


@contextmanager
def on_behalf_of(client: str | None) -> Iterator[Caller]:
    """What follows is a request of this client."""
    with _acting(Caller(client)) as caller:
        yield caller


@contextmanager
def one_caller() -> Iterator[Caller]:
    """What follows is of the request under way, or together of a new caller."""
    with _acting(current_caller()) as caller:
        yield caller


@contextmanager
def _acting(caller: Caller) -> Iterator[Caller]:
    token = _caller.set(caller)
    try:
        yield caller
    finally:
        _caller.reset(token)
