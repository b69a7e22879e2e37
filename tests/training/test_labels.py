import pytest
from pydantic import BaseModel, ConfigDict

from service.errors import InvalidInputError
from service.training.label_rows import most, part_of, read_options, split
from service.training.recipe import Recipe, Training

TRAINING = Training(validation_share=0.2, test_share=0.3, seed=3)
KEYS = [f"query {number}" for number in range(400)]


class Options(BaseModel):
    model_config = ConfigDict(extra="forbid")
    margin: float = 0.5


def test_all_rows_of_a_query_fall_to_one_part_in_whatever_order() -> None:
    rows = [(key, (key, copy)) for key in KEYS for copy in range(2)]
    parts = split(rows, TRAINING)
    turned = split(rows[::-1], TRAINING)
    homes = {name: {key for key, _ in found} for name, found in parts.items()}
    assert sum(map(len, homes.values())) == len(KEYS)
    assert homes == {name: {key for key, _ in found} for name, found in turned.items()}


def test_parts_are_of_about_the_stated_size() -> None:
    parts = split([(key, key) for key in KEYS], TRAINING)
    assert len(parts["test"]) == pytest.approx(120, abs=30)
    assert len(parts["validation"]) == pytest.approx(80, abs=30)


def test_another_seed_splits_otherwise() -> None:
    other = Training(validation_share=0.2, test_share=0.3, seed=4)
    assert [part_of(key, TRAINING) for key in KEYS] != [part_of(key, other) for key in KEYS]


def test_shares_that_leave_nothing_or_an_empty_part_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="leave nothing"):
        split([("a", 1)], Training(validation_share=0.5, test_share=0.5))
    with pytest.raises(InvalidInputError, match="too few labels"):
        split([("a", 1)], TRAINING)


def test_most_takes_so_many_in_their_order_and_the_same_each_time() -> None:
    chosen = most(KEYS, 10, str, seed=1)
    assert len(chosen) == 10
    assert chosen == sorted(chosen, key=KEYS.index)
    assert set(chosen) == set(most(KEYS[::-1], 10, str, seed=1))
    assert most(KEYS, 0, str, seed=1) == KEYS


def test_an_unknown_option_is_named() -> None:
    recipe = Recipe(name="r", system="s", base="b", options={"margim": 1})
    with pytest.raises(InvalidInputError, match=r"recipe r: options\.margim"):
        read_options(recipe, Options)
