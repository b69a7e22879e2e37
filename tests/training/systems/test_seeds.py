"""The three systems that train a model as it is: rows, splits and figures of each."""

import json
from pathlib import Path

import pytest

from service.datasets import read_levels
from service.datasets.split import joined
from service.errors import InvalidInputError, ModelSourceError
from service.training.batch_texts import prefixed
from service.training.recipe import load_recipe, shipped_recipes
from service.training.system import Job, Prepared, load_system
from service.training.systems import smart_binary, weighted_bce
from tests.fixtures.small_models import write_small_encoder
from tests.fixtures.small_sse import write_small_sse
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
    return load_system(recipe.system)(Job(recipe, (labels,), base, base / "out"))


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
    groups = joined([("b", "a"), ("c", "b"), ("x", "y")])
    assert groups == {"a": "a", "b": "a", "c": "a", "x": "x", "y": "x"}


def test_pair_figures_hold_the_learned_threshold_and_the_report(base: Path, tmp_path: Path) -> None:
    figures = prepare("pair-contrastive", base, write_pairs(tmp_path / "pairs.jsonl")).figures()
    assert {"learned_accuracy", "cosine_ap", "max_ap", "manhattan_f1"} <= set(figures)


def test_frozen_embeddings_do_not_train(base: Path, tmp_path: Path) -> None:
    pairs = write_pairs(tmp_path / "pairs.jsonl")
    model = prepare("pair-contrastive", base, pairs, "options.freeze_embeddings=true").model
    frozen = [n for n, tensor in model.named_parameters() if not tensor.requires_grad]
    assert [name.partition("word_embeddings.")[2] for name in frozen] == ["weight"]


def test_smart_binary_keeps_together_what_others_join(base: Path, tmp_path: Path) -> None:
    def row(query: str, right: str, sibling: str) -> dict[str, object]:
        return {"query": query, "pos": [right], "neg": [sibling, "Strong flour has gluten."]}

    # Each row's sibling is the next row's right passage: nothing but the chain joins them.
    chain = [f"The ferry calls at pier {number}." for number in range(12)]
    rows = [row(f"What is at {n}?", chain[n], chain[n + 1]) for n in range(11)]
    rows += [row(f"Wo ist Beet {n}?", f"Beet {n} ist hier.", f"Zaun {n}.") for n in range(20)]
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in rows))
    prepared = prepare("smart-binary", base, file)
    sizes = {
        sum("What is at" in anchor for anchor in part["anchor"])
        for part in (prepared.train, prepared.validation)
    }
    assert sizes <= {0, 11}


@pytest.mark.parametrize("system", ["smart-binary", "weighted-bce", "pair-contrastive"])
def test_without_a_test_part_there_are_no_figures(
    base: Path, articles: Path, tmp_path: Path, system: str
) -> None:
    pairs = system == "pair-contrastive"
    labels = write_pairs(tmp_path / "pairs.jsonl") if pairs else articles
    shares = ("training.test_share=0", f"training.validation_share={0.25 if pairs else 0}")
    prepared = prepare(system, base, labels, *shares)
    assert prepared.figures() == {}
    assert bool(len(prepared.validation)) is pairs


def test_pairs_need_a_part_to_learn_the_threshold_on(base: Path, tmp_path: Path) -> None:
    pairs = write_pairs(tmp_path / "pairs.jsonl")
    with pytest.raises(InvalidInputError, match="validation_share must be above 0"):
        prepare("pair-contrastive", base, pairs, "training.validation_share=0")


def test_pairs_are_grouped_by_what_the_model_is_given(base: Path, tmp_path: Path) -> None:
    spelled = ["query: Is  it deep?", "Is it\u200b deep?", "Query: Is it deep?"]
    rows = [{"sentence1": a, "sentence2": b, "label": 1} for a, b in SAME]
    rows += [
        {"sentence1": spelled[n % 3], "sentence2": f"Asked {n} times", "label": 0}
        for n in range(30)
    ]
    rows.append({"sentence1": "passage:", "sentence2": "What is left?", "label": 0})
    file = tmp_path / "pairs.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in rows))
    prepared = prepare("pair-contrastive", base, file)
    found = [
        sum(text == "query: Is it deep?" for text in part["sentence1"])
        for part in (prepared.train, prepared.validation)
    ]
    assert sorted(found) in ([0, 0], [0, 30])
    both = [*prepared.train["sentence2"], *prepared.validation["sentence2"]]
    assert "query: What is left?" not in both


def test_a_document_of_which_nothing_is_left_is_passed_over(base: Path, tmp_path: Path) -> None:
    folder = write_articles(tmp_path / "articles")
    with (folder / "corpus.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"_id": "odd", "title": "", "text": "passage:"}\n')
        file.write('{"_id": "unseen", "title": "", "text": "\u200b\u200e"}\n')
    with (folder / "qrels.tsv").open("a", encoding="utf-8") as file:
        file.write("qBread-0\todd\t1\nqFerry-1\tunseen\t1\n")
    article = r"options.article=id:^(\w+)"
    prepared = prepare("smart-binary", base, folder, article)
    passages = {text for row in prepared.train for text in row.values()}
    assert passages.isdisjoint({"passage: ", "passage: passage:"})
    assert "mrr" in prepared.figures()


def test_an_sse_is_a_base_and_what_needs_a_transformer_says_so(tmp_path: Path) -> None:
    sse = write_small_sse(tmp_path / "sse")
    pairs = write_pairs(tmp_path / "pairs.jsonl")
    options = ("options.freeze_embeddings=false",)
    assert prepare("pair-contrastive", sse, pairs, *options).model.get_embedding_dimension() == 64
    with pytest.raises(ModelSourceError, match="no transformer"):
        prepare("pair-contrastive", sse, pairs, "options.freeze_embeddings=true")
    with pytest.raises(ModelSourceError, match="cannot be loaded"):
        prepare("pair-contrastive", tmp_path / "nothing", pairs, *options)


def test_a_typed_prefix_is_not_doubled() -> None:
    assert prefixed("query: Cách tính đạo hàm", "query: ") == "query: Cách tính đạo hàm"
    assert prefixed("Cách tính đạo hàm", "query: ") == "query: Cách tính đạo hàm"


def test_every_shipped_recipe_names_a_system_that_is_there() -> None:
    for name in shipped_recipes():
        assert callable(load_system(load_recipe(name).system))
    with pytest.raises(InvalidInputError, match="there is no system 'os'"):
        load_system("os")


def test_questions_of_the_fixture_are_all_different() -> None:
    texts = [text for pair in SAME for text in pair]
    assert len(set(texts)) == len(texts)
    assert weighted_bce.Options().negatives == 4
