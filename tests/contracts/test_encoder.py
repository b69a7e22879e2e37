"""What every `Encoder` has to keep."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import cast

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer

from service.encoder.moe import add_experts
from service.encoder.onnx_layers import ONNX
from service.engine.build import build_encoder
from service.errors import NotAvailableError
from service.models.model_kinds import KINDS, ModelKind
from service.models.onnx_files import onnx_is_installed
from service.protocols import Encoder
from service.settings import Settings
from service.types import EncoderBackend, Vectors
from tests.fixtures.multilingual import LONG, SENTENCES
from tests.fixtures.remote_encoder import REMOTE_ENCODER, embedding_server
from tests.fixtures.small_sse import write_small_sse
from tests.models.small_bert import write_small_bert

TEXTS = [text for texts in SENTENCES.values() for text in texts[:2]]
WINDOW = 64


def e5(_folder: Path) -> str:
    return "e5-small"


def static(folder: Path) -> str:
    return str(write_small_sse(folder / "sse"))


def experts(folder: Path) -> str:
    base = write_small_bert(folder / "base", TEXTS)
    model = SentenceTransformer(str(base), device="cpu", local_files_only=True)
    add_experts(model, 2)
    model.save_pretrained(str(folder / "moe"), create_model_card=False)
    return str(folder / "moe")


def remote(_folder: Path) -> None:
    """A server's, which runs only in the test."""


ENCODERS: list[tuple[Callable[[Path], str | None], EncoderBackend]] = [
    (e5, "torch"),
    (e5, "torch-bf16"),
    (e5, "onnx"),
    (e5, "onnx-int8"),
    (static, "torch"),
    (experts, "torch"),
    (remote, "torch"),
]


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with embedding_server() as url:
        yield url


@pytest.fixture(scope="module", params=ENCODERS, ids=lambda one: f"{one[0].__name__}-{one[1]}")
def encoder(
    request: pytest.FixtureRequest, server: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Encoder]:
    make, backend = request.param
    if backend in ONNX and not onnx_is_installed():
        pytest.skip("the extra onnx is not installed")
    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(cast("dict[str, ModelKind]", KINDS), "remote", REMOTE_ENCODER)
        yield build_encoder(
            Settings(
                encoder=make(tmp_path_factory.mktemp("model")) or server,
                passage_tokens=WINDOW,
                batch_tokens=512,
                device="cpu",
                hub_offline=True,
                encoder_query_backend=backend,
                encoder_passage_backend=backend,
            )
        )


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


def test_a_twin_gives_the_same_vectors_beside_it(encoder: Encoder) -> None:
    twin = encoder.twin("indexer")
    assert twin.identity == encoder.identity
    assert twin.passage_budget == encoder.passage_budget
    with ThreadPoolExecutor(2) as pool:
        both = pool.map(lambda one: one.encode_passages(TEXTS), (encoder, twin))
    first, second = both
    assert near(first, second, encoder)
