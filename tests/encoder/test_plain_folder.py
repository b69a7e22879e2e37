"""Which folders need nothing of sentence-transformers."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.encoder.bi_encoder import BiEncoder
from service.encoder.loading import load_by_library
from service.encoder.plain_folder import plain_pooling
from service.encoder.transformer import Transformer
from service.models.sources import PreparedModel, prepare
from service.types import EncoderIdentity
from tests.fixtures.multilingual import SENTENCES
from tests.fixtures.small_models import write_small_encoder
from tests.fixtures.small_sse import write_small_sse

TEXTS = [*SENTENCES["vietnamese"], *SENTENCES["latin"], "<mask> [MASK]", "x"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_small_encoder(tmp_path)


def changed(path: Path, change: Callable[[Any], Any]) -> None:
    stated = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    path.write_text(json.dumps(change(stated)), encoding="utf-8")


def test_the_default_encoder_and_what_a_training_writes_are_plain(
    e5: PreparedModel, folder: Path
) -> None:
    assert plain_pooling(e5.folder) == "mean"
    assert plain_pooling(folder) == "mean"
    changed(folder / "1_Pooling" / "config.json", lambda c: c | {"pooling_mode": "cls"})
    assert plain_pooling(folder) == "cls"


@pytest.mark.parametrize(
    ("file", "change"),
    [
        ("1_Pooling/config.json", lambda c: c | {"pooling_mode": "max"}),
        ("1_Pooling/config.json", lambda c: c | {"pooling_mode": ["mean", "cls"]}),
        ("1_Pooling/config.json", lambda c: c | {"include_prompt": False}),
        ("1_Pooling/config.json", lambda c: c | {"something": "new"}),
        (
            "1_Pooling/config.json",
            lambda _: {"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": True},
        ),
        ("sentence_bert_config.json", lambda c: c | {"do_lower_case": True}),
        ("sentence_bert_config.json", lambda c: c | {"something": "new"}),
        ("sentence_roberta_config.json", lambda c: c),
        ("config.json", lambda c: c | {"model_type": "t5"}),
        ("config.json", lambda c: c | {"auto_map": {"AutoModel": "code.Model"}}),
        ("adapter_config.json", lambda c: c),
        ("modules.json", lambda m: [*m, m[1]]),
        ("modules.json", lambda m: [m[0] | {"type": "own.Transformer"}, m[1]]),
        ("modules.json", lambda m: m[:1]),
    ],
)
def test_anything_else_is_the_librarys(
    folder: Path, file: str, change: Callable[[Any], Any]
) -> None:
    changed(folder / file, change)
    assert plain_pooling(folder) is None


def test_a_static_embedding_is_no_plain_folder(tmp_path: Path) -> None:
    assert plain_pooling(write_small_sse(tmp_path)) is None
    assert plain_pooling(tmp_path / "nothing") is None


def test_both_ways_give_the_same_vectors_and_counts(folder: Path) -> None:
    model = prepare(str(folder), "bi-encoder", cache_dir=folder, offline=True)
    identity = EncoderIdentity("small", model.weights_sha256, 32, "query: ", "passage: ", 64, 1)
    plain = BiEncoder(folder, identity, batch_tokens=512, device="cpu")._model
    other = load_by_library(folder, batch_tokens=512, device="cpu")
    assert isinstance(plain, Transformer)
    assert isinstance(other, Transformer)
    assert plain.count_tokens(TEXTS) == other.count_tokens(TEXTS)
    assert np.abs(plain.encode(TEXTS, 512) - other.encode(TEXTS, 512)).max() < 1e-5
