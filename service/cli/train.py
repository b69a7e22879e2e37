"""The command that trains a model: train."""

from pathlib import Path
from typing import Annotated

import typer

from service.cli.options import named_value, with_settings
from service.cli.progress import training_bar
from service.errors import TrainingError
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
ResumeOption = Annotated[bool, typer.Option(help="Continue an interrupted training of this job.")]
OverwriteOption = Annotated[
    bool, typer.Option("--overwrite", help="Replace another model in --out.")
]
DataLicenceOption = Annotated[
    list[str] | None,
    typer.Option(help="For the model card: NAME=LICENCE of a collection. Repeatable."),
]


def register(app: typer.Typer) -> None:
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
    """Train a model on labels with a recipe: see docs/training.md."""
    licences = dict(named_value(one, "data-licence", "NAME=LICENCE") for one in data_licence or [])
    try:
        from service.training.recipe import load_recipe
        from service.training.trainer import run

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
        start = "" if before is None else f"{before:.4f} -> "
        typer.echo(f"{name}: {start}{after:.4f}")
    typer.echo(f"{out}: model, README.md (its card), loss.png, logs")
