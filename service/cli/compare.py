"""`secondpass similarity`: do two queries mean the same?"""

import asyncio
from typing import Annotated

import typer

from service.cli.options import with_settings
from service.errors import InvalidInputError
from service.settings import Settings, settings_about

_PAIRS = ("pair_model", "pair_threshold", "passage_tokens", "max_query_chars")


def register(app: typer.Typer) -> None:
    """Add this module's command."""
    app.command()(with_settings(*settings_about("models"), *_PAIRS)(similarity))


def similarity(
    a: Annotated[str, typer.Argument(help="A query, in any language.")],
    b: Annotated[str, typer.Argument(help="Another one.")],
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
