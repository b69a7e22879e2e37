"""The progress of long commands: a bar on stderr, or a plain line now and then."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer
from rich import progress as bars

from service.cli.options import console

if TYPE_CHECKING:
    from service.training.system import OnProgress
    from service.training.system import Progress as Step

LINE_SECONDS = 10
"""Between two lines if there is no terminal for a bar."""

Show = Callable[[int | None, int | None, str], None]
"""Takes how many are done, of how many (both None for words alone), and what else to say."""


@contextmanager
def progress(title: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """A bar with count, rate and time left; yields a function that sets the rows done so far."""
    began = time.monotonic()
    with _shown(title, total) as show:

        def set_done(done: int) -> None:
            seconds = max(time.monotonic() - began, 1e-3)
            show(done, total, f"{done / seconds:.1f}/s")

        yield set_done


@contextmanager
def training_bar(title: str) -> Iterator["OnProgress"]:
    """A bar with steps, losses and examples a second."""
    with _shown(title, None, "step ") as show:

        def tell(now: "Step | str") -> None:
            if isinstance(now, str):
                show(None, None, now)
            else:
                show(now.step, now.steps, _said(now))

        yield tell


@contextmanager
def _shown(title: str, total: int | None, unit: str = "") -> Iterator[Show]:
    if not console(stderr=True).is_terminal:
        yield _lines(title, unit)
        return
    columns = (
        bars.TextColumn("{task.description}", markup=False),
        bars.BarColumn(),
        bars.MofNCompleteColumn(),
        bars.TextColumn("{task.fields[said]}", markup=False),
        bars.TimeElapsedColumn(),
        bars.TimeRemainingColumn(),
    )
    with bars.Progress(*columns, console=console(stderr=True)) as bar:
        task = bar.add_task(title, total=total, said="")
        yield lambda done, total, said: bar.update(task, completed=done, total=total, said=said)


def _lines(title: str, unit: str) -> Show:
    began = last = time.monotonic()
    is_over = False

    def show(done: int | None, total: int | None, said: str) -> None:
        nonlocal last, is_over
        if done is None:
            typer.echo(f"{title}: {said}", err=True)
            return
        now, was_over, is_over = time.monotonic(), is_over, done == total
        if not was_over and (is_over or now - last >= LINE_SECONDS):
            last = now
            of = "" if total is None else f" of {total}"
            typer.echo(f"{title}: {unit}{done}{of}, {now - began:.0f} s, {said}", err=True)

    return show


def _said(now: "Step") -> str:
    losses = {"loss": now.loss, "validation loss": now.validation_loss}
    known = [f"{name} {loss:.4f}" for name, loss in losses.items() if loss is not None]
    return ", ".join([f"{now.examples_per_second:.1f} examples/s", *known])
