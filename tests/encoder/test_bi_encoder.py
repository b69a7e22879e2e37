import json
import shutil
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer

from service.encoder.bi_encoder import BiEncoder
from service.errors import InferenceError, ModelSourceError
from service.models.sources import PreparedModel, prepare
from service.types import EncoderIdentity
from tests.fixtures.multilingual import LONG, ODD, SENTENCES, TEXTS

MIXED = [text for sentences in SENTENCES.values() for text in sentences[:2]] + ODD + LONG[:6]


def identity_of(model: PreparedModel, max_length: int = 256) -> EncoderIdentity:
    assert model.dimension is not None
    return EncoderIdentity(
        model.name,
        model.weights_sha256,
        model.dimension,
        model.query_prefix,
        model.passage_prefix,
        max_length,
        1,
    )


def load(model: PreparedModel, batch_tokens: int = 4096, **identity: object) -> BiEncoder:
    changed = replace(identity_of(model), **identity)  # type: ignore[arg-type]
    return BiEncoder(model.folder, changed, batch_tokens=batch_tokens, device="cpu", threads=1)


@pytest.fixture(scope="module")
def encoder(e5: PreparedModel) -> BiEncoder:
    return load(e5)


@pytest.fixture(scope="module")
def minilm(tmp_path_factory: pytest.TempPathFactory) -> PreparedModel:
    cache = tmp_path_factory.mktemp("cache")
    return prepare("minilm-l6", "bi-encoder", cache_dir=cache, offline=True)


@pytest.fixture
def altered(minilm: PreparedModel, tmp_path: Path) -> Callable[..., PreparedModel]:
    """The small model with another JSON file in place of its own."""

    def make(name: str, content: object) -> PreparedModel:
        folder = tmp_path / "model"
        shutil.copytree(minilm.folder, folder)
        (folder / name).write_text(json.dumps(content))
        return replace(minilm, folder=folder)

    return make


def test_a_vector_does_not_depend_on_its_batch(encoder: BiEncoder) -> None:
    together = encoder.encode_passages(MIXED)
    alone = np.concatenate([encoder.encode_passages([text]) for text in MIXED])
    assert np.abs(together - alone).max() < 1e-5


def test_the_bound_on_a_batch_changes_no_vector(e5: PreparedModel, encoder: BiEncoder) -> None:
    narrow = load(e5, batch_tokens=512).encode_queries(MIXED)
    assert np.abs(narrow - encoder.encode_queries(MIXED)).max() < 1e-5


def test_rows_are_float32_of_unit_length_in_input_order(encoder: BiEncoder) -> None:
    texts = [*LONG[:2], "a", *SENTENCES["thai"]]
    vectors = encoder.encode_passages(texts)
    assert vectors.dtype == np.float32
    assert vectors.shape == (len(texts), 384)
    assert np.abs(np.linalg.norm(vectors, axis=1) - 1).max() < 1e-6
    assert np.abs(encoder.encode_passages(texts[::-1])[::-1] - vectors).max() < 1e-5


def test_no_text_makes_no_row(encoder: BiEncoder) -> None:
    assert encoder.encode_queries([]).shape == (0, 384)
    assert encoder.count_tokens([]) == []


def test_each_side_gets_its_own_prefix(e5: PreparedModel, encoder: BiEncoder) -> None:
    plain = SentenceTransformer(str(e5.folder), device="cpu", local_files_only=True)
    texts = SENTENCES["latin"][:3]
    for encode, prefix in (
        (encoder.encode_queries, "query: "),
        (encoder.encode_passages, "passage: "),
    ):
        expected = plain.encode([prefix + text for text in texts], show_progress_bar=False)
        assert np.abs(encode(texts) - expected).max() < 1e-5


def test_a_models_default_prompt_is_not_put_before_our_prefix(
    minilm: PreparedModel, altered: Callable[..., PreparedModel]
) -> None:
    prompts = {"prompts": {"query": "search: "}, "default_prompt_name": "query"}
    model = altered("config_sentence_transformers.json", prompts)
    assert np.array_equal(load(model).encode_queries(["hi"]), load(minilm).encode_queries(["hi"]))


def test_a_model_that_does_not_normalise_gets_unit_rows_all_the_same(
    minilm: PreparedModel, altered: Callable[..., PreparedModel]
) -> None:
    modules = json.loads((minilm.folder / "modules.json").read_text())
    model = altered("modules.json", modules[:2])
    vectors = load(model).encode_passages(["one", "another"])
    assert np.abs(vectors - load(minilm).encode_passages(["one", "another"])).max() < 1e-6


def test_the_budget_is_what_fits_beside_prefix_and_special_tokens(e5: PreparedModel) -> None:
    encoder = load(e5, max_length=32)
    words = " ".join(["a"] * encoder.passage_budget)
    assert encoder.count_tokens([words]) == [encoder.passage_budget]
    whole, cut, shorter = encoder.encode_passages([words, words + " b", words[:-2]])
    assert np.abs(whole - cut).max() < 1e-6  # the word beyond the budget was not read
    assert np.abs(whole - shorter).max() > 1e-4  # the last one within it was


def test_a_text_within_the_budget_is_never_cut(e5: PreparedModel, encoder: BiEncoder) -> None:
    tokenizer = SentenceTransformer(str(e5.folder), device="cpu", local_files_only=True).tokenizer
    beside = encoder.identity.max_length - encoder.passage_budget
    for text, count in zip(TEXTS, encoder.count_tokens(TEXTS), strict=True):
        assert len(tokenizer(f"passage: {text}")["input_ids"]) <= count + beside


def test_counting_counts_the_text_alone_and_whole(encoder: BiEncoder) -> None:
    assert encoder.count_tokens(["", "a", "a b c " * 500 + "d"]) == [0, 1, 1501]


def test_threads_may_count_while_another_encodes(encoder: BiEncoder) -> None:
    expected = encoder.count_tokens(MIXED)
    failures: list[str] = []

    def count() -> None:
        for _ in range(50):
            try:
                if encoder.count_tokens(MIXED) != expected:
                    failures.append("another count")
            except RuntimeError as error:  # "Already borrowed"
                failures.append(str(error))

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(10):
        encoder.encode_queries(["one", "a longer one"])
    for thread in threads:
        thread.join()
    assert failures == []


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 0.0])
def test_a_vector_without_a_direction_is_an_error(minilm: PreparedModel, value: float) -> None:
    encoder = load(minilm)
    encoder.transformer.queries._run = lambda rows: [torch.full((len(rows[0]), 384), value)]
    with pytest.raises(InferenceError, match="minilm-l6"):
        encoder.encode_queries(["hello"])


def test_loading_writes_nothing(
    minilm: PreparedModel,
    e5: PreparedModel,
    capfd: pytest.CaptureFixture[str],
    transformers_log: pytest.LogCaptureFixture,
) -> None:
    load(minilm).encode_queries(["hello"])
    load(e5).encode_queries(["hello"])
    assert capfd.readouterr() == ("", "")
    assert transformers_log.messages == []


def test_other_dimensions_than_the_identitys_are_refused(minilm: PreparedModel) -> None:
    with pytest.raises(ModelSourceError, match="384 dimensions, not 7"):
        load(minilm, dimension=7)


@pytest.mark.parametrize("device", ["cpu", "cuda:99"])
def test_what_cannot_be_loaded_is_named(
    minilm: PreparedModel, altered: Callable[..., PreparedModel], device: str
) -> None:
    broken = altered("config.json", {"model_type": "bert", "hidden_size": 7})
    with pytest.raises(ModelSourceError, match="minilm-l6 cannot be loaded"):
        BiEncoder(broken.folder, identity_of(minilm), batch_tokens=512, device=device)


def test_a_query_has_the_same_vector_alone_and_in_any_company(encoder: BiEncoder) -> None:
    words = ["Mond", "Meer", "das", "Wasser", "steigt", "zweimal", "am", "Tag", "Ebbe", "Flut"]
    lengths = [1, 7, 3, 12, 5, 2, 9] * 3
    queries = [" ".join(words[i % 5 : i % 5 + n]) for i, n in enumerate(lengths)]
    together = encoder.encode_queries(queries)
    for query, vector in zip(queries, together, strict=True):
        # To the bit where it was looked at; no maker of a CPU promises that.
        assert np.abs(encoder.encode_queries([query])[0] - vector).max() < 1e-6
