"""A static embedding without the library around it: the same vectors, from any thread."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from service.encoder import static_model
from service.encoder.loading import load_by_library, load_sentence_transformer
from service.encoder.static_model import StaticModel
from tests.fixtures.library import DOCUMENTS
from tests.fixtures.multilingual import TEXTS
from tests.fixtures.small_sse import write_small_sse


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_sse(tmp_path_factory.mktemp("sse"))


@pytest.fixture
def model(folder: Path) -> StaticModel:
    found = load_by_library(folder, batch_tokens=512, device="cpu")
    assert isinstance(found, StaticModel)
    return found


def test_vectors_are_those_of_the_library_to_the_bit(model: StaticModel, folder: Path) -> None:
    texts = [*TEXTS, ""]
    expected = load_sentence_transformer(folder, device="cpu").encode(texts, prompt="")
    assert np.array_equal(model.encode(texts, 8192), expected)
    model.count_tokens(texts)
    assert np.array_equal(model.encode(texts, 8192), expected)
    with ThreadPoolExecutor(4) as pool:
        for text, vector in zip(texts, expected, strict=True):
            assert np.array_equal(pool.submit(model.encode, [text], 8192).result()[0], vector)


def test_a_window_cuts_also_what_was_counted_whole(model: StaticModel) -> None:
    text = DOCUMENTS[0].text
    (count,) = model.count_tokens([text])
    assert count > 8
    (cut,) = model.encode([text], 8)
    assert not np.array_equal(cut, model.encode([text], count)[0])
    assert np.array_equal(cut, model.twin("").encode([text], 8)[0])


def test_what_was_counted_is_not_read_again(
    model: StaticModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    tokens = model._module.tokens

    def noted(texts: Sequence[str]) -> list[np.ndarray]:
        read.extend(texts)
        return tokens(texts)

    monkeypatch.setattr(model._module, "tokens", noted)
    model.count_tokens(TEXTS)
    model.encode(TEXTS, 64)
    assert read == TEXTS
    monkeypatch.setattr(static_model, "_READ_TOKENS", 1000)
    narrow = StaticModel(model._module)
    narrow.count_tokens(["a text", "another text"])
    assert list(narrow._read) == ["another text"]
