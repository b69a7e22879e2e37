"""The `secondpass` command."""

import os
import sys

import typer

from service.cli import (
    calibrate,
    collection_commands,
    data,
    datasets,
    evaluate,
    key_commands,
    label_commands,
    mine,
    operate,
    train,
)
from service.environment import check_environment
from service.errors import InvalidInputError, SecondpassError
from service.memory import keep_freed_memory
from service.native import wait_briefly

app = typer.Typer(
    name="secondpass",
    help="Two-stage search with a confidence that means something.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for module in (
    data,
    operate,
    key_commands,
    evaluate,
    calibrate,
    train,
    datasets,
    collection_commands,
    label_commands,
    mine,
):
    module.register(app)


def main() -> None:
    """Run the command; an expected error ends it with one line instead of a traceback."""
    tune_process()
    try:
        if "--help" not in sys.argv:  # the help names the right variables
            check_environment()
        app()
    except SecondpassError as error:
        typer.echo(f"secondpass: {_line(error)}", err=True)
        sys.exit(2 if isinstance(error, InvalidInputError) else 1)
    except KeyboardInterrupt:
        typer.echo("secondpass: interrupted", err=True)
        sys.exit(130)


def tune_process() -> None:
    """Make models fast beside other work. Call it before torch is imported, which reads some."""
    wait_briefly()
    keep_freed_memory()


def _line(error: SecondpassError) -> str:
    """The message, with the field that it is about in front unless it names the field itself."""
    field = error.field if isinstance(error, InvalidInputError) else None
    said = str(error)
    if not field or field in said or said.startswith(f"{field.rpartition('.')[2]}: "):
        return said
    return f"{field}: {said}"
