"""The progress bar of long commands."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from service.cli.console import console

LINE_SECONDS = 10
"""Between two lines where there is no terminal for a bar."""


class _Rate(ProgressColumn):
    """Rows a second."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:.1f}/s" if speed else "", style="dim")


@contextmanager
def progress(title: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """A bar with count, rate and time left on stderr; yields what sets the rows done so far.

    Where stderr is no terminal, a plain line now and then.
    """
    out = console(stderr=True)
    if not out.is_terminal:
        yield _lines(title, total)
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=out) as bar:
        task = bar.add_task(title, total=total)

        def set_done(done: int) -> None:
            bar.update(task, completed=done)

        yield set_done


def _lines(title: str, total: int | None) -> Callable[[int], None]:
    began = said = time.monotonic()
    is_over = False

    def set_done(done: int) -> None:
        nonlocal said, is_over
        now, was_over, is_over = time.monotonic(), is_over, done == total
        if not was_over and (is_over or now - said >= LINE_SECONDS):
            said = now
            of = "" if total is None else f" of {total}"
            print(f"{title}: {done}{of}, {now - began:.0f} s", file=sys.stderr, flush=True)

    return set_done
