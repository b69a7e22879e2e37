import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from sentence_transformers import SentenceTransformer

from service.encoder.bi_encoder import BiEncoder
from service.encoder.loading import load_sentence_transformer
from service.encoder.sse import SSE, SeparableDyT
from service.models.sources import PreparedModel, prepare
from service.types import EncoderIdentity
from tests.fixtures.library import DOCUMENTS, QUESTIONS
from tests.fixtures.multilingual import SENTENCES
from tests.fixtures.small_sse import SIZES, small_sse, write_small_sse

TEXTS = [text for sentences in SENTENCES.values() for text in sentences[:2]]


@pytest.fixture(scope="module")
def model() -> SentenceTransformer:
    return small_sse()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_sse(tmp_path_factory.mktemp("sse"))


def prepared(folder: Path) -> PreparedModel:
    return prepare(str(folder), "bi-encoder", cache_dir=folder, offline=True)


def load(folder: Path, *, dimensions: int | None = None, max_length: int = 256) -> BiEncoder:
    model = prepared(folder)
    identity = EncoderIdentity(
        "small", model.weights_sha256, dimensions or model.dimension or 0, "", "", max_length, 1
    )
    return BiEncoder(
        folder, identity, batch_tokens=512, dimensions=dimensions, device="cpu", threads=1
    )


def test_the_tanh_is_separable_and_has_the_stated_gradient() -> None:
    dyt = SeparableDyT(2)
    with torch.no_grad():
        dyt.a.copy_(torch.tensor([0.5, 2.0]))
        dyt.b.copy_(torch.tensor([0.1, -0.2]))
        dyt.c.copy_(torch.tensor([3.0, -1.0]))
    x = torch.tensor([[0.7, -0.4]], requires_grad=True)
    y = dyt(x)
    inner = dyt.a * x + dyt.b
    assert torch.allclose(y, dyt.c * torch.tanh(inner))
    y.sum().backward()  # type: ignore[no-untyped-call]
    assert x.grad is not None
    assert torch.allclose(x.grad, dyt.c * dyt.a / torch.cosh(inner) ** 2)


def test_a_vector_is_the_tanh_of_the_mean_of_its_rows(model: SentenceTransformer) -> None:
    module = model[0]
    for text in TEXTS[:4]:
        ids = module.tokenizer.backend_tokenizer.encode(text).ids
        expected = module.dyt(module.embedding.weight[ids].mean(0)).detach().numpy()
        assert np.abs(model.encode(text) - expected).max() < 1e-6


def test_a_text_without_tokens_counts_as_one_unknown_token(model: SentenceTransformer) -> None:
    empty, space, text = model.encode(["", " \n", "tea"])
    module = model[0]
    unknown = module.dyt(module.embedding.weight[0]).detach().numpy()
    assert np.abs(empty - unknown).max() < 1e-6
    assert np.array_equal(empty, space)
    assert np.abs(empty - text).max() > 0.1


def test_a_vector_does_not_depend_on_its_batch(model: SentenceTransformer) -> None:
    alone = np.stack([model.encode(text) for text in TEXTS])
    assert np.abs(model.encode(TEXTS, batch_size=7) - alone).max() < 1e-6


def test_full_precision_comes_back_exactly(model: SentenceTransformer, tmp_path: Path) -> None:
    model.save_pretrained(str(tmp_path), create_model_card=False)
    again = load_sentence_transformer(tmp_path, device="cpu")
    assert np.array_equal(again.encode(TEXTS), model.encode(TEXTS))
    assert again[0].matryoshka_dims == SIZES
    assert again.prompts == model.prompts


def test_four_bits_take_an_eighth_and_keep_the_direction(
    model: SentenceTransformer, folder: Path
) -> None:
    tensors = load_file(folder / "model.safetensors")
    rows, columns = model[0].embedding.weight.shape
    assert tensors["embedding.levels"].nbytes == rows * columns // 2
    assert tensors["embedding.scales"].nbytes == rows * columns // 32 * 2
    a, b = model.encode(TEXTS), load_sentence_transformer(folder, device="cpu").encode(TEXTS)
    cosines = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    assert cosines.min() > 0.98


def test_what_was_loaded_from_four_bits_saves_to_the_same_bytes(
    folder: Path, tmp_path: Path
) -> None:
    again = load_sentence_transformer(folder, device="cpu")
    again.save_pretrained(str(tmp_path), create_model_card=False)
    first, second = (load_file(path / "model.safetensors") for path in (folder, tmp_path))
    assert all(np.array_equal(first[name], second[name]) for name in first)


def test_the_library_loads_it_itself_once_it_is_trusted(folder: Path) -> None:
    with pytest.raises(ValueError, match="trust_remote_code"):
        SentenceTransformer(str(folder), device="cpu", local_files_only=True)
    theirs = SentenceTransformer(
        str(folder), device="cpu", trust_remote_code=True, local_files_only=True
    )
    ours = load_sentence_transformer(folder, device="cpu")
    assert isinstance(theirs[0], SSE)
    assert np.array_equal(theirs.encode(TEXTS), ours.encode(TEXTS))


def test_a_module_of_anybody_else_is_refused(folder: Path, tmp_path: Path) -> None:
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    modules = json.loads((folder / "modules.json").read_text())
    modules.append({"idx": 1, "name": "1", "path": "", "type": "shutil.rmtree"})
    (tmp_path / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(ValueError, match=r"shutil\.rmtree"):
        load_sentence_transformer(tmp_path)


def test_weights_of_another_size_are_refused(folder: Path, tmp_path: Path) -> None:
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((folder / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"hidden_size": 96}))
    with pytest.raises(ValueError, match="does not fit"):
        load_sentence_transformer(tmp_path)


def test_the_folder_says_what_the_service_needs_to_know(folder: Path) -> None:
    model = prepared(folder)
    assert (model.dimension, model.matryoshka, model.max_length) == (64, SIZES, 8192)
    assert (model.query_prefix, model.passage_prefix) == ("", "")
    assert model.prefixes_from == "model config"


def test_the_service_encodes_with_it(folder: Path) -> None:
    encoder = load(folder)
    vectors = encoder.encode_queries(TEXTS)
    assert np.abs(np.linalg.norm(vectors, axis=1) - 1).max() < 1e-6
    assert encoder.passage_budget == 256
    assert np.array_equal(vectors, encoder.encode_passages(TEXTS))


@pytest.mark.parametrize("size", SIZES)
def test_cut_vectors_are_the_first_dimensions_at_unit_length(folder: Path, size: int) -> None:
    whole = load(folder).encode_queries(TEXTS)[:, :size]
    cut = load(folder, dimensions=size).encode_queries(TEXTS)
    assert cut.shape == (len(TEXTS), size)
    assert np.abs(cut - whole / np.linalg.norm(whole, axis=1, keepdims=True)).max() < 1e-5


def test_the_shipped_model_is_small_and_finds_what_answers(tmp_path: Path) -> None:
    model = prepare("sse-512", "bi-encoder", cache_dir=tmp_path, offline=True)
    assert model.matryoshka == (512, 256, 128, 64, 32)
    assert (model.folder / "model.safetensors").stat().st_size <= 9_000_000
    assert sum(file.stat().st_size for file in model.folder.iterdir()) <= 10_000_000
    identity = EncoderIdentity("sse-512", model.weights_sha256, 512, "", "", 256, 1)
    encoder = BiEncoder(model.folder, identity, batch_tokens=512, device="cpu", threads=1)
    passages = encoder.encode_passages([f"{d.title} {d.text}" for d in DOCUMENTS])
    nearest = (encoder.encode_queries(list(QUESTIONS)) @ passages.T).argmax(1)
    found = [DOCUMENTS[place].id for place in nearest]
    right = sum(a == b for a, b in zip(found, QUESTIONS.values(), strict=True))
    assert right >= 8  # of nine, one of them in Russian, which it was not trained on


def test_a_text_is_cut_at_the_window_and_counted_whole(folder: Path) -> None:
    encoder = load(folder, max_length=8)
    text = TEXTS[0] * 3
    assert encoder.count_tokens([text])[0] > encoder.passage_budget == 8
    first = encoder.encode_passages([text, text + " and more of it"])
    assert np.array_equal(first[0], first[1])
    assert replace(encoder.identity, max_length=9) != encoder.identity
