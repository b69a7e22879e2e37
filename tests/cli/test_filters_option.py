"""`secondpass search --filters`: told apart before a model or a folder is opened."""

import contextlib
import io
import sys
from typing import Any

import pytest

from service.cli import data, main


def search(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> tuple[object, str]:
    monkeypatch.setattr(sys, "argv", ["secondpass", "search", "tides", *arguments])
    stderr = io.StringIO()
    with contextlib.redirect_stderr(stderr), contextlib.redirect_stdout(io.StringIO()):
        try:
            main()
        except SystemExit as ending:
            return ending.code, stderr.getvalue()
    return 0, stderr.getvalue()


@pytest.mark.parametrize(
    ("filters", "said"),
    [
        ("{", "JSON"),
        ("[1]", "object"),
        ('{"year": {"ne": 1}}', "secondpass: filters.year"),
        ('{"year": {"ne": 1}}', "eq, in, gt, gte, lt, lte, exists"),
        ('{"year": 1, "or": []}', "list of filters"),
    ],
)
def test_wrong_filters_end_the_command(
    monkeypatch: pytest.MonkeyPatch, filters: str, said: str
) -> None:
    code, stderr = search(monkeypatch, "--filters", filters, "--url", "http://127.0.0.1:9")
    assert code not in {0, None}
    assert said in " ".join(stderr.split())


def test_filters_reach_the_search(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}

    def searched(url: str, api_key: str | None, asked: dict[str, Any]) -> dict[str, object]:
        seen.update(asked)
        return {"rerank": {"status": "complete"}, "warnings": [], "hits": []}

    monkeypatch.setattr(data, "_search_server", searched)
    arguments = ("--filters", '{"year": {"gte": 2025}}', "--url", "http://127.0.0.1:9", "--json")
    assert search(monkeypatch, *arguments) == (0, "")
    assert seen["filters"] == {"year": {"gte": 2025}}
