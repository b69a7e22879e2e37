"""The command that trains a model: train."""

from pathlib import Path
from typing import Annotated

import typer

from service.cli.options import with_settings
from service.cli.progress import training_bar
from service.errors import InvalidInputError, TrainingError
from service.extras import install_command
from service.settings import Settings, settings_about

CollectionOption = Annotated[
    list[Path],
    typer.Option(help="Labels: a BEIR folder or a file of rows, levels or pairs. Repeatable."),
]
ChangeOption = Annotated[
    list[str] | None,
    typer.Option("--set", help="Change a value: training.batch_size=8. Repeatable."),
]
ResumeOption = Annotated[
    bool, typer.Option(help="Go on where an interrupted training of this job stopped.")
]
OverwriteOption = Annotated[
    bool, typer.Option("--overwrite", help="Take the place of another model in --out.")
]
DataLicenceOption = Annotated[
    list[str] | None,
    typer.Option(help="For the model card: NAME=LICENCE of a collection. Repeatable."),
]


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command()(with_settings(*settings_about("models"))(train))


def train(
    recipe: Annotated[str, typer.Argument(help="A shipped recipe, or the path of a TOML file.")],
    collection: CollectionOption,
    out: Annotated[Path, typer.Option(help="Folder for the trained model.")],
    settings: Settings,
    change: ChangeOption = None,
    resume: ResumeOption = True,
    overwrite: OverwriteOption = False,
    data_licence: DataLicenceOption = None,
) -> None:
    """Train a model on labels, with a recipe: see docs/training.md."""
    licences = dict(_licence(stated) for stated in data_licence or [])
    try:
        from service.training.recipe import load_recipe
        from service.training.session import run

        loaded = load_recipe(recipe, change or [])
        with training_bar(loaded.name) as on_progress:
            outcome = run(
                loaded,
                collection,
                out,
                settings,
                resume=resume,
                overwrite=overwrite,
                on_progress=on_progress,
                licences=licences,
            )
    except ImportError as error:
        raise TrainingError(
            f"training needs more packages ({error}): {install_command('train')}"
        ) from error
    if not outcome.trained:
        typer.echo(f"{out} is finished already; --no-resume --overwrite trains it again")
    for name, after in outcome.after.items():
        before = outcome.before.get(name)
        typer.echo(
            f"{name}: " + (f"{before:.4f} -> " if before is not None else "") + f"{after:.4f}"
        )
    typer.echo(f"{out}: model, README.md (its card), loss.png, logs")


def _licence(stated: str) -> tuple[str, str]:
    name, equals, licence = stated.partition("=")
    if not (name and equals and licence):
        raise InvalidInputError(f"--data-licence {stated!r} is not NAME=LICENCE", "data-licence")
    return name, licence
