"""The server that a command asks instead of opening a data folder."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.errors import InvalidInputError, SecondpassError

if TYPE_CHECKING:
    from secondpass_client import SearchClient

UrlOption = Annotated[
    str | None, typer.Option(help="Ask this server instead of opening the data folder.")
]
KeyOption = Annotated[str | None, typer.Option(envvar="SECONDPASS_API_KEY", help="Key for --url.")]


@contextmanager
def connected(url: str, api_key: str | None, **options: Any) -> "Iterator[SearchClient]":
    """A client whose errors end the command with one line."""
    from secondpass_client import SearchClient, SearchError

    try:
        client = SearchClient(url, api_key=api_key, **options)
    except ValueError as error:
        raise InvalidInputError(f"--url or --api-key: {error}") from error
    try:
        with client:
            yield client
    except SearchError as error:
        raise SecondpassError(f"{url}: {error}") from error
