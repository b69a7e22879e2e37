"""Commands on documents and queries: ingest, demo, reindex, search, similarity."""

import asyncio
import json
from collections.abc import Iterable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from service.cli.connect import KeyOption, UrlOption, connected
from service.cli.options import FOLDER_SETTINGS, console, with_settings
from service.cli.progress import progress
from service.documents.csv_file import CsvFormat
from service.errors import InvalidInputError
from service.settings import Settings, settings_about
from service.types import Document, Mode, Refused

if TYPE_CHECKING:
    from service.store.data_folder import DataFolder

SHOWN_REFUSALS = 20
SOME_REFUSED = 3
"""The exit code if some rows were refused and the others stored."""
SERVER_SECONDS = 90.0
_PAIR_SETTINGS = (
    *settings_about("models"), "pair_model", "pair_threshold", "passage_tokens", "max_query_chars",
)  # fmt: skip

PathArgument = Annotated[
    Path,
    typer.Argument(
        help="JSONL or CSV file, BEIR folder, or a folder of documents: see docs/documents.md."
    ),
]
CollectionOption = Annotated[
    str | None, typer.Option(help="With --url: a collection or alias of the server.")
]
IdempotencyKeyOption = Annotated[
    str | None,
    typer.Option(help="With --url: the same file sent with the same key is stored once."),
]
StrictOption = Annotated[
    bool, typer.Option("--strict", help="Read every row first; store nothing if one is bad.")
]


def register(app: typer.Typer) -> None:
    for command in (ingest, demo, reindex, search):
        app.command()(with_settings(*FOLDER_SETTINGS)(command))
    app.command()(with_settings(*_PAIR_SETTINGS)(similarity))


def ingest(
    path: PathArgument,
    settings: Settings,
    url: Annotated[
        str | None, typer.Option(help="Send them to this server instead of a data folder.")
    ] = None,
    api_key: KeyOption = None,
    collection: CollectionOption = None,
    idempotency_key: IdempotencyKeyOption = None,
    wait: Annotated[bool, typer.Option(help="With --url: wait until the server is done.")] = True,
    strict: StrictOption = False,
    id_column: Annotated[str, typer.Option(help="The column of CSV with the ids.")] = "id",
    text_column: Annotated[str, typer.Option(help="The column of CSV with the texts.")] = "text",
    delimiter: Annotated[
        str | None, typer.Option(help="Between the fields of CSV; default: a comma, or a tab.")
    ] = None,
) -> None:
    """Put documents into the data folder. Safe to run again: unchanged ones cost nothing.

    Exits with 0 if every row was stored, with 3 if some were refused, with 2 if all were.
    """
    from service.datasets import count_rows, read_documents, unread_files

    if delimiter is not None and len(delimiter) != 1:
        raise InvalidInputError("must be one character", "delimiter")
    csv = CsvFormat(id_column, text_column, delimiter)
    read = partial(read_documents, path, settings.document_limits, csv=csv)
    if unread := unread_files(path):
        typer.echo(f"passed over: {unread}", err=True)
    if strict:
        _require_fit(read())
    if url is not None:
        from service.cli.upload import upload

        with connected(url, api_key) as client:
            send = partial(client.bulk, collection=collection, idempotency_key=idempotency_key)
            last = partial(read, last_only=True)
            refused, stored = upload(path, client, send, last, wait=wait)
        _report_refusals(refused, all_of_them=stored == 0)
        return
    for option, value in (("collection", collection), ("idempotency_key", idempotency_key)):
        if value is not None:
            raise InvalidInputError("needs --url: a folder is filled as `main`", option)
    from service.store.data_folder import DataFolder

    rows: Iterable[Document | Refused] = read()
    with DataFolder.open(settings.data_dir) as folder:
        with folder.store.view() as view:
            documents = view.counts.documents
        if documents:
            # An earlier row of an id must not undo what its last row stored.
            rows = read(last_only=True)
        _ingest(folder, rows, count_rows(path), settings)


def demo(settings: Settings) -> None:
    """Put the demo corpus into the data folder: the interpreter's own documentation."""
    from service.demo import demo_documents
    from service.store.data_folder import DataFolder

    documents = list(demo_documents())
    with DataFolder.open(settings.data_dir) as folder:
        _ingest(folder, documents, len(documents), settings)


def reindex(
    settings: Settings,
    collection: Annotated[str, typer.Option(help="A collection or an alias.")] = "main",
) -> None:
    """Encode all documents again with the model of the settings or of the collection."""
    from service.engine.ingestion import reindex as run
    from service.store.data_folder import DataFolder

    with DataFolder.open(settings.data_dir) as folder, progress("reindex", None) as advance:
        documents = run(folder, settings, advance, collection=collection)
    typer.echo(f"{documents} documents encoded again in {settings.data_dir}, {collection}")


def search(
    query: Annotated[str, typer.Argument(help="What to search for, in any language.")],
    settings: Settings,
    top_k: Annotated[int, typer.Option(min=1, max=100, help="Hits to show.")] = 5,
    mode: Annotated[
        Mode | None,
        typer.Option(help="Find passages by vectors, by words or by both; default: search_mode."),
    ] = None,
    rerank: Annotated[bool, typer.Option(help="Rerank the candidates.")] = True,
    filters: Annotated[
        str, typer.Option(help="Metadata that documents must have, in JSON: see docs/filters.md.")
    ] = "{}",
    collection: Annotated[str | None, typer.Option(help="A collection or an alias.")] = None,
    url: UrlOption = None,
    api_key: KeyOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the answer as JSON.")] = False,
) -> None:
    """Search a data folder, or a server with --url."""
    from service.api.schemas.filter_schemas import filters_from_text

    asked = {
        "query": query,
        "top_k": top_k,
        "mode": mode,
        "rerank": rerank,
        "filters": filters_from_text(filters),
    }
    if url:
        answer = _search_server(url, api_key, {**asked, "collection": collection})
    else:
        answer = _search_folder(settings, collection or "default", asked)
    if as_json:
        typer.echo(json.dumps(answer, ensure_ascii=False, indent=2))
    else:
        _show(answer)


def similarity(
    a: Annotated[str, typer.Argument(help="A query, in any language.")],
    b: Annotated[str, typer.Argument(help="Another query.")],
    settings: Settings,
) -> None:
    """Say whether two queries mean the same by the pair model."""
    from service.engine.build import build_pair_model

    model = build_pair_model(settings.model_copy(update={"answer_cache": 0}))
    if model is None:
        raise InvalidInputError("name a pair model: --pair-model DIR", "pair_model")
    try:
        (verdict,) = asyncio.run(model.compare([(a, b)])).verdicts
    finally:
        model.close()
    word = "same" if verdict.same else "different"
    cut = "; a text was longer than the model reads" if verdict.truncated else ""
    typer.echo(f"{word}  {verdict.similarity:.6f}  (threshold {model.threshold:g}{cut})")


def _search_server(url: str, api_key: str | None, asked: dict[str, Any]) -> dict[str, Any]:
    with connected(url, api_key, timeout=SERVER_SECONDS) as client:
        return asdict(client.search(**asked))


def _search_folder(settings: Settings, collection: str, asked: dict[str, Any]) -> dict[str, Any]:
    if not (settings.data_dir / "store.db").exists():
        raise InvalidInputError(
            f"there are no documents in {settings.data_dir}: see `secondpass ingest`", "data_dir"
        )
    from service.engine.engine import open_engine
    from service.search.query import Query

    with open_engine(settings, pairs=False, jobs=False) as engine:
        searcher = engine.collection(collection).searcher
        return asdict(asyncio.run(searcher.search(Query(**asked))))


def _show(answer: dict[str, Any]) -> None:
    out = console()
    rerank, hits = answer["rerank"], answer["hits"]
    if rerank["status"] != "complete":
        out.print(f"rerank {rerank['status']}: {rerank['reason']}", style="dim")
    for warning in answer["warnings"]:
        out.print(warning, style="yellow")
    if cached := answer.get("cached"):
        age_s, similarity = cached["age_ms"] / 1000, cached["query_similarity"]
        out.print(f"from {age_s:.0f} s ago, query similarity {similarity:.4f}", style="dim")
    for hit in hits:
        probability = "" if hit["probability"] is None else f" {hit['probability']:.2f}"
        out.print(
            Text(f"{hit['rank']:>2}. ", style="dim")
            + Text(hit["title"] or hit["id"], style="bold")
            + Text(f"  {hit['confidence']}{probability}", style="cyan")
            + Text(f"  {hit['id']}", style="dim")
        )
        out.print(Text("    " + " ".join((hit["text"] or "").split())[:240]))
    if not hits:
        out.print("no hits")
    elif answer["answerable"] is False:
        out.print("Probably nothing here answers this: no hit reaches medium.", style="yellow")


def _ingest(
    folder: "DataFolder", rows: Iterable[Document | Refused], total: int | None, settings: Settings
) -> None:
    from service.engine.ingestion import ingesting

    with ingesting(folder, settings) as ingestor:
        with progress("ingest", total) as advance:
            report = ingestor.ingest(rows, lambda report: advance(report.rows))
        typer.echo(
            f"{report.added} added, {report.updated} updated, {report.unchanged} unchanged, "
            f"{len(report.refused)} refused; {report.passages} passages encoded"
        )
        typer.echo("building the index")
    _report_refusals(report.refused, all_of_them=report.rows == len(report.refused))


def _require_fit(rows: Iterable[Document | Refused]) -> None:
    refused = [row for row in rows if isinstance(row, Refused)]
    _show_refusals(refused)
    if refused:
        raise InvalidInputError(f"--strict: {len(refused)} rows are bad; nothing was stored")


def _report_refusals(refused: list[Refused], *, all_of_them: bool) -> None:
    _show_refusals(refused)
    if refused and all_of_them:
        raise InvalidInputError("every row was refused")
    if refused:
        raise typer.Exit(SOME_REFUSED)


def _show_refusals(refused: list[Refused]) -> None:
    for row in refused[:SHOWN_REFUSALS]:
        where = row.source if row.line is None else f"{row.source}:{row.line}"
        field = f"{row.field}: " if row.field else ""
        typer.echo(f"refused {where}: {field}{row.reason}", err=True)
    if len(refused) > SHOWN_REFUSALS:
        typer.echo(f"... and {len(refused) - SHOWN_REFUSALS} more", err=True)
