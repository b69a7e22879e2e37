"""A cross-encoder's two heads trained together, saved, gone on with, and served."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from sentence_transformers import CrossEncoder
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, kl_div, log_softmax

from service.errors import InvalidInputError, ModelSourceError
from service.models.sources import prepare as prepare_model
from service.reranker.early_head import WEIGHTS, early_head_of
from service.reranker.opening import open_cross_encoder
from service.reranker.two_step_reranker import TwoStepReranker
from service.settings import Settings
from service.training.early import EarlyCrossEncoder, early_logits, fit_early_head
from service.training.losses.ranked_list import RankedListLoss
from service.training.recipe import Recipe, load_recipe
from service.training.run import run
from service.training.trainer import Outcome
from tests.fixtures.small_models import (
    write_small_encoder,
    write_small_reranker,
    write_two_headed_reranker,
)
from tests.fixtures.training_labels import write_articles

SMALL = (
    "options.layers=all",
    "options.negatives=3",
    "options.hardest=8",
    "options.margin=2",
    "options.teacher=none",
    "options.cropped=0",
    "training.max_length=64",
    "training.batch_size=4",
    "training.learning_rate=0.003",
    "training.evaluate_every=4",
    "training.validation_share=0.2",
    "training.test_share=0.2",
)
QUERIES = ["Đạo hàm của sin x?", "How deep is the harbour?"]
LISTS = [["cos x", "sin x + 1", "x²"], ["Twelve metres at low tide.", "It was built of granite."]]
PAIRS = [(q, p) for q, passages in zip(QUERIES, LISTS, strict=True) for p in passages]
LABELS = [torch.tensor([1.0, 0.0, 0.0]), torch.tensor([1.0, 0.0])]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_encoder(tmp_path_factory.mktemp("encoder"))


@pytest.fixture(scope="module")
def articles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_articles(tmp_path_factory.mktemp("labels") / "articles")


@pytest.fixture(scope="module")
def two_headed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_two_headed_reranker(tmp_path_factory.mktemp("two"), layers=3, early_layer=1)


@pytest.fixture(scope="module")
def trained(
    encoder: Path, articles: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Outcome]:
    """A cross-encoder with one head, and what became of it with two."""
    folder = tmp_path_factory.mktemp("trained")
    base = write_small_reranker(folder / "base", layers=3)
    changes = ("options.early_layer=1", "training.epochs=4")
    return base, train(base, encoder, articles, folder / "out", *changes)


def recipe_of(base: Path, encoder: Path, *changes: str) -> Recipe:
    stated = (f"base={base}", f"options.encoder={encoder}")
    return load_recipe("cross-encoder", [*stated, *SMALL, *changes])


def train(base: Path, encoder: Path, labels: Path, out: Path, *changes: str) -> Outcome:
    settings = Settings(device="cpu", cache_dir=out.parent / "cache", hub_offline=True)
    return run(recipe_of(base, encoder, *changes), [labels], out, settings)


def of_one_head(logits: Tensor, told: Tensor | None = None) -> float:
    """Listwise + half the binary cross-entropy, and the divergence from what is told."""
    total = 0.5 * binary_cross_entropy_with_logits(
        logits, torch.cat(LABELS), pos_weight=torch.tensor(3.0)
    )
    for place, labels in enumerate(LABELS):
        own, of = (slice(0, 3), slice(3, 5))[place], len(LABELS)
        total = total - (log_softmax(logits[own], 0) @ labels) / of
        if told is not None:
            wanted = log_softmax(told[own], 0)
            total = (
                total
                + kl_div(log_softmax(logits[own], 0), wanted, log_target=True, reduction="sum") / of
            )
    return float(total)


def test_the_loss_of_both_is_the_sum_of_theirs_and_the_first_teaches_the_second(
    two_headed: Path,
) -> None:
    model = EarlyCrossEncoder(str(two_headed), device="cpu").eval()
    with torch.no_grad():
        logits, early = RankedListLoss(model).logits(PAIRS, at_once=2)
        assert early is not None
        loss = RankedListLoss(model, pos_weight=3.0, early=0.7, self_distillation=1.0)
        found = float(loss([QUERIES, LISTS], LABELS))
        alone = float(RankedListLoss(model, pos_weight=3.0)([QUERIES, LISTS], LABELS))
    assert alone == pytest.approx(of_one_head(logits), abs=1e-5)
    assert found == pytest.approx(alone + 0.7 * of_one_head(early, logits), abs=1e-4)
    assert of_one_head(early, logits) > of_one_head(early) + 0.01


def test_what_the_second_head_is_told_does_not_pull_at_the_first(two_headed: Path) -> None:
    model = EarlyCrossEncoder(str(two_headed), device="cpu").eval()
    classifier = model.transformers_model
    assert classifier is not None
    loss = RankedListLoss(model, listwise=0, bce=0, early=1.0, self_distillation=1.0)
    loss([QUERIES, LISTS], LABELS).backward()
    head = early_head_of(classifier)
    assert head is not None
    moved = [head.classifier.weight, classifier.bert.encoder.layer[0].output.dense.weight]
    assert all(p.grad is not None and p.grad.any() for p in moved)
    still = [classifier.classifier.weight, classifier.bert.encoder.layer[1].output.dense.weight]
    assert all(p.grad is None or not p.grad.any() for p in still)


def test_the_layer_is_watched_for_as_long_as_is_asked(two_headed: Path) -> None:
    model = EarlyCrossEncoder(str(two_headed), device="cpu").eval()
    features = model.preprocess(PAIRS[:2])
    with torch.no_grad(), early_logits(model) as seen:
        model(features)
        assert [of.shape for of in seen] == [(2,)]
        classifier = model.transformers_model
        states = classifier(**features, output_hidden_states=True).hidden_states[1]
        assert len(seen) == 2
        assert torch.equal(early_head_of(classifier)(states, features["input_ids"]), seen[0])
    with torch.no_grad():
        model(features)
    assert len(seen) == 2


def test_training_moves_both_heads_and_says_how_good_each_is(
    trained: tuple[Path, Outcome],
) -> None:
    base, outcome = trained
    before, after = (load_file(f / "model.safetensors") for f in (base, outcome.out))
    assert before.keys() == after.keys()
    early = load_file(outcome.out / WEIGHTS)
    # Where both have the same parts it starts as a copy of the other.
    for name, first in (("dense", "bert.pooler.dense"), ("classifier", "classifier")):
        start, last = before[f"{first}.weight"], after[f"{first}.weight"]
        assert np.abs(last - start).max() > 1e-3
        assert np.abs(early[f"{name}.weight"] - start).max() > 1e-3
        assert np.abs(early[f"{name}.weight"] - last).max() > 1e-3
    for name, start in (("project.weight", np.eye(32)), ("importance.weight", np.zeros((1, 32)))):
        assert np.abs(early[name] - start).max() > 1e-3
    assert early["scale"] != 20
    assert json.loads((outcome.out / "config.json").read_text())["early_layer"] == 1
    assert {"ndcg@10 of the early head", "accuracy@1 of the early head"} < set(outcome.after)
    card = (outcome.out / "README.md").read_text()
    assert "A second head reads the first 1 layers" in card
    assert "ndcg@10 of the early head" in card


def test_what_was_trained_is_served_in_two_steps(
    trained: tuple[Path, Outcome], tmp_path: Path
) -> None:
    _base, outcome = trained
    model = prepare_model(str(outcome.out), "cross-encoder", cache_dir=tmp_path, offline=True)
    settings = Settings(device="cpu", rerank_backend="torch", rerank_keep=len(PAIRS))
    reranker = open_cross_encoder(settings, model)
    assert isinstance(reranker, TwoStepReranker)
    own = EarlyCrossEncoder(str(outcome.out), device="cpu").eval()
    with torch.no_grad():
        full, early = RankedListLoss(own).logits(PAIRS)
    assert early is not None
    served, _states = reranker._forward.begin(reranker._read(PAIRS))
    assert served == pytest.approx(early.numpy(), abs=1e-4)
    found = [score.logit for score in reranker.score(PAIRS)]
    assert found == pytest.approx(full.tolist(), abs=2e-4)
    # Whoever knows nothing of an early head reads the folder as ever.
    plain = CrossEncoder(str(outcome.out), device="cpu")
    expected = plain.predict(PAIRS, activation_fn=torch.nn.Identity()).tolist()
    one_step = open_cross_encoder(settings.model_copy(update={"rerank_keep": 0}), model)
    assert [s.logit for s in one_step.score(PAIRS)] == pytest.approx(expected, abs=2e-4)


def test_a_folder_saved_and_loaded_again_is_the_same(two_headed: Path, tmp_path: Path) -> None:
    first = EarlyCrossEncoder(str(two_headed), device="cpu")
    first.save_pretrained(str(tmp_path / "again"), create_model_card=False)
    second = EarlyCrossEncoder(str(tmp_path / "again"), device="cpu")
    tensors = first.state_dict(), second.state_dict()
    assert sum("early_head" in name for name in tensors[0]) == 8
    assert tensors[0].keys() == tensors[1].keys()
    assert all(torch.equal(value, tensors[1][name]) for name, value in tensors[0].items())
    for name in (WEIGHTS, "model.safetensors", "config.json"):
        assert (tmp_path / "again" / name).read_bytes() == (two_headed / name).read_bytes()


def test_a_head_is_kept_where_it_stands_there_made_anew_elsewhere_and_taken_off(
    two_headed: Path, tmp_path: Path
) -> None:
    model = EarlyCrossEncoder(str(two_headed), device="cpu")
    classifier = model.transformers_model
    own = early_head_of(classifier)
    fit_early_head(model, 1)
    assert early_head_of(classifier) is own
    fit_early_head(model, 2)
    other = early_head_of(classifier)
    assert other is not None
    assert other.layer == 2
    assert torch.equal(other.dense.weight, classifier.bert.pooler.dense.weight)
    with pytest.raises(InvalidInputError, match="less than the model's 3 layers"):
        fit_early_head(model, 3)
    fit_early_head(model, 0)
    model.save_pretrained(str(tmp_path / "one"), create_model_card=False)
    assert not (tmp_path / "one" / WEIGHTS).exists()
    reopened = EarlyCrossEncoder(str(tmp_path / "one"), device="cpu").transformers_model
    assert early_head_of(reopened) is None


def test_a_base_that_is_a_cross_encoder_needs_an_encoder_beside_it(
    two_headed: Path, encoder: Path, articles: Path, tmp_path: Path
) -> None:
    with pytest.raises(ModelSourceError, match=r"options\.encoder"):
        train(two_headed, encoder, articles, tmp_path / "out", 'options.encoder=""')


def test_a_training_that_stops_half_way_goes_on_to_the_same_two_heads(
    trained: tuple[Path, Outcome],
    encoder: Path,
    articles: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    base, whole = trained
    changes = ("options.early_layer=1", "training.epochs=4")
    with monkeypatch.context() as patched:
        patched.setattr("service.training.callbacks.Watch.on_save", _killed)
        with pytest.raises(KeyboardInterrupt):
            train(base, encoder, articles, tmp_path / "out", *changes)
    resumed = train(base, encoder, articles, tmp_path / "out", *changes)
    for name in ("model.safetensors", WEIGHTS):
        first, second = (load_file(o.out / name) for o in (whole, resumed))
        assert all(np.array_equal(value, second[key]) for key, value in first.items()), name


def _killed(*_args: object, **_kwargs: object) -> None:
    raise KeyboardInterrupt
