"""What a run prepares."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmarks.speed import preparation
from service.encoder.transformer_backends import Backends


def test_the_backends_of_a_result_are_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = Backends("onnx-int8", "torch-bf16", (("onnx-int8", tmp_path / "model.onnx"),))
    model = SimpleNamespace(name="small", folder=tmp_path, weights_sha256="0" * 64)
    monkeypatch.setattr(preparation, "prepare", lambda *_, **_about: model)
    monkeypatch.setattr(preparation, "run", lambda *_: None)
    monkeypatch.setattr(preparation, "chosen_backends", lambda *_: chosen)
    monkeypatch.setattr(preparation, "recorded_backend", lambda *_: "onnx")
    *_, backends = preparation._models(tmp_path)
    shown = {"queries": "onnx-int8", "passages": "torch-bf16", "cross-encoder": "onnx"}
    assert json.loads(json.dumps(backends)) == shown
