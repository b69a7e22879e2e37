"""Commands on labelled files: dataset check, describe, split, levels and convert."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from service.cli.options import SeedOption, console
from service.errors import InvalidInputError

if TYPE_CHECKING:
    from service.datasets import Collection
    from service.datasets.levels import ArticleOf

PathArgument = Annotated[
    Path,
    typer.Argument(
        help="Folder in BEIR's, NanoBEIR's or TREC's layout, or JSON lines of rows, triplets, "
        "pairs or levels."
    ),
]
FolderArgument = Annotated[
    Path, typer.Argument(help="Folder in BEIR's, NanoBEIR's or TREC's layout.")
]
ArticleOption = Annotated[
    str | None,
    typer.Option(
        help="What names a document's article: title, metadata:FIELD, or id:PATTERN, a regular "
        "expression whose first group is the article."
    ),
]


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="Check, describe and prepare labelled data.", no_args_is_help=True)
    for command in (check, describe, split, levels, convert):
        group.command()(command)
    app.add_typer(group, name="dataset")
    app.add_typer(group, name="collection", hidden=True)  # its former name


def check(path: PathArgument) -> None:
    """Name every wrong row with its file, line and field. Exits with 1 if there is one."""
    from service.datasets import find_problems
    from service.datasets.problems import described

    problems = find_problems(path, on_warning=lambda said: typer.echo(f"warning: {said}", err=True))
    for problem in problems:
        typer.echo(described(problem))
    typer.echo(f"{len(problems) or 'no'} problem{'' if len(problems) == 1 else 's'}", err=True)
    if problems:
        raise typer.Exit(1)


def describe(
    path: PathArgument,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")] = False,
) -> None:
    """Show counts, grades, the positive share, duplicates and lengths."""
    from service.datasets import describe as figures_of
    from service.datasets import open_labels

    figures = figures_of(open_labels(path))
    if as_json:
        typer.echo(json.dumps(figures, ensure_ascii=False, indent=2))
        return
    table = Table(show_header=False)
    for name, value in figures.items():
        table.add_row(name.replace("_", " "), _shown(value))
    console().print(table)


def split(
    path: FolderArgument,
    out: Annotated[Path, typer.Option(help="New folder with a BEIR folder for each part.")],
    train: Annotated[float, typer.Option(min=0, max=1, help="Share of queries.")] = 0.8,
    validation: Annotated[float, typer.Option(min=0, max=1, help="Share of queries.")] = 0.1,
    test: Annotated[float, typer.Option(min=0, max=1, help="Share of queries.")] = 0.1,
    article: ArticleOption = None,
    seed: SeedOption = 0,
) -> None:
    """Split the judged queries; with --article, each article's queries stay in one part."""
    from service.datasets import write_beir
    from service.datasets.split import split_collection
    from service.durable import new_folder

    asked = {"train": train, "validation": validation, "test": test}
    parts = split_collection(
        _opened(path),
        {name: share for name, share in asked.items() if share > 0},
        seed=seed,
        article_of=_article_of(article),
    )
    with new_folder(out) as folder:
        for name, part in parts.items():
            write_beir(folder / name, part)
    for name, part in parts.items():
        typer.echo(f"{out / name}: {len(part.queries)} queries")


def levels(
    path: FolderArgument,
    out: Annotated[Path, typer.Option(help="New BEIR folder with grades 2, 1, 0; or .jsonl file.")],
    article: ArticleOption = None,
    irrelevant: Annotated[
        int, typer.Option(min=0, help="Documents drawn from other articles for each query.")
    ] = 4,
    max_related: Annotated[
        int | None, typer.Option(min=1, help="Most siblings of a query; drawn if there are more.")
    ] = None,
    seed: SeedOption = 0,
) -> None:
    """Make a three-level set: from siblings with --article, else from grades 2, 1 and 0."""
    from service.datasets import derive_levels, graded, levels_from_grades, write_beir, write_levels

    collection = _opened(path)
    article_of = _article_of(article)
    if article_of is None:
        levelled = levels_from_grades(collection)
    else:
        levelled = derive_levels(
            collection, article_of, irrelevant=irrelevant, max_related=max_related, seed=seed
        )
    if _is_lines(out):
        write_levels(out, levelled)
    else:
        write_beir(out, graded(levelled))
    left_out = len(collection.qrels) - len(levelled.queries)
    typer.echo(f"{out}: {len(levelled.queries)} queries, {left_out} left out")


def convert(
    path: PathArgument,
    out: Annotated[Path, typer.Option(help="New BEIR folder, or .jsonl file of training rows.")],
) -> None:
    """Convert any layout to a BEIR folder or to rows {query, pos, neg}."""
    from service.datasets import read_training_rows, write_beir, write_training_rows
    from service.datasets.training_rows import collection_of, rows_of

    if path.is_file():
        collection = collection_of(path.stem, read_training_rows(path))
    else:
        collection = _opened(path)
    if _is_lines(out):
        typer.echo(f"{out}: {write_training_rows(out, rows_of(collection))} rows")
        return
    write_beir(out, collection)
    typer.echo(f"{out}: {len(collection.documents)} documents, {len(collection.queries)} queries")


def _opened(path: Path) -> "Collection":
    """The collection of a folder; its warnings are printed."""
    from service.datasets import open_collection

    collection = open_collection(path)
    for warning in collection.warnings:
        typer.echo(f"warning: {warning}", err=True)
    return collection


def _article_of(spec: str | None) -> "ArticleOf | None":
    from service.datasets import article_key

    return article_key(spec) if spec else None


def _is_lines(out: Path) -> bool:
    if out.suffix not in (".jsonl", ".ndjson"):
        return False
    if out.exists():
        raise InvalidInputError(f"{out}: is there already", "out")
    return True


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return "  ".join(f"{name} {number:g}" for name, number in value.items())
    return "-" if value is None else str(value)
