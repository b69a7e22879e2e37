import numpy as np
import pytest

from service.datasets import LevelledQuery
from service.evaluation.measures import (
    candidates,
    level_figures,
    rank_levels,
)

FIRST = LevelledQuery("q1", "one", ("c1",), ("r1", "r2"), ("i1",))
SECOND = LevelledQuery("q2", "two", ("c2", "c3"), ("r1",), ("i1", "i2"))


def vectors(**cosines: float) -> dict[str, np.ndarray]:
    return {name: np.array([cosine, 0.0], np.float32) for name, cosine in cosines.items()}


def test_figures_of_ranks_reckoned_by_hand() -> None:
    run = {"q1": ["r1", "i1", "c1", "r2"], "q2": ["c3", "r1", "c2", "i1", "i2"]}
    assert level_figures([FIRST, SECOND], run) == pytest.approx(
        {"mrr": (1 / 3 + 1) / 2, "accuracy@1": 0.5, "hit@1": 0.5, "hit@3": 1.0, "hit@5": 1.0}
    )


def test_only_a_querys_own_candidates_are_ranked_and_ties_go_by_id() -> None:
    passages = vectors(c1=0.5, c2=0.9, r1=0.5, r2=0.1, i1=0.7)
    run = rank_levels([FIRST], np.array([[1.0, 0.0]], np.float32), passages)
    assert run == {"q1": ["i1", "c1", "r1", "r2"]}
    assert candidates(FIRST) == ["c1", "i1", "r1", "r2"]


def test_a_query_that_the_run_lacks_counts_nothing() -> None:
    assert level_figures([FIRST], {})["mrr"] == 0.0


def test_no_query_gives_no_figure() -> None:
    assert level_figures([], {}) == {}
