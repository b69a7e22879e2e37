"""Rerankers are opened by their kind."""

from importlib import import_module
from pathlib import Path

import pytest

from service.engine.build import build_reranker
from service.errors import ModelSourceError
from service.models.model_kinds import KINDS
from service.models.registry import REGISTRY
from service.models.sources import kind_named
from service.settings import Settings
from tests.fixtures.small_models import write_small_encoder, write_small_reranker


def test_every_kind_that_a_name_can_have_is_registered(tmp_path: Path) -> None:
    # tests/contracts/test_reranker.py opens one of each.
    folders = [write_small_encoder(tmp_path / "e"), write_small_reranker(tmp_path / "r")]
    names = [*REGISTRY, "on-the/hub", *map(str, folders)]
    rerankers = {name for name, kind in KINDS.items() if kind.stage == "reranker"}
    assert {kind_named(name, "reranker") for name in names} == rerankers


def test_the_opener_of_every_kind_exists() -> None:
    for kind in KINDS.values():
        if kind.stage == "reranker":
            assert callable(vars(import_module(kind.opener))["open_reranker"])


def test_the_reranker_of_a_folder_is_opened(tmp_path: Path) -> None:
    folder = write_small_reranker(tmp_path / "small")
    reranker = build_reranker(Settings(reranker=str(folder), cache_dir=tmp_path, device="cpu"))
    assert reranker is not None
    assert len(reranker.score_pairs([("a query", "a passage")])) == 1


def test_without_a_reranker_there_is_none() -> None:
    assert build_reranker(Settings(reranker="none")) is None


def test_an_encoder_is_refused_as_a_reranker() -> None:
    with pytest.raises(ModelSourceError, match="e5-small is a bi-encoder; a cross-encoder is"):
        build_reranker(Settings(reranker="e5-small"))
