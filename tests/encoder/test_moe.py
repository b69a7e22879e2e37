"""Experts in a transformer: the same vectors before training, saved and loaded like any other."""

from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from torch import nn

from service.encoder.bi_encoder import BiEncoder
from service.encoder.moe import MixtureOfExperts, add_experts, intermediate_layers
from service.errors import ModelError
from service.models.sources import PreparedModel, prepare
from service.text.normalizer import NORMALIZER_VERSION
from service.types import EncoderIdentity
from tests.fixtures.multilingual import SENTENCES
from tests.models.small_bert import write_small_bert

TEXTS = [text for texts in SENTENCES.values() for text in texts[:2]]


@pytest.fixture(params=["bert", "xlm-roberta"])
def small(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return write_small_bert(tmp_path / "base", TEXTS, family=request.param)


def load(folder: Path) -> SentenceTransformer:
    return SentenceTransformer(str(folder), device="cpu", local_files_only=True)


def unalike(model: SentenceTransformer) -> None:
    """Experts as training would leave them: no longer equal."""
    torch.manual_seed(1)
    for layer in intermediate_layers(model):
        for expert in layer.experts:
            nn.init.normal_(expert.weight, std=0.5)


@pytest.mark.parametrize("top_k", [1, 2])
def test_e5_gives_the_same_vectors_with_experts(e5: PreparedModel, top_k: int) -> None:
    model = load(e5.folder)
    before = model.encode(TEXTS, prompt="query: ")
    add_experts(model, 2, top_k=top_k)
    after = model.encode(TEXTS, prompt="query: ")
    assert np.abs(after - before).max() <= 1e-5


def test_every_layer_has_copies_of_its_own_dense_layer(small: Path) -> None:
    base, model = load(small), load(small)
    add_experts(model, 3)
    for before, after in zip(intermediate_layers(base), intermediate_layers(model), strict=True):
        assert len(after.experts) == 3
        assert after.gate.bias is None
        for expert in after.experts:
            assert torch.equal(expert.weight, before.weight)
            assert torch.equal(expert.bias, before.bias)


def test_each_token_goes_through_the_expert_that_its_gate_chooses() -> None:
    layer = MixtureOfExperts(nn.Linear(4, 3), experts=3, top_k=1)
    for expert in layer.experts:
        nn.init.normal_(expert.weight)
    tokens = torch.randn(2, 5, 4)
    found = layer(tokens)
    for sentence, row in zip(tokens, found, strict=True):
        for token, value in zip(sentence, row, strict=True):
            chosen = layer.experts[int(layer.gate(token).argmax())]
            torch.testing.assert_close(value, chosen(token))


def test_two_experts_a_token_are_weighted_by_a_softmax_and_the_gate_learns() -> None:
    layer = MixtureOfExperts(nn.Linear(4, 3), experts=3, top_k=2)
    for expert in layer.experts:
        nn.init.normal_(expert.weight)
    token = torch.randn(1, 4)
    values, chosen = layer.gate(token)[0].topk(2)
    weights = values.softmax(0)
    expected = sum(w * layer.experts[int(e)](token) for w, e in zip(weights, chosen, strict=True))
    found = layer(token)
    torch.testing.assert_close(found, expected)
    found.square().sum().backward()
    assert layer.gate.weight.grad is not None
    assert layer.gate.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("top_k", [0, 3])
def test_more_experts_a_token_than_there_are_is_refused(top_k: int) -> None:
    with pytest.raises(ModelError, match="top_k"):
        MixtureOfExperts(nn.Linear(4, 3), experts=2, top_k=top_k)


def test_a_saved_model_is_served_without_code_of_its_own(small: Path, tmp_path: Path) -> None:
    model = load(small)
    before = model.encode(TEXTS, prompt="query: ")
    add_experts(model, 2)
    unalike(model)
    trained = model.encode(TEXTS, prompt="query: ")
    assert np.abs(trained - before).max() > 1e-3
    model.save_pretrained(str(tmp_path / "moe"), create_model_card=False)

    found = prepare(str(tmp_path / "moe"), "bi-encoder", cache_dir=tmp_path, offline=True)
    assert (found.query_prefix, found.passage_prefix) == ("query: ", "passage: ")
    identity = EncoderIdentity(
        model=found.name,
        weights_sha256=found.weights_sha256,
        dimension=16,
        max_length=found.max_length,
        query_prefix=found.query_prefix,
        passage_prefix=found.passage_prefix,
        normalizer_version=NORMALIZER_VERSION,
    )
    served = BiEncoder(found.folder, identity, batch_tokens=1024, device="cpu")
    np.testing.assert_allclose(served.encode_queries(TEXTS), trained, atol=1e-5)


def test_the_gate_is_drawn_with_the_seed_and_leaves_other_draws_alone(small: Path) -> None:
    gates = []
    for seed in (3, 3, 4):
        model = load(small)
        torch.manual_seed(7)
        add_experts(model, 2, seed=seed)
        gates.append(next(intermediate_layers(model)).gate.weight)
        after = torch.rand(1)
        torch.manual_seed(7)
        assert torch.equal(after, torch.rand(1))
    assert torch.equal(gates[0], gates[1])
    assert not torch.equal(gates[0], gates[2])


def test_experts_do_not_go_into_experts(small: Path) -> None:
    model = load(small)
    add_experts(model)
    with pytest.raises(ModelError, match="bert or xlm-roberta"):
        add_experts(model)
