from pathlib import Path

import pytest

from service.backend_record import record_file
from service.extras import install_command
from service.reranker import open_cross_encoder
from tests.cli.test_commands import secondpass
from tests.fixtures.small_models import write_small_reranker


def test_preparing_a_cross_encoder_says_which_backend_is_best_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_small_reranker(tmp_path)
    monkeypatch.setattr(open_cross_encoder, "onnx_is_installed", lambda: False)
    cache = ("--cache-dir", tmp_path / "cache")
    done = secondpass("models", "prepare", folder, "--kind", "cross-encoder", *cache)
    assert done.returncode == 0, done.stderr
    assert "torch-bf16" in done.stdout
    assert f"two more backends: {install_command('onnx')}" in done.stdout
    shown = secondpass("models", "show", folder, "--kind", "cross-encoder", *cache).stdout
    weights = shown.partition("weights sha256")[2].split()[0]
    assert "rerank_backend auto: torch" in done.stdout
    assert record_file(tmp_path / "cache", weights).is_file()
