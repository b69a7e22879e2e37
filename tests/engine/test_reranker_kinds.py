"""Rerankers are opened by their kind."""

from typing import Any

import pytest

from service.engine.build import RERANKERS, RerankerKind, build_reranker
from service.errors import ModelSourceError
from service.settings import Settings
from tests.fixtures.doubles import ScriptedReranker


def test_a_kind_opens_what_the_settings_name(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = ScriptedReranker(len)
    monkeypatch.setitem(RERANKERS, "cross-encoder", RerankerKind(lambda *_: opened))
    assert build_reranker(Settings(reranker="some/reranker")) is opened
    assert build_reranker(Settings(reranker="none")) is None


def test_a_missing_package_is_told_with_the_extra_that_has_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fails(*_given: Any) -> Any:
        raise ModuleNotFoundError("No module named 'far_away'", name="far_away")

    monkeypatch.setitem(RERANKERS, "cross-encoder", RerankerKind(fails, "remote"))
    with pytest.raises(ModelSourceError, match=r"far_away: pip install 'secondpass\[remote\]'"):
        build_reranker(Settings(reranker="some/reranker"))
