"""Folders whose weights are read without transformers, and those that are left to it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer

from service.encoder.bert_folder import read_bert
from service.encoder.padded import Padded
from service.encoder.side_by_side import SideBySide
from service.encoder.transformer import Transformer
from tests.models.small_bert import write_small_bert

TEXTS = ["the tide is out", "a mountain of sand", "tide", "<mask> the sand"]


@pytest.mark.parametrize("family", ["bert", "xlm-roberta"])
@pytest.mark.parametrize("prefixed", [False, True])
def test_states_are_those_of_the_library(tmp_path: Path, family: str, *, prefixed: bool) -> None:
    folder = write_small_bert(tmp_path, TEXTS, family=family)
    if prefixed:
        head = "bert." if family == "bert" else "roberta."
        weights = load_file(folder / "model.safetensors")
        named = {head + name: tensor for name, tensor in weights.items()}
        save_file(named, folder / "model.safetensors", metadata={"format": "pt"})
    library = SentenceTransformer(str(folder), device="cpu", local_files_only=True)
    expected = library.encode(TEXTS, prompt="")
    found = Transformer.load(folder, batch_tokens=64, device="cpu")
    assert isinstance(found._run, SideBySide)
    vectors = found.encode(TEXTS, 64)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    assert np.abs(vectors - expected).max() < 1e-5


@pytest.mark.parametrize(
    "change",
    [
        {"hidden_act": "relu"},
        {"is_decoder": True},
        {"position_embedding_type": "relative_key"},
        {"model_type": "bert-moe"},
        {"num_hidden_layers": 3},
    ],
)
def test_other_makes_are_left_to_the_library(tmp_path: Path, change: dict[str, Any]) -> None:
    folder = write_small_bert(tmp_path, TEXTS)
    assert read_bert(folder)
    file = folder / "config.json"
    stated = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps(stated | change), encoding="utf-8")
    assert read_bert(folder) is None


def test_another_activation_runs_in_the_librarys_own_layers(tmp_path: Path) -> None:
    folder = write_small_bert(tmp_path, TEXTS)
    file = folder / "config.json"
    stated = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps(stated | {"hidden_act": "relu"}), encoding="utf-8")
    library = SentenceTransformer(str(folder), device="cpu", local_files_only=True)
    found = Transformer.load(folder, batch_tokens=64, device="cpu")
    assert isinstance(found._run, Padded)
    vectors = found.encode(TEXTS, 64)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    assert np.abs(vectors - library.encode(TEXTS, prompt="")).max() < 1e-5
