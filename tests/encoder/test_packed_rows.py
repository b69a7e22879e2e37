"""The default encoder's rows in the 4 bits that they came in."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from service.encoder.packed_rows import PackedRows, pack_rows, packed_rows
from service.encoder.transformer import Transformer
from service.models.q4 import BLOCK_DTYPE, dequantize
from service.models.sources import PreparedModel
from tests.fixtures.multilingual import SENTENCES

_LOADED = """
import json, sys
from pathlib import Path
from service.encoder.transformer import Transformer
import service.api.app, service.engine.engine, service.engine.ingestion
from service.encoder.bi_encoder import plain_pooling
folder = Path(sys.argv[1])
assert plain_pooling(folder) == "mean"
model = Transformer.load(folder, batch_tokens=512, device="cpu")
model.encode(["Ebbe und Flut"], 64)
mapped = [line for line in open("/proc/self/maps") if "model.safetensors" in line]
libraries = ("transformers", "sentence_transformers", "datasets", "sklearn")
heavy = [name for name in libraries if name in sys.modules]
print(json.dumps([heavy, mapped]))
"""


def quantized(rows: int, columns: int) -> np.ndarray:
    """Rows as Q4_0 holds them: scales of both signs, a block of zeros, two of a zero scale."""
    random = np.random.default_rng(3)
    blocks = np.zeros(rows * columns // 32, BLOCK_DTYPE)
    blocks["scale"] = random.normal(0.0, 0.02, len(blocks)).astype(np.float16)
    blocks["nibbles"] = random.integers(0, 256, (len(blocks), 16))
    blocks["nibbles"][:, 0] &= 0xF0  # of each block one weight has the level 0
    blocks["nibbles"][1] = 0x88
    blocks["scale"][2:4] = [0.0, -0.0]
    return dequantize(blocks).reshape(rows, columns)


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-7])


def other_rows(file: Path) -> None:
    save_file({"levels": np.zeros((30, 48), np.uint8), "scales": np.zeros((30, 3), "f2")}, file)


def flip_a_bit(file: Path) -> None:
    spoilt = bytearray(file.read_bytes())
    spoilt[-7] ^= 1
    file.write_bytes(spoilt)


def read(packed: PackedRows | None) -> np.ndarray:
    assert packed is not None
    return packed(torch.arange(40)).numpy()


def test_each_row_is_the_same_to_the_bit() -> None:
    rows = quantized(40, 96)
    packed = pack_rows(rows)
    assert packed is not None
    levels, scales = packed
    assert levels.nbytes + scales.nbytes == rows.nbytes * 18 // 128
    embedding = PackedRows(torch.from_numpy(levels), torch.from_numpy(scales))
    ids = torch.tensor([[3, 39, 0], [3, 1, 2]])
    assert np.array_equal(embedding(ids).numpy().view(np.int32), rows[ids].view(np.int32))


@pytest.mark.parametrize("change", [1e-7, np.nan, np.inf])
def test_rows_that_were_trained_since_stay_as_they_are(tmp_path: Path, change: float) -> None:
    rows = quantized(40, 96)
    rows[17, 5] += change
    assert pack_rows(rows) is None
    save_file({"words": rows}, tmp_path / "model.safetensors")
    assert packed_rows(tmp_path / "model.safetensors", "words") is None


@pytest.mark.parametrize("spoil", [lambda _file: None, truncate, other_rows, flip_a_bit])
def test_packed_rows_are_kept_and_made_again_where_they_do_not_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spoil: Callable[[Path], None]
) -> None:
    rows = quantized(40, 96)
    weights, kept = tmp_path / "model.safetensors", tmp_path / "cache" / "packed"
    save_file({"bert.words": rows, "rows": rows[:30]}, weights)
    assert packed_rows(weights, "bert.words", kept)
    spoil(kept / "packed.safetensors")
    assert np.array_equal(read(packed_rows(weights, "bert.words", kept)), rows)
    monkeypatch.setattr("service.encoder.packed_rows.pack_rows", None)
    assert np.array_equal(read(packed_rows(weights, "bert.words", kept)), rows)


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    rows = quantized(40, 96)
    save_file({"words": rows}, tmp_path / "model.safetensors")
    (tmp_path / "file").touch()
    found = packed_rows(tmp_path / "model.safetensors", "words", tmp_path / "file" / "kept")
    assert np.array_equal(read(found), rows)


def test_the_default_encoders_vectors_are_the_same_to_the_bit(
    e5: PreparedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [text for sentences in SENTENCES.values() for text in sentences[:2]]
    packed = Transformer.load(e5.folder, batch_tokens=512, device="cpu")
    words = packed._run._embed._words
    assert isinstance(words, PackedRows)
    monkeypatch.setattr("service.encoder.bert_folder.packed_rows", lambda *_: None)
    whole = Transformer.load(e5.folder, batch_tokens=512, device="cpu")
    some = torch.arange(0, 250_000, 97)
    assert torch.equal(
        words(some).view(torch.int32), whole._run._embed._words(some).view(torch.int32)
    )
    assert np.array_equal(packed.encode(texts, 64), whole.encode(texts, 64))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_a_server_neither_keeps_the_weights_file_nor_needs_the_library(e5: PreparedModel) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _LOADED, str(e5.folder)],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    assert json.loads(done.stdout) == [[], []]
