import contextlib
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import ModelSourceError
from service.models.q4 import BLOCK_DTYPE, dequantize, read_q4
from tests.models.small_q4 import small_file

WHOLE = small_file()


def reading(tmp_path: Path, data: bytes) -> str:
    """The complaint about a file with this content."""
    file = tmp_path / "model.bin"
    file.write_bytes(data)
    with pytest.raises(ModelSourceError) as raised:
        read_q4(file)
    return str(raised.value)


def test_a_whole_file_is_read(tmp_path: Path) -> None:
    file = tmp_path / "model.bin"
    file.write_bytes(WHOLE)
    model = read_q4(file)
    assert (model.header.hidden, model.header.layers, model.header.layer_norm_eps) == (32, 1, 1e-12)
    assert model.unigram.pieces[4:] == [("▁a", 4.0), ("é", 5.0)]
    assert model.unigram.replacements == {"\t": " ", "\x07": ""}
    assert len(model.tensors) == 21
    assert model.tensors["encoder.layer.0.intermediate.dense.weight"].shape == (64, 32)
    assert model.tensors["encoder.layer.0.output.dense.weight"].shape == (32, 64)
    assert all(tensor.dtype == np.float32 for tensor in model.tensors.values())


def test_low_nibbles_come_first_and_eight_is_zero() -> None:
    block = np.zeros(1, BLOCK_DTYPE)
    block["scale"], block["nibbles"] = 0.5, np.arange(16) | 0xF0
    low = [(value - 8) * 0.5 for value in range(16)]
    assert dequantize(block).tolist() == low + [3.5] * 16


@pytest.mark.parametrize("length", [0, 3, 4, 20, 44, 60, 100, 130, 180, 500, 2000, len(WHOLE) - 1])
def test_a_file_cut_short_is_refused(tmp_path: Path, length: int) -> None:
    assert "not a readable E5S1 model file" in reading(tmp_path, WHOLE[:length])


@pytest.mark.parametrize("start", [b"GGUF", b"E5S1\x02", b"PK\x03\x04", b"E5S1\x01\0\0\0\0\0\0\0"])
def test_another_kind_of_file_is_refused(tmp_path: Path, start: bytes) -> None:
    reading(tmp_path, start + WHOLE[len(start) :])


# Every number of the header but the heads' and the epsilon, which shape no tensor.
@pytest.mark.parametrize("field", [8, 12, 20, 24, 28, 32, 40])
@pytest.mark.parametrize("value", [-1, 0, 2**31 - 1])
def test_a_size_that_does_not_fit_is_refused_without_taking_memory(
    tmp_path: Path, field: int, value: int
) -> None:
    tracemalloc.start()
    reading(tmp_path, WHOLE[:field] + struct.pack("<i", value) + WHOLE[field + 4 :])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10_000_000


@given(st.integers(4, len(WHOLE) - 1), st.binary(min_size=1, max_size=8))
def test_a_damaged_file_is_read_or_refused_and_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, at: int, noise: bytes
) -> None:
    file = tmp_path_factory.getbasetemp() / "damaged.bin"
    file.write_bytes(WHOLE[:at] + noise + WHOLE[at + len(noise) :])
    with contextlib.suppress(ModelSourceError):
        read_q4(file)


def test_pieces_that_do_not_fill_their_part_are_refused(tmp_path: Path) -> None:
    last_offset = 44 + 28 + 4 * 6
    assert WHOLE[last_offset] == 23
    reading(tmp_path, WHOLE[:last_offset] + b"\x15" + WHOLE[last_offset + 1 :])


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelSourceError, match="missing"):
        read_q4(tmp_path / "missing.bin")
