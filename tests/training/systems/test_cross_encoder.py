"""The cross-encoder recipe: its lists, its teacher, what it learns, and that it is served."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from sentence_transformers import CrossEncoder, SentenceTransformer

from service.errors import InvalidInputError
from service.models.sources import kind_named
from service.models.sources import prepare as prepare_model
from service.reranker.cross_encoder import CrossEncoderReranker
from service.settings import Settings
from service.training import list_figures
from service.training.label_rows import part_of
from service.training.losses.ranked_list import RankedListLoss
from service.training.recipe import Recipe, load_recipe
from service.training.system import Job, Prepared
from service.training.systems import listwise_cross_encoder
from service.training.trainer import Outcome, run
from tests.fixtures.small_models import write_small_encoder, write_small_reranker
from tests.fixtures.training_labels import ARTICLES, write_articles

SMALL = (
    "options.layers=1",
    "options.negatives=3",
    "options.hardest=8",
    "options.margin=2",
    "training.max_length=64",
    "training.batch_size=4",
    "training.learning_rate=0.003",
    "training.evaluate_every=4",
    "training.validation_share=0.2",
    "training.test_share=0.2",
)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_encoder(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_reranker(tmp_path_factory.mktemp("teacher"), seed=2)


@pytest.fixture(scope="module")
def articles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_articles(tmp_path_factory.mktemp("labels") / "articles")


def recipe_of(base: Path, teacher: object, changes: Sequence[str]) -> Recipe:
    return load_recipe(
        "cross-encoder", [f"base={base}", f"options.teacher={teacher}", *SMALL, *changes]
    )


def settings_of(out: Path) -> Settings:
    return Settings(device="cpu", cache_dir=out.parent / "cache", hub_offline=True)


def prepare(base: Path, labels: Path, out: Path, teacher: object, *changes: str) -> Prepared:
    recipe = recipe_of(base, teacher, changes)
    return listwise_cross_encoder.prepare(
        Job(recipe, (labels,), base, out, settings=settings_of(out))
    )


def train(base: Path, labels: Path, out: Path, teacher: object, *changes: str) -> Outcome:
    return run(recipe_of(base, teacher, changes), [labels], out, settings_of(out))


def answers() -> dict[str, str]:
    return {
        question: f"{title} {text}"
        for title, sections in ARTICLES.items()
        for question, text in sections
    }


def test_lists_have_the_right_passage_first_and_the_same_every_time(
    base: Path, articles: Path, tmp_path: Path
) -> None:
    prepared = prepare(base, articles, tmp_path / "out", "none", "options.cropped=0")
    rows = [*prepared.train, *prepared.validation]
    assert len(rows) > 8
    for row in rows:
        assert row["passages"][0] == answers()[row["query"]]
        assert row["label"] == [1.0, 0.0, 0.0, 0.0]
        assert len(set(row["passages"])) == 4
    again = prepare(base, articles, tmp_path / "out", "none", "options.cropped=0")
    assert [*again.train] == [*prepared.train]
    queries = [{row["query"] for row in part} for part in (prepared.train, prepared.validation)]
    assert queries[0].isdisjoint(queries[1])


def test_what_the_teacher_says_stands_beside_each_passage(
    base: Path, articles: Path, teacher: Path, tmp_path: Path
) -> None:
    changes = ("training.precision=fp32", "options.cropped=0")
    prepared = prepare(base, articles, tmp_path / "out", teacher, *changes)
    model = CrossEncoder(str(teacher), device="cpu")
    for row in prepared.train:
        pairs = [(row["query"], passage) for passage in row["passages"]]
        logits = model.predict(pairs, activation_fn=torch.nn.Identity())
        assert row["teacher"] == pytest.approx(logits.tolist(), abs=1e-4)
    assert list(prepared.train.column_names) == ["query", "passages", "teacher", "label"]
    alone = prepare(base, articles, tmp_path / "out", "none")
    assert "teacher" not in alone.train.column_names


def test_figures_of_the_cosine_count_what_is_not_among_the_nearest(
    base: Path, articles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(list_figures, "CANDIDATES", 5)
    prepared = prepare(base, articles, tmp_path / "out", "none", "training.test_share=0.6")
    training = recipe_of(base, "none", ["training.test_share=0.6"]).training
    model = SentenceTransformer(str(base), device="cpu")
    passages = list(answers().values())
    vectors = model.encode(passages, prompt_name="passage", normalize_embeddings=True)
    ranks = []
    for question, answer in answers().items():
        if part_of(question, training) == "test":
            query = model.encode(question, prompt_name="query", normalize_embeddings=True)
            ranks.append(1 + sum(vectors @ query > vectors[passages.index(answer)] @ query))
    assert max(ranks) > 5
    gains = [1 / np.log2(1 + rank) if rank <= 5 else 0.0 for rank in ranks]
    figures = prepared.figures()
    # So small a model has vectors that differ in their last bits only; two may change places.
    assert figures["ndcg@10 of the cosine"] == pytest.approx(np.mean(gains), abs=0.01)
    assert np.mean(gains) < 0.9 * np.mean([gain for gain in gains if gain])


def test_it_has_the_layers_that_were_asked_for_and_frozen_words(
    base: Path, articles: Path, tmp_path: Path
) -> None:
    prepared = prepare(base, articles, tmp_path / "out", "none")
    frozen = [name for name, p in prepared.model.named_parameters() if not p.requires_grad]
    assert len(frozen) == 1
    assert frozen[0].endswith("word_embeddings.weight")
    with pytest.raises(InvalidInputError, match="not among the base's 1 layers"):
        prepare(base, articles, tmp_path / "out", "none", "options.layers=[0,3]")
    for wrong in ("options.layers=some", "options.negatives=0", "options.unknown=1"):
        with pytest.raises(InvalidInputError, match=wrong.partition("=")[0]):
            prepare(base, articles, tmp_path / "out", "none", wrong)


def test_it_learns_and_is_served(base: Path, articles: Path, teacher: Path, tmp_path: Path) -> None:
    outcome = train(base, articles, tmp_path / "out", teacher, "training.epochs=12")
    assert set(outcome.after) == {
        f"{measure}{order}"
        for measure in ("ndcg@10", "accuracy@1")
        for order in ("", " fused 0.3", " of the cosine")
    }
    assert outcome.after["ndcg@10 of the cosine"] == outcome.before["ndcg@10 of the cosine"]
    prepared = prepare(base, articles, tmp_path / "out", teacher)
    batch = [prepared.train[name] for name in ("query", "passages", "teacher")]
    labels = [torch.tensor(row) for row in prepared.train["label"]]
    trained = CrossEncoder(str(outcome.out), device="cpu")
    with torch.inference_mode():
        before, after = (
            float(RankedListLoss(model, teacher=1.0, pos_weight=3.0)(batch, labels))
            for model in (prepared.model.eval(), trained.eval())
        )
    assert after < before
    assert kind_named(str(outcome.out), "reranker") == "cross-encoder"
    model = prepare_model(str(outcome.out), "cross-encoder", cache_dir=tmp_path, offline=True)
    reranker = CrossEncoderReranker(
        model.folder,
        model=model.name,
        weights_sha256=model.weights_sha256,
        max_length=64,
        batch_tokens=512,
        device="cpu",
    )
    pairs = list(answers().items())[:4]
    served = [score.logit for score in reranker.score_pairs(pairs)]
    own = trained.predict(pairs, activation_fn=torch.nn.Identity())
    assert served == pytest.approx(own.tolist(), abs=1e-4)


def test_a_training_that_stops_half_way_goes_on_to_the_same_weights(
    base: Path, articles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train(base, articles, tmp_path / "whole", "none", "training.epochs=3")
    killed = tmp_path / "killed"
    with monkeypatch.context() as patched:
        patched.setattr("service.training.arguments.Watch.on_save", _killed)
        with pytest.raises(KeyboardInterrupt):
            train(base, articles, killed, "none", "training.epochs=3")
    with monkeypatch.context() as patched:
        patched.setattr("service.training.trainer.plot_losses", _killed)
        with pytest.raises(KeyboardInterrupt):
            train(base, articles, killed, "none", "training.epochs=3")
    assert not killed.exists()
    resumed = train(base, articles, killed, "none", "training.epochs=3")
    first, second = (load_file(o.out / "model.safetensors") for o in (whole, resumed))
    for name, value in first.items():
        assert np.array_equal(value, second[name]), name


def _killed(*_args: object, **_kwargs: object) -> None:
    raise KeyboardInterrupt
