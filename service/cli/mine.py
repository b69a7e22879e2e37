"""The command that mines negatives: mine."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from inspect import Parameter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.markup import escape
from rich.table import Column, Table

from service import __version__
from service.cli.datasets import ArticleOption
from service.cli.options import SeedOption, console, with_parameters, with_settings
from service.cli.progress import progress
from service.errors import InvalidInputError
from service.settings import Settings, settings_about

if TYPE_CHECKING:
    from service.training.mining.choice import MiningReport
    from service.training.mining.examples import Examples
    from service.types import Vectors

_SETTINGS = (*settings_about("models", "encoder"), "passage_tokens", "max_document_chars")

Strategy = Literal["dense", "bm25", "both", "smart", "random"]
"""Where negatives come from."""

_Pick = Literal["nearest", "random"]

_ENCODING = ("dense", "both")
"""Strategies that need vectors."""

CollectionOption = Annotated[
    list[Path],
    typer.Option(
        "--collection",
        help="Labelled folder, or JSON lines of rows; give the option again for more.",
    ),
]
StrategyOption = Annotated[
    Strategy,
    typer.Option(
        help="The encoder's nearest, BM25's best, both in turn, one of the same article and "
        "one of another (smart), or any."
    ),
]
QueriesOfOption = Annotated[
    Path | None,
    typer.Option(
        help="JSON lines {_id, query} for documents that no labelled query asks for; turns "
        "--negative-queries on."
    ),
]
MinGradeOption = Annotated[
    int, typer.Option(min=1, help="Least grade that is right (smart by grades: always 2).")
]
WorkOption = Annotated[
    Path | None, typer.Option(help=escape("Folder for vectors.  [default: CACHE_DIR/mining]"))
]
ReportOption = Annotated[
    Path | None, typer.Option(help=escape("File for the report.  [default: OUT.report.json]"))
]


def _rule(name: str, default: Any, text: str, kind: Any = None, **limits: Any) -> Parameter:
    kind = kind or (float | None if default is None else type(default))
    option = Annotated[kind, typer.Option(help=escape(text), **limits)]
    return Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=option)


_RULES = (
    _rule("negatives", 4, "Negatives of a row (smart: always 2).", min=1),
    _rule("rank_min", 1, "First rank that may be taken.", min=1),
    _rule("rank_max", 100, "Last rank that may be taken.", min=1),
    _rule(
        "margin",
        None,
        "Leave out what scores above the positive's score minus this; -2 turns the rule off.  "
        "[default: 0; bm25: off]",
    ),
    _rule("relative_margin", None, "The same with this share of the positive's score."),
    _rule("max_score", None, "Leave out what scores above this."),
    _rule("siblings", True, "Take passages of the positive's own article too."),
    _rule("pick", "nearest", "The best ranks, or a draw within the window.", _Pick),
    _rule("complete", False, "Leave out rows with fewer negatives."),
    _rule("negative_queries", False, "Write neg_q: for each negative, a query that it answers."),
)
"""The fields of `service.training.mining.Choice` as options."""


def register(app: typer.Typer) -> None:
    app.command()(with_settings(*_SETTINGS)(with_parameters("rules", _RULES, dict)(mine)))


def mine(
    collection: CollectionOption,
    out: Annotated[Path, typer.Option(help="File for the rows {query, pos, neg}.")],
    settings: Settings,
    rules: dict[str, Any],
    strategy: StrategyOption = "dense",
    article: ArticleOption = None,
    queries_of: QueriesOfOption = None,
    min_grade: MinGradeOption = 1,
    seed: SeedOption = 0,
    work: WorkOption = None,
    report: ReportOption = None,
) -> None:
    """Find passages that look right and are not, to train with. Continues where it stopped."""
    from service.datasets import open_labels, write_training_rows
    from service.training import mining
    from service.training.mining.examples import examples_of, levels_of, read_queries

    _check(rules, strategy, article, queries_of, collection)
    if strategy != "bm25":
        rules = {"margin": 0.0, **rules}
    rules["negative_queries"] |= queries_of is not None
    choice = mining.Choice(**{"margin": None, **rules}, seed=seed)
    labels = [open_labels(path, max_chars=settings.max_document_chars) for path in collection]
    encode = _encoding(settings, work) if strategy in _ENCODING else None
    mined = []
    for path, labelled in zip(collection, labels, strict=True):
        name = path.resolve().stem if path.is_file() else path.resolve().name
        if strategy == "smart":
            levelled = levels_of(name, labelled, article=article, seed=seed)
            mined.append(mining.mine_smart(levelled, seed=seed))
            continue
        examples = examples_of(name, labelled, article=article, min_grade=min_grade)
        query_for = read_queries(queries_of, labelled) if queries_of else None
        vectors = encode(examples) if encode else None
        mined.append(mining.mine(strategy, examples, choice, vectors, query_for))
    count = write_training_rows(out, (row for one in mined for row in one.rows))
    reports = [one.report for one in mined]
    head = {
        "version": __version__,
        "strategy": strategy,
        "encoder": settings.encoder if encode else None,
        "choice": asdict(choice),
    }
    _write_report(report or out.with_name(f"{out.name}.report.json"), head, collection, reports)
    _show(reports)
    typer.echo(f"{out}: {count} rows")
    if not count:
        raise InvalidInputError("no negative was found under these rules")


def _check(
    rules: dict[str, Any],
    strategy: Strategy,
    article: str | None,
    queries_of: Path | None,
    collections: Sequence[Path],
) -> None:
    """Raise `InvalidInputError` for options that do not go together."""
    if not rules["siblings"] and not article:
        raise InvalidInputError("--no-siblings needs --article, which tells siblings", "article")
    if queries_of and len(collections) > 1:
        raise InvalidInputError("--queries-of is for a single --collection", "queries_of")
    if strategy == "smart" and (rules["negative_queries"] or queries_of):
        raise InvalidInputError("--strategy smart writes no neg_q", "negative_queries")


def _encoding(
    settings: Settings, work: Path | None
) -> "Callable[[Examples], tuple[Vectors, Vectors]]":
    """Give the vectors of queries and passages; those of an earlier run are read from `work`."""
    from service.engine.build import build_encoder
    from service.training.mining.vectors import kept

    encoder = build_encoder(settings)
    identity = json.dumps(asdict(encoder.identity), sort_keys=True)
    folder = work or settings.cache_dir / "mining"

    def encode(examples: "Examples") -> "tuple[Vectors, Vectors]":
        count = len(examples.queries)
        with progress(f"{examples.name}: encode", count + len(examples.passages)) as done:
            queries = kept(encoder.encode_queries, folder, f"query {identity}", done)
            passages = kept(
                encoder.encode_passages, folder, f"passage {identity}", lambda n: done(count + n)
            )
            return queries(examples.queries), passages(examples.passages)

    return encode


def _write_report(
    path: Path, head: dict[str, Any], collections: Sequence[Path], reports: Sequence["MiningReport"]
) -> None:
    from service.datasets import data_sha256
    from service.durable import write_json

    rows = [
        {**report.as_json(), "data_sha256": data_sha256(path)}
        for path, report in zip(collections, reports, strict=True)
    ]
    write_json(path, {**head, "collections": rows})


def _show(reports: Sequence["MiningReport"]) -> None:
    from service.training.mining.choice import REASONS

    named = (Column(report.collection, justify="right") for report in reports)
    table = Table("", *named, title="Mined")
    found = [report.as_json() for report in reports]
    for name in ("queries", "pairs", "passages", "copies", "right", "rows", "negatives"):
        table.add_row(name, *(str(one[name]) for one in found))
    table.add_row("pairs without a negative", *(str(one["empty"]) for one in found))
    table.add_row("rows left out: too few", *(str(one["incomplete"]) for one in found))
    table.add_section()
    for reason, meaning in REASONS.items():
        counts = [one["rejected"][reason] for one in found]
        if any(counts):
            table.add_row(f"rejected: {meaning}", *map(str, counts))
    table.add_section()
    for name in ("rank_of_negatives", "score_of_negatives", "score_of_positives"):
        table.add_row(f"{name.replace('_', ' ')}: median", *(_median(one[name]) for one in found))
    console().print(table)


def _median(quartiles: dict[str, float] | None) -> str:
    return "-" if quartiles is None else f"{quartiles['median']:g}"
