"""A transformer run without the library around it: the same vectors, from any thread."""

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

from service.encoder import side_by_side
from service.encoder.loading import load_sentence_transformer, plain_transformer
from service.encoder.sentence_model import SentenceModel
from service.encoder.transformer import Transformer as Plain
from service.errors import ModelSourceError
from service.models.sources import PreparedModel
from tests.fixtures.multilingual import SENTENCES
from tests.fixtures.small_models import write_small_encoder

TEXTS = [*SENTENCES["vietnamese"], *SENTENCES["latin"], " ".join(SENTENCES["cyrillic"] * 9), "x"]


def loaded(folder: Path) -> SentenceTransformer:
    return load_sentence_transformer(folder, device="cpu")


def pooled_by(folder: Path, *modes: str) -> Path:
    """The small encoder with other pooling."""
    path = folder / "encoder" / "1_Pooling" / "config.json"
    stated = json.loads(path.read_text(encoding="utf-8"))
    mode = modes[0] if len(modes) == 1 else list(modes)
    path.write_text(json.dumps(stated | {"pooling_mode": mode}), encoding="utf-8")
    return folder / "encoder"


@pytest.mark.parametrize("mode", ["mean", "cls"])
def test_vectors_are_those_of_the_library(tmp_path: Path, mode: str) -> None:
    write_small_encoder(tmp_path)
    folder = pooled_by(tmp_path, mode)
    expected = loaded(folder).encode(TEXTS, prompt="")
    plain = plain_transformer(loaded(folder), batch_tokens=256)
    assert plain is not None
    assert np.abs(plain.encode(TEXTS, 64) - expected).max() < 1e-5


def test_real_vectors_and_counts_are_those_of_the_library(e5: PreparedModel) -> None:
    model = SentenceTransformer(str(e5.folder), device="cpu", local_files_only=True)
    model.max_seq_length = 48
    expected = model.encode(TEXTS, prompt="", normalize_embeddings=True)
    counts = [len(ids) for ids in model.tokenizer(TEXTS, add_special_tokens=False)["input_ids"]]
    plain = Plain.load(e5.folder, batch_tokens=1024, device="cpu")
    vectors = plain.encode(TEXTS, 48)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    assert np.abs(vectors - expected).max() < 1e-5
    assert plain.count_tokens(TEXTS) == counts
    seen = plain.states(TEXTS, 48, (12, 0))
    assert np.abs(np.array([s.pooled for s in seen]) - expected).max() < 1e-5
    assert [s.truncated for s in seen] == [count + 2 > 48 for count in counts]
    assert [len(s.ids) for s in seen] == [min(48, count + 2) for count in counts]
    assert seen[0].states.shape == (len(seen[0].ids), 2 * 384)


def test_states_are_the_layers_own(tmp_path: Path) -> None:
    folder = write_small_encoder(tmp_path)
    plain = Plain.load(folder, batch_tokens=4096, device="cpu")
    (both,), (last,) = (plain.states(TEXTS[:1], 64, layers) for layers in ((0, 1), (1,)))
    assert np.array_equal(both.states[:, 32:], last.states)
    assert not np.allclose(both.states[:, :32], last.states)
    assert np.linalg.norm(last.states, axis=1) == pytest.approx(1.0, abs=1e-5)
    # The pooled vector is the mean of the last layer's states before each gets unit length.
    assert np.linalg.norm(last.pooled) == pytest.approx(1.0, abs=1e-5)
    with pytest.raises(ModelSourceError, match="layers 0 to 1"):
        plain.require_layers((0, 2))


def test_threads_get_what_one_alone_gets(tmp_path: Path) -> None:
    plain = Plain.load(write_small_encoder(tmp_path), batch_tokens=128, device="cpu")
    expected = [plain.encode([text], 64) for text in TEXTS]

    def work(text: str) -> tuple[np.ndarray, np.ndarray]:
        return plain.encode([text], 64), plain.states([text], 64, (0, 1))[0].pooled

    with ThreadPoolExecutor(4) as pool:
        for (vector, pooled), alone in zip(pool.map(work, TEXTS * 5), expected * 5, strict=True):
            assert np.abs(vector - alone).max() < 1e-6
            assert np.abs(pooled - alone[0] / np.linalg.norm(alone)).max() < 1e-6


def test_no_text_makes_no_vector(tmp_path: Path) -> None:
    plain = Plain.load(write_small_encoder(tmp_path), batch_tokens=128, device="cpu")
    assert plain.encode([], 64).shape == (0, 32)
    assert plain.states([], 64, (1,)) == []
    assert plain.count_tokens([]) == []


@pytest.mark.parametrize("modes", [("max",), ("mean", "cls")])
def test_a_model_with_more_to_it_is_left_to_the_library(
    tmp_path: Path, modes: Sequence[str]
) -> None:
    write_small_encoder(tmp_path)
    folder = tmp_path / "plain"
    pooling = Pooling(32, tuple(modes) if len(modes) > 1 else modes[0])
    model = SentenceTransformer(modules=[Transformer(str(folder)), pooling], device="cpu")
    assert plain_transformer(model, batch_tokens=128) is None
    expected = model.encode(TEXTS, prompt="")
    found = SentenceModel(model, batch_tokens=128)
    assert np.abs(found.twin("").encode(TEXTS, 64) - expected).max() < 1e-5
    assert found.special_tokens == 2


def test_padding_changes_no_state(e5: PreparedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    words = " ".join(sentence for texts in SENTENCES.values() for sentence in texts).split()
    texts = [" ".join(words[start:end]) for start, end in ((0, 75), (9, 86), (5, 99), (0, 9))]
    plain = Plain.load(e5.folder, batch_tokens=1024, device="cpu")
    padded = plain.states(texts, 256, (5,))
    assert any(len(one.ids) > side_by_side._LONG and len(one.ids) % 16 for one in padded)
    monkeypatch.setattr(side_by_side, "_LONG", 1000)
    for with_padding, without in zip(padded, plain.states(texts, 256, (5,)), strict=True):
        assert np.abs(with_padding.states - without.states).max() < 1e-5
        assert np.abs(with_padding.pooled - without.pooled).max() < 1e-5


def test_passes_have_few_numbers_of_rows() -> None:
    rows = {total: side_by_side._laid_out([total], torch.float32).size for total in range(1, 4097)}
    assert all(total <= size < max(total + 8, 1.07 * total + 16) for total, size in rows.items())
    assert len(set(rows.values())) < 150
