"""The recipe clp-moe on a small model: what trains, what its groups hold, and that it resumes."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from service.datasets import TrainingRow, write_training_rows
from service.encoder.loading import load_sentence_transformer
from service.encoder.moe import MixtureOfExperts, intermediate_layers
from service.errors import InvalidInputError
from service.training.ance import AnceRefresh, Groups
from service.training.label_rows import part_of
from service.training.recipe import Recipe, load_recipe
from service.training.system import Job, Prepared
from service.training.systems.clp_moe import prepare
from service.training.trainer import train
from tests.models.small_bert import write_small_bert

ANSWERS = {
    "What turns the tide?": "The moon pulls the water of the sea towards itself.",
    "How many tides are there in a day?": "Most coasts see two tides a day.",
    "When does a chain have to be replaced?": "A worn chain eats the sprockets.",
    "How is a chain oiled?": "One drop of oil goes on each roller of the chain.",
    "Đạo hàm của một tích là gì?": "Đạo hàm của một tích bằng u'v cộng với uv'.",
    "Tích phân của một tổng là gì?": "Tích phân của một tổng bằng tổng các tích phân.",
    "Khi nào hàm số đồng biến?": "Hàm số đồng biến khi đạo hàm dương.",
    "Bao giờ phương trình bậc hai có hai nghiệm?": "Phương trình có hai nghiệm khi delta dương.",
    "만리장성은 왜 지었는가?": "만리장성은 북쪽의 침입을 막으려고 지었다.",
    "한글은 누가 만들었는가?": "한글은 세종대왕이 만들었다.",
    "Nani aliandika riwaya hii?": "Riwaya hii iliandikwa na mwalimu wa kijiji.",
    "Ziwa kubwa liko wapi?": "Ziwa kubwa liko kati ya nchi tatu.",
}
QUERIES = {answer: query for query, answer in ANSWERS.items()}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Threads that wait for each other cost more than these small matrices."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return write_small_bert(tmp_path / "base", [*ANSWERS, *ANSWERS.values(), "query: passage:"])


@pytest.fixture
def collection(tmp_path: Path) -> Path:
    folder = tmp_path / "questions"
    folder.mkdir()
    lines = {
        "corpus.jsonl": [{"_id": f"d{n}", "text": a} for n, a in enumerate(ANSWERS.values())],
        "queries.jsonl": [{"_id": f"q{n}", "text": q} for n, q in enumerate(ANSWERS)],
    }
    for name, rows in lines.items():
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    judged = "".join(f"q{n}\td{n}\t1\n" for n in range(len(ANSWERS)))
    (folder / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\n" + judged)
    return folder


def recipe(**changes: Any) -> Recipe:
    small = {
        "training.batch_size": 2,
        "training.accumulation": 1,
        "training.learning_rate": 0.01,
        "training.max_length": 32,
        "training.validation_share": 0.2,
        "options.negatives_per_query": 2,
        **{name.replace("__", "."): value for name, value in changes.items()},
    }
    return load_recipe("clp-moe", [f"{name}={json.dumps(v)}" for name, v in small.items()])


def job(base: Path, collection: Path, tmp_path: Path, **changes: Any) -> Job:
    return Job(recipe(**changes), (collection,), base, tmp_path / "out")


def texts(prepared: Prepared) -> list[dict[str, str]]:
    return [prepared.train[place] for place in range(len(prepared.train))]


def test_the_recipe_has_the_values_of_its_source() -> None:
    shipped = load_recipe("clp-moe")
    training = shipped.training
    assert (training.learning_rate, training.epochs, training.accumulation) == (1e-5, 2, 4)
    wanted = {"penalty": 0.1, "temperature": 0.02, "negatives_per_query": 4, "experts": 2}
    assert wanted.items() <= shipped.options.items()


def test_each_negative_stands_with_a_query_that_it_answers(
    base: Path, collection: Path, tmp_path: Path
) -> None:
    rows = texts(prepare(job(base, collection, tmp_path)))
    assert rows
    for row in rows:
        assert list(row) == [
            "query", "positive", "negative_1", "negative_2", "negative_query_1", "negative_query_2",
        ]  # fmt: skip
        query = row["query"].removeprefix("query: ")
        assert row["positive"] == f"passage: {ANSWERS[query]}"
        for number in (1, 2):
            negative = row[f"negative_{number}"].removeprefix("passage: ")
            assert negative != ANSWERS[query]
            assert row[f"negative_query_{number}"] == f"query: {QUERIES[negative]}"


@pytest.mark.parametrize("negatives", ["random", "ance"])
def test_without_the_penalty_there_are_no_queries_of_negatives(
    base: Path, collection: Path, tmp_path: Path, negatives: str
) -> None:
    changes = {"options__negatives": negatives, "options__loss": "infonce"}
    prepared = prepare(job(base, collection, tmp_path, **changes))
    assert list(texts(prepared)[0]) == ["query", "positive", "negative_1", "negative_2"]
    assert bool(prepared.callbacks) is (negatives == "ance")


def test_ance_takes_the_nearest_wrong_passages(
    base: Path, collection: Path, tmp_path: Path
) -> None:
    changes = {"training__test_share": 0, "options__rank_max": 2}
    prepared = prepare(job(base, collection, tmp_path, **changes))
    for row in texts(prepared):
        query = row["query"].removeprefix("query: ")
        wrong = [f"passage: {answer}" for other, answer in ANSWERS.items() if other != query]
        scores = prepared.model.encode(wrong, prompt="") @ prepared.model.encode(row["query"])
        nearest = [wrong[place] for place in (-scores).argsort()[:2]]
        assert [row["negative_1"], row["negative_2"]] == nearest


@pytest.mark.parametrize("train_only", ["intermediate", "all"])
@pytest.mark.parametrize("experts", [0, 2])
def test_what_trains(
    base: Path, collection: Path, tmp_path: Path, train_only: str, experts: int
) -> None:
    changes = {"options__train": train_only, "options__experts": experts}
    model = prepare(job(base, collection, tmp_path, **changes)).model
    trained = {name for name, weight in model.named_parameters() if weight.requires_grad}
    intermediate = {n for n, _ in model.named_parameters() if ".intermediate.dense." in n}
    assert any(".experts." in name for name in intermediate) is (experts > 0)
    if train_only == "intermediate":
        assert trained == intermediate
    else:
        everything = {name for name, _ in model.named_parameters()}
        assert everything - trained == {n for n in everything if "word_emb" in n}


def write_given(path: Path) -> list[TrainingRow]:
    """A row for each query, with the answers of two others for negatives."""
    queries = list(ANSWERS)
    rows = []
    for place, query in enumerate(queries):
        wrong = [queries[(place + step) % len(queries)] for step in (3, 5)]
        answers = tuple(ANSWERS[other] for other in wrong)
        rows.append(TrainingRow(query, (ANSWERS[query],), answers, tuple(wrong)))
    write_training_rows(path, rows)
    return rows


def test_a_file_brings_its_own_negatives(base: Path, tmp_path: Path) -> None:
    rows = write_given(tmp_path / "rows.jsonl")
    given = {row.query: row.negatives for row in rows}
    changes = {"options__loss": "infonce"}
    found = texts(prepare(job(base, tmp_path / "rows.jsonl", tmp_path, **changes)))
    assert found
    for row in found:
        wanted = given[row["query"].removeprefix("query: ")]
        assert (row["negative_1"], row["negative_2"]) == tuple(f"passage: {w}" for w in wanted)


def test_no_query_of_another_part_gets_into_the_groups_to_train(
    base: Path, collection: Path, tmp_path: Path
) -> None:
    changes = {"training__validation_share": 0.4, "training__test_share": 0.1}
    small = job(base, collection, tmp_path, **changes)
    prepared = prepare(small)
    parts = {f"query: {query}": part_of(query, small.recipe.training) for query in ANSWERS}
    assert {parts[row["query"]] for row in texts(prepared)} == {"train"}
    named = [row[f"negative_query_{number}"] for row in texts(prepared) for number in (1, 2)]
    assert {parts[query] for query in named} == {"train"}
    validated = [prepared.validation[place] for place in range(len(prepared.validation))]
    assert {parts[row["query"]] for row in validated} == {"validation"}
    assert "test" not in {parts[row[f"negative_query_{n}"]] for row in validated for n in (1, 2)}


def test_a_files_negatives_whose_queries_are_held_out_are_not_taken(
    base: Path, tmp_path: Path
) -> None:
    rows = write_given(tmp_path / "rows.jsonl")
    small = job(base, tmp_path / "rows.jsonl", tmp_path)
    parts = {query: part_of(query, small.recipe.training) for query in ANSWERS}
    given = {row.query: row.negative_queries for row in rows}
    kept = 0
    found = texts(prepare(small))
    assert len(found) == sum(part == "train" for part in parts.values())
    for row in found:
        named = tuple(row[f"negative_query_{n}"].removeprefix("query: ") for n in (1, 2))
        assert {parts[query] for query in named} == {"train"}
        wanted = given[row["query"].removeprefix("query: ")]
        if {parts[query] for query in wanted} == {"train"}:
            assert named == wanted
            kept += 1
    assert 0 < kept < len(found)


def test_too_few_passages_are_told(base: Path, collection: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="negatives"):
        prepare(job(base, collection, tmp_path, options__negatives_per_query=40))


def test_renewed_groups_are_seen_through_the_dataset_at_once() -> None:
    row = TrainingRow("q", ("p",), ("old",), ("its query",))
    kept = TrainingRow("r", ("s",), ("stays",), ("its query",))
    groups = Groups([row, kept], ("query: ", "passage: "), with_queries=True)
    dataset = groups.dataset()
    groups.renew([replace(row, negatives=("new",), negative_queries=("another",))])
    assert dataset[0] == {
        "query": "query: q",
        "positive": "passage: p",
        "negative_1": "passage: new",
        "negative_query_1": "query: another",
    }
    assert dataset[1]["negative_1"] == "passage: stays"


@pytest.mark.parametrize(("every", "times"), [(0, 2), (2, 4)])
def test_negatives_are_mined_after_each_epoch_or_every_so_many_steps(
    base: Path, collection: Path, tmp_path: Path, every: int, times: int
) -> None:
    changes = {"training__epochs": 3, "training__validation_share": 0, "training__batch_size": 4}
    small = job(base, collection, tmp_path, **changes)
    prepared = prepare(small)
    steps_an_epoch = -(-len(prepared.train) // 4)
    assert steps_an_epoch == 3
    mined: list[int] = []

    def mine() -> list[TrainingRow]:
        mined.append(len(mined))
        return []

    prepared.callbacks = [AnceRefresh(Groups([], ("", ""), with_queries=True), mine, every)]
    train(small, prepared)
    # After the last step there is nothing left to mine for.
    assert len(mined) == times


class _KilledError(Exception):
    pass


def _killed_after(steps: int) -> Any:
    def on_progress(progress: Any) -> None:
        if not isinstance(progress, str) and progress.step > steps:
            raise _KilledError

    return on_progress


def test_a_training_mines_again_and_resumes_to_the_same_weights(
    base: Path, collection: Path, tmp_path: Path
) -> None:
    changes = {
        "training__max_steps": 6,
        "training__evaluate_every": 2,
        "training__learning_rate": 0.1,
        "options__refresh_every": 2,
        "options__rank_max": 2,
    }
    whole = job(base, collection, tmp_path, **changes)
    prepared = prepare(whole)
    first = texts(prepared)
    train(whole, prepared)
    assert texts(prepared) != first

    parts = replace(whole, out=tmp_path / "parts")
    with pytest.raises(_KilledError):
        train(replace(parts, say=_killed_after(4)), prepare(parts))
    train(parts, prepare(parts))
    for model in (load_sentence_transformer(whole.out), load_sentence_transformer(parts.out)):
        assert all(isinstance(layer, MixtureOfExperts) for layer in intermediate_layers(model))
    weights, resumed = (
        load_sentence_transformer(folder).state_dict() for folder in (whole.out, parts.out)
    )
    assert all(torch.equal(weight, resumed[name]) for name, weight in weights.items())
