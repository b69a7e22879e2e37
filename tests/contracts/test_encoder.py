"""What every `Encoder` has to keep."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer

from service.encoder.bi_encoder import BiEncoder, load_model
from service.encoder.moe import add_experts
from service.encoder.onnx_layers import ONNX, layers_file
from service.encoder.open_backends import Backends
from service.errors import NotAvailableError
from service.models.onnx_files import onnx_is_installed
from service.models.sources import PreparedModel, prepare
from service.protocols import Encoder
from service.text.normalizer import NORMALIZER_VERSION
from service.types import EncoderBackend, EncoderIdentity, Vectors
from tests.fixtures.multilingual import LONG, SENTENCES
from tests.fixtures.small_sse import write_small_sse
from tests.models.small_bert import write_small_bert

TEXTS = [text for texts in SENTENCES.values() for text in texts[:2]]
WINDOW = 64


def transformer(_folder: Path, e5: PreparedModel) -> PreparedModel:
    return e5


def bfloat16(_folder: Path, e5: PreparedModel) -> PreparedModel:
    return e5


def onnx(_folder: Path, e5: PreparedModel) -> PreparedModel:
    return e5


def int8(_folder: Path, e5: PreparedModel) -> PreparedModel:
    return e5


BACKENDS: dict[object, EncoderBackend] = {
    bfloat16: "torch-bf16",
    onnx: "onnx",
    int8: "onnx-int8",
}


def static(folder: Path, _e5: PreparedModel) -> PreparedModel:
    return prepared(write_small_sse(folder / "sse"))


def experts(folder: Path, _e5: PreparedModel) -> PreparedModel:
    base = write_small_bert(folder / "base", TEXTS)
    model = SentenceTransformer(str(base), device="cpu", local_files_only=True)
    add_experts(model, 2)
    model.save_pretrained(str(folder / "moe"), create_model_card=False)
    return prepared(folder / "moe")


def prepared(folder: Path) -> PreparedModel:
    return prepare(str(folder), "bi-encoder", cache_dir=folder, offline=True)


@pytest.fixture(
    scope="module",
    params=[transformer, bfloat16, onnx, int8, static, experts],
    ids=lambda make: make.__name__,
)
def encoder(
    request: pytest.FixtureRequest, e5: PreparedModel, tmp_path_factory: pytest.TempPathFactory
) -> Encoder:
    make: Callable[[Path, PreparedModel], PreparedModel] = request.param
    folder = tmp_path_factory.mktemp("model")
    model = make(folder, e5)
    assert model.dimension
    identity = EncoderIdentity(
        model.name,
        model.weights_sha256,
        model.dimension,
        model.query_prefix,
        model.passage_prefix,
        WINDOW,
        NORMALIZER_VERSION,
    )
    name = BACKENDS.get(make, "torch")
    files = ()
    if name in ONNX:
        if not onnx_is_installed():
            pytest.skip("the extra onnx is not installed")
        files = ((name, layers_file(model, name, folder)),)
    backends = Backends(name, name, files)
    loaded = load_model(model.folder, model.name, 512, "cpu", backends=backends)
    return BiEncoder.over(loaded, identity)


def near(found: Vectors, expected: Vectors, encoder: Encoder) -> bool:
    """Equal but for how a product rounds, which is what a text's company may change."""
    exact = encoder.backends.get("passages") != "torch-bf16"
    same = 1.0 - (found.astype(np.float64) * expected).sum(axis=1)
    if encoder.backends.get("passages") in ONNX:  # each text is a call of its own
        return np.array_equal(found, expected)
    return bool(same.max() <= (1e-6 if exact else 1e-4))


def test_vectors_are_float32_of_unit_length_in_the_order_of_the_texts(encoder: Encoder) -> None:
    for encode in (encoder.encode_queries, encoder.encode_passages):
        vectors = encode(TEXTS)
        assert vectors.shape == (len(TEXTS), encoder.identity.dimension)
        assert vectors.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
        assert near(encode(TEXTS[::-1])[::-1], vectors, encoder)


def test_a_text_has_one_vector_alone_and_among_others(encoder: Encoder) -> None:
    texts = [*TEXTS, *LONG[:2]]
    assert len(texts) >= 16
    together = encoder.encode_passages(texts)
    alone = np.concatenate([encoder.encode_passages([text]) for text in texts])
    assert near(together, alone, encoder)


def test_no_text_gives_no_vector(encoder: Encoder) -> None:
    assert encoder.encode_queries([]).shape == (0, encoder.identity.dimension)
    assert encoder.encode_passages([]).shape == (0, encoder.identity.dimension)
    assert encoder.count_tokens([]) == []


def test_what_is_beyond_the_window_is_not_read(encoder: Encoder) -> None:
    words = " ".join([TEXTS[0]] * 200)
    longer, longest = encoder.encode_passages([words, f"{words} {TEXTS[-1]}"])
    assert near(longer[None], longest[None], encoder)


def test_the_budget_is_within_the_window_and_tokens_are_counted_without_it(
    encoder: Encoder,
) -> None:
    assert 0 < encoder.passage_budget <= WINDOW
    assert encoder.query_budget > 0
    once, twice, none = encoder.count_tokens([TEXTS[0], f"{TEXTS[0]} {TEXTS[0]}", ""])
    assert none == 0 < once < twice
    assert encoder.count_tokens([TEXTS[0] * 100])[0] > WINDOW


def test_its_tokens_are_those_it_counts_and_spell_the_text(encoder: Encoder) -> None:
    try:
        found = encoder.pieces(TEXTS)
    except NotAvailableError:
        return
    assert [len(pieces) for pieces in found] == encoder.count_tokens(TEXTS)
    for text, pieces in zip(TEXTS, found, strict=True):
        spelt = {place for piece in pieces for place in range(piece.start, piece.end)}
        assert {place for place, letter in enumerate(text) if not letter.isspace()} <= spelt
        assert [piece.end for piece in pieces] == sorted(piece.end for piece in pieces)


def test_threads_get_the_same_vectors_as_one(encoder: Encoder) -> None:
    expected = encoder.encode_queries(TEXTS)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda text: encoder.encode_queries([text])[0], TEXTS * 2))
    assert near(np.stack(found), np.concatenate([expected, expected]), encoder)
