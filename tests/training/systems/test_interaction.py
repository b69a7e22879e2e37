"""The interaction recipe: what it draws, lists and learns, and that a kill costs it nothing."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from service.encoder.transformer import Transformer
from service.models.sources import kind_named
from service.models.sources import prepare as prepare_model
from service.reranker.interaction import InteractionHead, piece_information
from service.reranker.interaction_reranker import InteractionReranker
from service.settings import Settings
from service.training.losses.listwise import Collator, ListwiseInteraction, store_states
from service.training.recipe import load_recipe
from service.training.system import Job, Prepared
from service.training.systems import interaction_head
from service.training.trainer import Outcome, run
from tests.fixtures.multilingual import SENTENCES
from tests.fixtures.small_models import write_small_encoder
from tests.fixtures.training_labels import write_articles

SMALL = (
    "options.layers=[0,1]",
    "options.dimension=8",
    "options.negatives=3",
    "options.hardest=6",
    "options.margin=2",
    "training.batch_size=4",
    "training.learning_rate=0.01",
    "training.evaluate_every=2",
    "training.validation_share=0.2",
    "training.test_share=0.2",
)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_encoder(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def articles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_articles(tmp_path_factory.mktemp("labels") / "articles")


def prepare(base: Path, labels: Path, out: Path, *changes: str) -> Prepared:
    recipe = load_recipe("interaction", [f"base={base}", *SMALL, *changes])
    return interaction_head.prepare(Job(recipe, (labels,), base, out))


def train(base: Path, labels: Path, out: Path, *changes: str) -> Outcome:
    settings = Settings(device="cpu", cache_dir=out.parent / "cache", hub_offline=True)
    recipe = load_recipe("interaction", [f"base={base}", *SMALL, *changes])
    return run(recipe, [labels], out, settings)


def test_lists_have_the_positive_first_and_no_other_right_passage(
    base: Path, articles: Path, tmp_path: Path
) -> None:
    prepared = prepare(base, articles, tmp_path / "out")
    rows = [*prepared.train, *prepared.validation]
    assert len(rows) > 8
    for row in rows:
        assert len(set(row["passages"])) == 4
    again = prepare(base, articles, tmp_path / "other")
    assert [*again.train] == [*prepared.train]


def test_a_passage_nearer_than_the_positive_is_not_listed(
    base: Path, articles: Path, tmp_path: Path
) -> None:
    prepared = prepare(base, articles, tmp_path / "out", "options.margin=0")
    assert prepared.collate is not None
    rows = [*prepared.train, *prepared.validation]
    for row in rows:
        cosines = prepared.collate([row])["cosines"][0]
        assert cosines[0] > cosines[1:].max()


def test_states_on_the_disk_are_the_encoders_own(base: Path, tmp_path: Path) -> None:
    encoder = Transformer.load(base, batch_tokens=512, device="cpu")
    texts = SENTENCES["vietnamese"] + SENTENCES["greek"]
    store = store_states(tmp_path / "states", texts, encoder, window=16, layers=(0, 1))
    for index, seen in enumerate(encoder.states(texts, 16, (0, 1))):
        states, ids = store.text(index)
        assert ids.tolist() == seen.ids.tolist()
        assert np.allclose(states.numpy(), seen.states, atol=1e-3)
        assert np.allclose(store.pooled[index], seen.pooled, atol=1e-6)


def test_it_learns_and_is_served(base: Path, articles: Path, tmp_path: Path) -> None:
    outcome = train(base, articles, tmp_path / "out", "training.epochs=4")
    prepared = prepare(base, articles, tmp_path / "out", "training.epochs=4")
    assert prepared.collate is not None
    batch = prepared.collate([*prepared.train])
    before = prepared.model(**batch)["loss"].item()
    prepared.model.head = InteractionHead.load(outcome.out)
    assert prepared.model(**batch)["loss"].item() < before
    assert kind_named(str(outcome.out), "reranker") == "interaction"
    model = prepare_model(str(outcome.out), "interaction", cache_dir=tmp_path, offline=True)
    reranker = InteractionReranker(
        model.folder,
        base,
        Transformer.load(base, batch_tokens=512, device="cpu"),
        model=model.name,
        weights_sha256=model.weights_sha256,
        cache_bytes=1_000_000,
    )
    texts = SENTENCES["vietnamese"]
    served = [score.logit for score in reranker.score_pairs([(texts[1], text) for text in texts])]
    trained = _as_in_training(base, InteractionHead.load(outcome.out), texts[1], texts, tmp_path)
    # Served vectors are kept in four bits a number; over 8 dimensions the rounding averages little.
    assert served == pytest.approx(trained, abs=0.5)
    assert max(served) - min(served) > 2
    assert np.argmax(served) == np.argmax(trained)


def test_a_training_that_stops_half_way_goes_on_to_the_same_weights(
    base: Path, articles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train(base, articles, tmp_path / "whole", "training.epochs=4")
    killed = tmp_path / "killed"
    with monkeypatch.context() as patched:
        patched.setattr("service.training.trainer.plot_losses", _killed)
        with pytest.raises(KeyboardInterrupt):
            train(base, articles, killed, "training.epochs=4")
    assert not killed.exists()
    resumed = train(base, articles, killed, "training.epochs=4")
    first, second = (load_file(o.out / "model.safetensors") for o in (whole, resumed))
    for name, value in first.items():
        assert np.array_equal(value, second[name]), name


def _as_in_training(
    base: Path, head: InteractionHead, query: str, passages: list[str], work: Path
) -> list[float]:
    encoder = Transformer.load(base, batch_tokens=512, device="cpu")
    asked, listed = (
        store_states(work / name, texts, encoder, window=256, layers=(0, 1))
        for name, texts in (
            ("asked", [f"query: {query}"]),
            ("listed", [f"passage: {text}" for text in passages]),
        )
    )
    prefix_tokens = encoder.prefix_tokens("query: ")
    collate = Collator(asked, listed, piece_information(base), prefix_tokens)
    batch = collate([{"query": 0, "passages": list(range(len(passages)))}])
    with torch.inference_mode():
        scores: list[float] = ListwiseInteraction(head)(**batch)["scores"][0].tolist()
    return scores


def _killed(*_args: object, **_kwargs: object) -> None:
    raise KeyboardInterrupt
