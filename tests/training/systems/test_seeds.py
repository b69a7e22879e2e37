"""The three systems that train a model as it is: rows, splits and figures of each."""

import json
from pathlib import Path

import pytest

from service.collection import LabelledPair, read_levels
from service.errors import InvalidInputError
from service.training.bases import prefixed
from service.training.recipe import load_recipe
from service.training.system import Job, Prepared
from service.training.systems import pair_contrastive, smart_binary, weighted_bce
from service.training.systems.registry import load_system, system_names
from tests.fixtures.small_models import write_small_encoder
from tests.fixtures.training_labels import (
    ARTICLES,
    SAME,
    write_articles,
    write_pairs,
    write_rows,
)

SHARES = ["training.validation_share=0.25", "training.test_share=0.25", "training.seed=2"]
TITLE_OF = {text: title for title, sections in ARTICLES.items() for _, text in sections}
ANSWER_OF = {query: text for sections in ARTICLES.values() for query, text in sections}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_encoder(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def articles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_articles(tmp_path_factory.mktemp("labels") / "articles")


def prepare(name: str, base: Path, labels: Path, *changes: str) -> Prepared:
    recipe = load_recipe(name, [f"base={base}", *SHARES, *changes])
    return load_system(recipe.system).prepare(Job(recipe, (labels,), base, base / "out"))


def text_of(passage: str) -> str:
    title = next(title for title in ARTICLES if passage.startswith(f"passage: {title} "))
    return passage.removeprefix(f"passage: {title} ")


def test_recipes_have_the_values_of_their_descriptions() -> None:
    smart, bce, pair = (
        load_recipe(name) for name in ("smart-binary", "weighted-bce", "pair-contrastive")
    )
    assert (smart.training.batch_size, smart.training.learning_rate) == (4, 2e-5)
    assert (smart.training.epochs, smart.training.patience) == (20, 5)
    assert (smart.training.max_length, bce.training.max_length) == (256, 512)
    assert (bce.training.batch_size, bce.training.learning_rate) == (16, 2e-5)
    assert (bce.training.warmup, bce.training.scheduler) == (0.1, "linear")
    assert (pair.training.batch_size, pair.training.accumulation) == (16, 2)
    assert (pair.training.learning_rate, pair.training.epochs) == (3e-5, 5)
    assert pair.training.scheduler == "reduce_lr_on_plateau"
    assert pair.training.no_duplicates
    assert pair.options["margin"] == 0.5


def test_smart_binary_rows_are_one_positive_one_hard_one_easy(base: Path, articles: Path) -> None:
    prepared = prepare("smart-binary", base, articles)
    assert prepared.train.column_names == ["anchor", "positive", "hard_negative", "easy_negative"]
    assert len(prepared.train) > 5
    for row in prepared.train:
        right, hard, easy = (
            text_of(row[name]) for name in ("positive", "hard_negative", "easy_negative")
        )
        assert ANSWER_OF[row["anchor"].removeprefix("query: ")] == right
        assert hard != right
        assert TITLE_OF[hard] == TITLE_OF[right] != TITLE_OF[easy]


def test_smart_binary_keeps_an_article_in_one_part(base: Path, articles: Path) -> None:
    prepared = prepare("smart-binary", base, articles)
    train, validation = (
        {TITLE_OF[text_of(passage)] for passage in rows["positive"]}
        for rows in (prepared.train, prepared.validation)
    )
    assert train
    assert validation
    assert not train & validation
    assert set(prepared.figures()) == {"mrr", "accuracy@1", "hit@1", "hit@3", "hit@5"}


def test_smart_binary_reads_rows_and_three_levels_too(base: Path, tmp_path: Path) -> None:
    rows = write_rows(tmp_path / "rows.jsonl")
    assert len(prepare("smart-binary", base, rows).train) > 5
    options = smart_binary.Options()
    levelled = smart_binary.read_levelled(rows, options, seed=0)
    assert {(len(q.related), len(q.irrelevant)) for q in levelled.queries} == {(1, 4)}
    file = tmp_path / "levels.jsonl"
    file.write_text('{"query": "π?", "correct": ["3,14"], "related": ["τ"], "irrelevant": ["e"]}')
    assert smart_binary.read_levelled(file, options, seed=0) == read_levels(file)


def test_smart_binary_refuses_pairs(base: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="no levels"):
        prepare("smart-binary", base, write_pairs(tmp_path / "pairs.jsonl"))


def test_weighted_bce_flattens_rows_and_weighs_by_the_imbalance(base: Path, tmp_path: Path) -> None:
    prepared = prepare("weighted-bce", base, write_rows(tmp_path / "rows.jsonl"))
    labels = prepared.train["label"]
    assert labels.count(0.0) == 5 * labels.count(1.0)
    assert float(prepared.loss.pos_weight) == pytest.approx(5.0)  # type: ignore[arg-type]
    assert not set(prepared.train["query"]) & set(prepared.validation["query"])
    for row in prepared.train:
        assert (ANSWER_OF[row["query"]] == row["passage"]) == (row["label"] == 1.0)


def test_weighted_bce_draws_negatives_of_a_folder(base: Path, articles: Path) -> None:
    prepared = prepare("weighted-bce", base, articles, "options.negatives=4")
    labels = prepared.train["label"]
    assert labels.count(0.0) == 4 * labels.count(1.0)
    stated = prepare("weighted-bce", base, articles, "options.pos_weight=2.5")
    assert float(stated.loss.pos_weight) == 2.5  # type: ignore[arg-type]
    assert {"loss", "accuracy", "f1"} <= set(prepared.figures())


def test_weighted_bce_refuses_labels_that_are_all_alike(base: Path, tmp_path: Path) -> None:
    file = tmp_path / "pairs.jsonl"
    rows = [{"query": f"q{number}", "passage": "p", "label": 0} for number in range(40)]
    file.write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(InvalidInputError, match="one label"):
        prepare("weighted-bce", base, file)


def test_weighted_bce_refuses_a_weight_of_nothing(base: Path, articles: Path) -> None:
    with pytest.raises(InvalidInputError, match="pos_weight"):
        prepare("weighted-bce", base, articles, "options.pos_weight=0")


def test_pairs_that_share_a_question_fall_to_one_part(base: Path, tmp_path: Path) -> None:
    prepared = prepare("pair-contrastive", base, write_pairs(tmp_path / "pairs.jsonl"))
    train, validation = (
        {*rows["sentence1"], *rows["sentence2"]} for rows in (prepared.train, prepared.validation)
    )
    assert train
    assert validation
    assert not train & validation
    assert all(text.startswith("query: ") for text in train)


def test_joined_questions_follow_the_chain() -> None:
    pairs = [LabelledPair("b", "a", 1), LabelledPair("c", "b", 0), LabelledPair("x", "y", 1)]
    groups = pair_contrastive.joined_questions(pairs)
    assert groups == {"a": "a", "b": "a", "c": "a", "x": "x", "y": "x"}


def test_pair_figures_hold_the_learned_threshold_and_the_report(base: Path, tmp_path: Path) -> None:
    figures = prepare("pair-contrastive", base, write_pairs(tmp_path / "pairs.jsonl")).figures()
    assert {"learned_accuracy", "cosine_ap", "max_ap", "manhattan_f1"} <= set(figures)


def test_frozen_embeddings_do_not_train(base: Path, tmp_path: Path) -> None:
    pairs = write_pairs(tmp_path / "pairs.jsonl")
    model = prepare("pair-contrastive", base, pairs, "options.freeze_embeddings=true").model
    frozen = [n for n, tensor in model.named_parameters() if not tensor.requires_grad]
    assert [name.partition("word_embeddings.")[2] for name in frozen] == ["weight"]


def test_a_typed_prefix_is_not_doubled() -> None:
    assert prefixed("query: Cách tính đạo hàm", "query: ") == "query: Cách tính đạo hàm"
    assert prefixed("Cách tính đạo hàm", "query: ") == "query: Cách tính đạo hàm"


def test_every_shipped_recipe_names_a_system_that_is_there() -> None:
    assert {"smart-binary", "weighted-bce", "pair-contrastive"} <= set(system_names())
    with pytest.raises(InvalidInputError, match="there is no system 'os'"):
        load_system("os")


def test_questions_of_the_fixture_are_all_different() -> None:
    texts = [text for pair in SAME for text in pair]
    assert len(set(texts)) == len(texts)
    assert weighted_bce.Options().negatives == 4
