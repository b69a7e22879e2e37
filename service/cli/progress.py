"""The progress of long commands: a bar on stderr, or a plain line now and then."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from service.cli.options import console

if TYPE_CHECKING:
    from service.training.system import OnProgress
    from service.training.system import Progress as Step

LINE_SECONDS = 10
"""Between two lines if there is no terminal for a bar."""


@contextmanager
def progress(title: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """A bar with count, rate and time left; yields a function that sets the rows done so far."""
    if not console(stderr=True).is_terminal:
        yield _lines(title, total)
        return
    with _bar() as bar:
        task = bar.add_task(title, total=total, said="")

        def set_done(done: int) -> None:
            speed = bar.tasks[task].speed
            bar.update(task, completed=done, said=f"{speed:.1f}/s" if speed else "")

        yield set_done


@contextmanager
def training_bar(title: str) -> Iterator["OnProgress"]:
    """A bar with steps, losses and examples a second."""
    if not console(stderr=True).is_terminal:
        yield _training_lines(title)
        return
    with _bar() as bar:
        task = bar.add_task(title, total=None, said="")

        def show(now: "Step | str") -> None:
            if isinstance(now, str):
                bar.update(task, said=now)
            else:
                bar.update(task, completed=now.step, total=now.steps, said=_said(now))

        yield show


def _bar() -> Progress:
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[said]}", markup=False),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console(stderr=True),
    )


def _lines(title: str, total: int | None) -> Callable[[int], None]:
    began = said = time.monotonic()
    of = "" if total is None else f" of {total}"
    is_over = False

    def set_done(done: int) -> None:
        nonlocal said, is_over
        now, was_over, is_over = time.monotonic(), is_over, done == total
        if not was_over and (is_over or now - said >= LINE_SECONDS):
            said = now
            typer.echo(f"{title}: {done}{of}, {now - began:.0f} s", err=True)

    return set_done


def _training_lines(title: str) -> "OnProgress":
    said = time.monotonic()

    def show(now: "Step | str") -> None:
        nonlocal said
        if isinstance(now, str):
            typer.echo(f"{title}: {now}", err=True)
        elif time.monotonic() - said >= LINE_SECONDS or now.step == now.steps:
            said = time.monotonic()
            typer.echo(f"{title}: step {now.step} of {now.steps}, {_said(now)}", err=True)

    return show


def _said(now: "Step") -> str:
    losses = {"loss": now.loss, "validation loss": now.validation_loss}
    known = [f"{name} {loss:.4f}" for name, loss in losses.items() if loss is not None]
    return ", ".join([f"{now.examples_per_second:.1f} examples/s", *known])
