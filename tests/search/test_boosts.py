"""Boosts: which documents match, how far they move, and what stays as it was."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.search.boosts import BOUND, Boost, boosted, strength

DAY = 86_400.0
NOW = 1_700_000_000.0  # 2023-11-14T22:13:20Z


@pytest.mark.parametrize(
    ("values", "metadata", "matches"),
    [
        (("guide",), {"kind": "guide"}, True),
        (("guide",), {"kind": ["news", "guide"]}, True),
        (("guide",), {"kind": "Guide"}, False),
        (("guide",), {"sort": "guide"}, False),
        ((1,), {"kind": 1.0}, True),
        ((1,), {"kind": True}, False),
        ((True,), {"kind": 1}, False),
        (("ế",), {"kind": "ế"}, True),
        (("guide",), {"kind": None}, False),
        (("guide",), {}, False),
        (("2026-01-01",), {"kind": "2026-01-01"}, True),
    ],
)
def test_a_value_matches_as_in_a_filter(
    values: tuple[Any, ...], metadata: dict[str, Any], matches: bool
) -> None:
    assert strength([Boost("kind", 0.5, values)], metadata, NOW) == (0.5 if matches else 0.0)


@pytest.mark.parametrize(
    ("boost", "value", "expected"),
    [
        (Boost("n", 1.0, scale=10, origin=100), 100, 1.0),
        (Boost("n", 1.0, scale=10, origin=100), 110, 0.5),
        (Boost("n", 1.0, scale=10, origin=100), 80.0, 0.25),
        (Boost("n", -0.5, scale=10, origin=100), 110, -0.25),
        (Boost("n", 1.0, scale=10, origin=100), True, 0.0),
        (Boost("n", 1.0, scale=10, origin=100), "100", 0.0),
        (Boost("n", 1.0, scale=30, origin="2026-01-31"), "2026-01-01", 0.5),
        (Boost("n", 1.0, scale=30, origin="2026-01-31"), "2026-03-02T00:00:00Z", 0.5),
        (Boost("n", 1.0, scale=30, origin="2026-01-31"), ["2020-01-01", "2026-01-31"], 1.0),
        (Boost("n", 1.0, scale=30, origin="2026-01-31"), "not a date", 0.0),
        (Boost("n", 1.0, scale=1), "2023-11-13T22:13:20Z", 0.5),
        (Boost("n", 1.0, scale=1), 5, 0.0),
        (Boost("n", 1.0, scale=1e-9, origin=0), 2**62, 0.0),
    ],
)
def test_half_of_the_weight_is_left_one_scale_away(
    boost: Boost, value: Any, expected: float
) -> None:
    assert strength([boost], {"n": value}, NOW) == pytest.approx(expected, abs=1e-6)


def test_several_boosts_add_up_to_one_at_most() -> None:
    metadata = {"kind": "guide", "topic": "sea"}
    both = [Boost("kind", 0.8, ("guide",)), Boost("topic", 0.7, ("sea",))]
    assert strength(both, metadata, NOW) == 1.0
    assert strength([*both, Boost("kind", -0.9, ("guide",))], metadata, NOW) == pytest.approx(0.6)
    assert strength([Boost("kind", -1.0, ("guide",))] * 3, metadata, NOW) == -1.0


@given(
    st.lists(
        st.tuples(st.floats(-30, 30, allow_nan=False), st.floats(-1, 1, allow_nan=False)),
        min_size=1,
        max_size=40,
    )
)
def test_no_hit_overtakes_one_that_is_two_bounds_better(hits: list[tuple[float, float]]) -> None:
    scores = [score for score, _ in hits]
    order = boosted(scores, [boost for _, boost in hits], list(range(len(hits))))
    assert sorted(order) == list(range(len(hits)))
    reach = 2 * BOUND * float(np.std(scores)) + 1e-9
    best_behind = float("-inf")
    for place in reversed(order):
        assert best_behind - scores[place] <= reach
        best_behind = max(best_behind, scores[place])


def test_without_any_match_the_order_stays() -> None:
    assert boosted([3.0, 2.0, 2.0, 1.0], [0.0] * 4, ["d", "b", "c", "a"]) == [0, 1, 2, 3]


def test_a_match_overtakes_its_neighbour_and_not_the_clear_winner() -> None:
    scores = [10.0, 2.0, 1.9, 1.8, 1.7, 1.6]
    assert boosted(scores, [0, 0, 0, 0, 0, 1.0], "abcdef") == [0, 5, 1, 2, 3, 4]
