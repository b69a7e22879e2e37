"""The progress of a training: steps, losses, examples a second."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bar

from service.cli.console import console
from service.cli.progress import LINE_SECONDS

if TYPE_CHECKING:
    from service.training.callbacks import OnProgress, Progress


@contextmanager
def training_bar(title: str) -> Iterator["OnProgress"]:
    """A bar on stderr; where that is no terminal, a plain line now and then."""
    out = console(stderr=True)
    if not out.is_terminal:
        yield _lines(title)
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[said]}", markup=False),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=out) as bar:
        task = bar.add_task(title, total=None, said="")

        def show(now: "Progress | str") -> None:
            if isinstance(now, str):
                bar.update(task, said=now)
                return
            bar.update(task, completed=now.step, total=now.steps, said=_said(now))

        yield show


def _lines(title: str) -> "OnProgress":
    said = time.monotonic()

    def show(now: "Progress | str") -> None:
        nonlocal said
        if isinstance(now, str):
            typer.echo(f"{title}: {now}", err=True)
            return
        if time.monotonic() - said >= LINE_SECONDS or now.step == now.steps:
            said = time.monotonic()
            typer.echo(f"{title}: step {now.step} of {now.steps}, {_said(now)}", err=True)

    return show


def _said(now: "Progress") -> str:
    parts = [f"{now.examples_per_second:.1f} examples/s"]
    if now.loss is not None:
        parts.append(f"loss {now.loss:.4f}")
    if now.validation_loss is not None:
        parts.append(f"validation loss {now.validation_loss:.4f}")
    return ", ".join(parts)
