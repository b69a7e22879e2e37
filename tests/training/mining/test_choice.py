"""Which candidates become negatives."""

from collections.abc import Sequence

import numpy as np
import pytest

from service.datasets import TrainingRow
from service.errors import InvalidInputError
from service.training.mining import Choice, Examples, Mined
from service.training.mining.choice import Ranking, choose
from service.training.mining.examples import OwnQueries

PASSAGES = tuple(f"passage {letter}" for letter in "ABCDEFGH")
EXAMPLES = Examples(
    "letters",
    ("which is A?", "which is B?"),
    PASSAGES,
    ((0,), (1,)),
    tuple(frozenset({"vowel" if letter in "AE" else "consonant"}) for letter in "ABCDEFGH"),
)


def ranking(places: Sequence[int], scores: Sequence[float], positive: float) -> Ranking:
    return Ranking(np.array(places, np.int64), np.array(scores), np.array([positive]))


# To the first query D scores above the right A, and C just below it; to the second all is the same.
FIRST = ranking([3, 0, 2, 1, 4, 5, 6], [0.95, 0.9, 0.89, 0.8, 0.7, 0.6, 0.5], 0.9)
SECOND = ranking([1, 0, 2, 3], [0.9, 0.5, 0.5, 0.5], 0.9)


def mine(choice: Choice, *more: Sequence[Ranking]) -> Mined:
    return choose(EXAMPLES, [[FIRST, SECOND], *more], choice, strategy="test")


def letters(row: TrainingRow) -> str:
    return "".join(text[-1] for text in row.negatives)


def test_what_scores_above_the_right_passage_is_no_negative() -> None:
    mined = mine(Choice(negatives=3))
    assert mined.rows[0].query == "which is A?"
    assert mined.rows[0].positives == ("passage A",)
    assert [letters(row) for row in mined.rows] == ["CBE", "ACD"]
    assert mined.report.rejected["above the margin"] == 1


@pytest.mark.parametrize(
    ("choice", "first"),
    [
        (Choice(negatives=3, margin=None), "DCB"),
        (Choice(negatives=3, margin=0.05), "BEF"),
        (Choice(negatives=3, margin=None, relative_margin=0.2), "EFG"),
        (Choice(negatives=3, margin=0.25, relative_margin=0.2), "FG"),
        (Choice(negatives=3, margin=None, max_score=0.75), "EFG"),
        (Choice(negatives=3, margin=None, rank_min=3), "BEF"),
        (Choice(negatives=2, margin=None, rank_max=2), "DC"),
        (Choice(negatives=3, siblings=False), "CBF"),
    ],
)
def test_each_rule_leaves_out_what_it_names(choice: Choice, first: str) -> None:
    assert letters(mine(choice).rows[0]) == first


def test_a_query_is_not_its_own_negatives_query() -> None:
    asked = {"passage C": "which is A?", "passage D": "which is D?"}
    own = OwnQueries(EXAMPLES, asked.get, seed=0)
    assert own.of(2, 0) is None
    assert own.of(2, 1) == "which is A?"
    assert own.of(3, 0) == "which is D?"


def test_every_candidate_is_taken_or_counted_with_its_reason() -> None:
    report = mine(Choice(negatives=1, rank_min=2, siblings=False, max_score=0.65)).report
    assert report.right == 2
    assert report.negatives + sum(report.rejected.values()) == 9  # seven and four, less two right
    assert report.rejected == {
        "before the window": 2,
        "sibling": 3,
        "above max_score": 2,
        "not needed": 1,
    }
    assert (report.queries, report.pairs, report.rows, report.empty) == (2, 2, 1, 1)


def test_incomplete_rows_are_left_out_where_asked() -> None:
    assert [letters(row) for row in mine(Choice(negatives=4)).rows] == ["CBEF", "ACD"]
    mined = mine(Choice(negatives=4, complete=True))
    assert [letters(row) for row in mined.rows] == ["CBEF"]
    assert mined.report.incomplete == 1


def test_a_draw_depends_on_the_seed_alone_and_keeps_to_the_rules() -> None:
    drawn = {letters(mine(Choice(negatives=2, pick="random", seed=s)).rows[0]) for s in range(30)}
    assert len(drawn) > 5
    assert "D" not in "".join(drawn)
    for seed in range(3):
        choice = Choice(negatives=2, pick="random", seed=seed)
        assert mine(choice).rows == mine(choice).rows


def test_sources_take_turns_and_none_gives_a_passage_twice() -> None:
    other = [ranking([6, 2, 7], [0.4, 0.3, 0.2], 0.9), ranking([7], [0.1], 0.9)]
    mined = mine(Choice(negatives=4), other)
    assert [letters(row) for row in mined.rows] == ["CGBE", "AHCD"]


def test_each_right_passage_of_a_query_has_a_row() -> None:
    examples = Examples("two", ("q",), PASSAGES, ((0, 1),), EXAMPLES.articles)
    found = Ranking(np.array([0, 2, 1]), np.array([0.9, 0.8, 0.7]), np.array([0.9, 0.7]))
    mined = choose(examples, [[found]], Choice(negatives=1), strategy="test")
    assert mined.rows == [TrainingRow("q", ("passage A",), ("passage C",))]
    assert mined.report.empty == 1  # C scores above the other one


def test_negatives_come_with_queries_that_they_answer() -> None:
    choice = Choice(negatives=2, negative_queries=True)
    mined = mine(choice)
    assert [letters(row) for row in mined.rows] == ["B", "A"]
    assert mined.rows[0].negative_queries == ("which is B?",)
    assert mined.report.rejected["no query of its own"] == 6
    asked = choose(
        EXAMPLES,
        [[FIRST, SECOND]],
        choice,
        strategy="test",
        query_for=lambda text: None if text.endswith("E") else f"what is {text}?",
    )
    assert letters(asked.rows[0]) == "CB"
    assert asked.rows[0].negative_queries == ("what is passage C?", "which is B?")


def test_what_has_no_score_passes_every_rule_about_scores() -> None:
    nothing = float("nan")
    unscored = ranking([3, 2], [nothing, nothing], nothing)
    choice = Choice(negatives=2, max_score=0.1, relative_margin=0.1)
    mined = choose(EXAMPLES, [[unscored, unscored]], choice, strategy="test")
    assert letters(mined.rows[0]) == "DC"
    assert mined.report.as_json()["score_of_negatives"] is None


@pytest.mark.parametrize(
    ("rules", "field"),
    [
        ({"negatives": 0}, "negatives"),
        ({"rank_min": 0}, "rank_min"),
        ({"rank_min": 9, "rank_max": 8}, "rank_min"),
        ({"negatives": 4, "rank_min": 6, "rank_max": 8}, "rank_max"),
    ],
)
def test_rules_that_cannot_be_kept_are_refused(rules: dict[str, int], field: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        Choice(**rules)  # type: ignore[arg-type]
    assert caught.value.field == field
