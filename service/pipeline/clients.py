"""On whose behalf the work under way is done."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_client: ContextVar[str | None] = ContextVar("client", default=None)


def current_client() -> str | None:
    """The client of the request under way; None where no request is: a command, say.

    A task and a thread that a request starts (`asyncio.to_thread`) have its client.
    """
    return _client.get()


@contextmanager
def on_behalf_of(client: str | None) -> Iterator[None]:
    """Do what follows for this client."""
    token = _client.set(client)
    try:
        yield
    finally:
        _client.reset(token)
