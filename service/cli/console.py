"""The console that commands print to."""

from rich.console import Console


def console(*, stderr: bool = False) -> Console:
    """A console that prints every text as it is, with `[brackets]` and `:names:`."""
    return Console(stderr=stderr, markup=False, emoji=False, highlight=False)
