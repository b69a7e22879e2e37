"""Texts are printed as they are: rich's markup eats what is in brackets."""

import re
from collections.abc import Iterator

import pytest
import typer
from typer.core import TyperGroup
from typer.main import get_command

from service.cli import app
from service.cli.data import _show
from service.cli.progress import progress, training_bar
from tests.cli.test_commands import secondpass

MARKUP = "a [onnx] b [/no] :smile:"


def commands(group: TyperGroup, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, command in group.commands.items():
        if isinstance(command, TyperGroup):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name)


def _group() -> TyperGroup:
    group = get_command(app)
    assert isinstance(group, TyperGroup)
    return group


def shown_words(text: str) -> str:
    """Without the borders of boxes and the line breaks."""
    return " ".join(re.sub(r"[│╭╮╰╯─]", " ", text).split())


@pytest.mark.parametrize("path", sorted(commands(_group())), ids=" ".join)
def test_help_shows_every_text_whole(path: tuple[str, ...]) -> None:
    done = secondpass(*path, "--help", COLUMNS="500", TERMINAL_WIDTH="500")
    assert done.returncode == 0
    command: typer.core.TyperCommand | TyperGroup = _group()
    for name in path:
        assert isinstance(command, TyperGroup)
        command = command.commands[name]  # type: ignore[assignment]
    shown = shown_words(done.stdout)
    texts = [command.help, *(getattr(parameter, "help", None) for parameter in command.params)]
    for text in filter(None, texts):
        plain = shown_words(text.replace("\\[", "["))
        assert all(word in shown for word in plain.split()), plain


def test_the_help_of_serve_names_extras_and_variables() -> None:
    shown = shown_words(secondpass("serve", "--help", COLUMNS="300").stdout)
    assert "the `onnx` ones need `secondpass[onnx]`." in shown
    assert "[env: SECONDPASS_PORT]" in shown


def test_answers_and_warnings_are_printed_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    hit = {"rank": 1, "title": MARKUP, "id": "[id]", "confidence": "low", "probability": None}
    _show({
        "rerank": {"status": "partial", "reason": MARKUP},
        "warnings": [MARKUP],
        "answerable": None,
        "hits": [{**hit, "text": MARKUP}],
    })  # fmt: skip
    assert capsys.readouterr().out.count(MARKUP) == 4


def test_the_last_line_of_progress_is_printed_once(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("ingest", 2) as advance:
        for done in (1, 2, 2):
            advance(done)
    assert re.fullmatch(r"ingest: 2 of 2, 0 s, \d+\.\d/s\n", capsys.readouterr().err)


def test_bars_are_named_as_they_are(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "200")
    with progress(MARKUP, 1) as advance:
        advance(1)
    assert MARKUP in capsys.readouterr().err
    with training_bar(MARKUP) as show:
        show("[/x] y")
    shown = capsys.readouterr().err
    assert MARKUP in shown
    assert "[/x] y" in shown
