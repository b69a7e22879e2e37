"""The console that commands print to."""

from rich.console import Console
from rich.markup import escape


def console(*, stderr: bool = False) -> Console:
    """A console that prints every text as it is: `[brackets]` and `:names:` mean nothing to it."""
    return Console(stderr=stderr, markup=False, emoji=False, highlight=False)


def as_help(text: str) -> str:
    """A text such that `--help`, which reads rich's markup, shows it as it is."""
    return escape(text)
