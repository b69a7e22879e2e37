"""The command that mines negatives: mine."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.markup import escape
from rich.table import Column, Table

from service import __version__
from service.cli.console import console
from service.cli.datasets import ArticleOption, SeedOption
from service.cli.options import with_settings
from service.cli.progress import progress
from service.errors import InvalidInputError
from service.settings import Settings, settings_about

if TYPE_CHECKING:
    from service.datasets import Labels
    from service.protocols import Encoder
    from service.training.mining import Choice, Examples, Mined, MiningReport
    from service.training.mining.neighbours import Encode
    from service.types import Vectors

_SETTINGS = (*settings_about("models", "encoder"), "passage_tokens", "max_document_chars")


Strategy = Literal["dense", "bm25", "both", "smart", "random"]
"""Where negatives come from."""

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
MarginOption = Annotated[
    float | None,
    typer.Option(
        help=escape(
            "Leave out what scores above the positive's score less this; -2 turns the rule "
            "off.  [default: 0; bm25: off]"
        )
    ),
]
RelativeMarginOption = Annotated[
    float | None,
    typer.Option(help="Leave out what scores above this share less than the positive's score."),
]
MaxScoreOption = Annotated[float | None, typer.Option(help="Leave out what scores above this.")]
SiblingsOption = Annotated[
    bool, typer.Option(help="Take passages of the positive's own article too.")
]
PickOption = Annotated[
    Literal["nearest", "random"],
    typer.Option(help="The best ranks, or a draw within the window."),
]
CompleteOption = Annotated[
    bool, typer.Option("--complete", help="Leave out rows with fewer negatives.")
]
NegativeQueriesOption = Annotated[
    bool,
    typer.Option(
        "--negative-queries", help="Write neg_q: to each negative a query that it answers."
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


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command()(with_settings(*_SETTINGS)(mine))


def mine(
    collection: CollectionOption,
    out: Annotated[Path, typer.Option(help="File for the rows {query, pos, neg}.")],
    settings: Settings,
    strategy: StrategyOption = "dense",
    negatives: Annotated[int, typer.Option(min=1, help="Negatives a row (smart: always 2).")] = 4,
    rank_min: Annotated[int, typer.Option(min=1, help="First rank that may be taken.")] = 1,
    rank_max: Annotated[int, typer.Option(min=1, help="Last rank that may be taken.")] = 100,
    margin: MarginOption = None,
    relative_margin: RelativeMarginOption = None,
    max_score: MaxScoreOption = None,
    siblings: SiblingsOption = True,
    article: ArticleOption = None,
    pick: PickOption = "nearest",
    complete: CompleteOption = False,
    negative_queries: NegativeQueriesOption = False,
    queries_of: QueriesOfOption = None,
    min_grade: MinGradeOption = 1,
    seed: SeedOption = 0,
    work: WorkOption = None,
    report: ReportOption = None,
) -> None:
    """Find passages that look right and are not, to train with. Goes on where it was stopped."""
    from service.datasets import open_labels, write_training_rows
    from service.training.mining import Choice

    _check(strategy, article, siblings, negative_queries, queries_of, collection)
    choice = Choice(
        negatives=negatives,
        rank_min=rank_min,
        rank_max=rank_max,
        margin=0.0 if margin is None and strategy != "bm25" else margin,
        relative_margin=relative_margin,
        max_score=max_score,
        siblings=siblings,
        pick=pick,
        complete=complete,
        negative_queries=negative_queries or queries_of is not None,
        seed=seed,
    )
    labels = [open_labels(path, max_chars=settings.max_document_chars) for path in collection]
    miner = _Miner(strategy, choice, article, min_grade, queries_of, settings, work)
    mined = [miner.mine(path, labelled) for path, labelled in zip(collection, labels, strict=True)]
    count = write_training_rows(out, (row for one in mined for row in one.rows))
    reports = [one.report for one in mined]
    _write_report(report or out.with_name(f"{out.name}.report.json"), miner, collection, reports)
    _show(reports)
    typer.echo(f"{out}: {count} rows")
    if not count:
        raise InvalidInputError("no negative was found under these rules")


def _check(
    strategy: Strategy,
    article: str | None,
    siblings: bool,
    negative_queries: bool,
    queries_of: Path | None,
    collections: Sequence[Path],
) -> None:
    """Raise `InvalidInputError` for options that do not go together."""
    if not siblings and not article:
        raise InvalidInputError("--no-siblings needs --article, which tells siblings", "article")
    if queries_of and len(collections) > 1:
        raise InvalidInputError("--queries-of is for a single --collection", "queries_of")
    if strategy == "smart" and (negative_queries or queries_of):
        raise InvalidInputError("--strategy smart writes no neg_q", "negative_queries")


@dataclass
class _Miner:
    """Runs a strategy with what the command was given; loads the encoder once, where needed."""

    strategy: Strategy
    choice: "Choice"
    article: str | None
    min_grade: int
    queries_of: Path | None
    settings: Settings
    work: Path | None

    @cached_property
    def encoder(self) -> "Encoder":
        from service.engine.build import build_encoder

        return build_encoder(self.settings)

    def mine(self, path: Path, labels: "Labels") -> "Mined":
        from service.training import mining
        from service.training.mining.negative_sources import examples_of, levels_of
        from service.training.mining.queries import read_queries

        choice, name = self.choice, path.resolve().stem if path.is_file() else path.resolve().name
        if self.strategy == "smart":
            levelled = levels_of(name, labels, article=self.article, seed=choice.seed)
            return mining.mine_smart(levelled, seed=choice.seed)
        examples = examples_of(name, labels, article=self.article, min_grade=self.min_grade)
        query_for = read_queries(self.queries_of, labels) if self.queries_of else None
        vectors = self._vectors(examples) if self.encodes else None
        return mining.mine(self.strategy, examples, choice, vectors, query_for)

    @property
    def encodes(self) -> bool:
        return self.strategy in ("dense", "both")

    def _vectors(self, examples: "Examples") -> "tuple[Vectors, Vectors]":
        count = len(examples.queries)
        with progress(f"{examples.name}: encode", count + len(examples.passages)) as done:
            queries = self._kept("query", done)(examples.queries)
            return queries, self._kept("passage", lambda n: done(count + n))(examples.passages)

    def _kept(self, side: str, on_progress: Callable[[int], None]) -> "Encode":
        from service.training.mining.vectors import kept

        encoder = self.encoder
        encode = encoder.encode_queries if side == "query" else encoder.encode_passages
        identity = json.dumps(asdict(encoder.identity), sort_keys=True)
        folder = self.work or self.settings.cache_dir / "mining"
        return kept(encode, folder, f"{side} {identity}", on_progress)


def _write_report(
    path: Path, miner: _Miner, collections: Sequence[Path], reports: Sequence["MiningReport"]
) -> None:
    from service.datasets import data_sha256
    from service.durable import write_json

    written = {
        "version": __version__,
        "strategy": miner.strategy,
        "encoder": miner.settings.encoder if miner.encodes else None,
        "choice": asdict(miner.choice),
        "collections": [
            {**report.as_json(), "data_sha256": data_sha256(path)}
            for path, report in zip(collections, reports, strict=True)
        ],
    }
    write_json(path, written)


def _show(reports: Sequence["MiningReport"]) -> None:
    from service.training.mining.mining_report import REASONS

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
