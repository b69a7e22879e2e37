"""Percentiles, ratios, quality and exponents, from answers that are known."""

import pytest

from benchmarks.growth.curves import Curve, exponent
from benchmarks.markdown import filled, names_in, table
from benchmarks.speed import figures
from benchmarks.speed.bars import COMPARISONS, compared, held
from benchmarks.speed.rounds import Turn
from benchmarks.speed.systems import BARE, INFINITY, OURS, STOCK, Answered, Kind


def turn(system: str, kind: Kind, number: int, rate: float, *waited: float) -> Turn:
    answers = tuple(Answered(("a",), total, total - 2) for total in waited)
    return Turn(system, kind, number, rate, answers)


def test_a_ratio_is_of_turns_in_the_same_round() -> None:
    # The machine is ten times slower in the second and third round: of all answers the medians'
    # ratio would be 200 / 4000 = 1 / 20.
    waited = [(400, (100, 100, 100)), (4000, (1000,)), (4400, (1000, 1100, 1200))]
    turns = [turn("slow", "1 client", n, 1, slow) for n, (slow, _) in enumerate(waited)]
    turns += [turn("fast", "1 client", n, 1, *fast) for n, (_, fast) in enumerate(waited)]
    assert figures.ratio(turns, ("fast", "1 client"), ("slow", "1 client")) == 0.25
    assert figures.ratio(turns, ("fast", "1 client"), ("none", "1 client")) is None


def test_the_best_of_several_waits_least_or_does_most() -> None:
    turns = [turn("a", "1 client", 0, 1, 5.0), turn("b", "1 client", 0, 1, 4.0)]
    turns += [turn("a", "queries", 0, 90.0), turn("b", "queries", 0, 80.0)]
    assert figures.best(turns, ("a", "b"), "1 client") == "b"
    assert figures.best(turns, ("a", "b", "c"), "queries") == "a"
    assert figures.best(turns, ("c",), "queries") is None


def test_what_http_adds_is_what_the_server_does_not_count() -> None:
    turns = [turn("s", "1 client", n, 1, 100.0 + n) for n in range(5)]
    assert figures.http_ms(turns, "s") == {"p50": 2.0, "p95": 2.0, "p99": 2.0, "of": 5}
    assert figures.http_ms([turn("s", "queries", 0, 1)], "s") is None


def test_a_system_has_the_median_rate_and_the_percentiles_of_all_answers() -> None:
    turns = [
        turn("s", "16 clients", n, rate, 1000.0, 1000.0, 3000.0, 1000.0)
        for n, rate in enumerate((2.0, 4.0, 1.0))
    ]
    found = figures.of_system([*turns, turn("s", "passages", 0, 20.0)], "s")
    assert found["passages"] == {"per_second": 20.0}
    assert found["16 clients"]["per_second"] == 2.0
    assert found["16 clients"]["of"] == 12
    assert found["16 clients"]["p99_over_p50"] == 3.0


def test_quality_is_of_the_queries_that_were_asked() -> None:
    qrels = {"q0": {"a": 1}, "q1": {"b": 1}, "q2": {"a": 1}}
    found = figures.quality(qrels, {"ours": {"q0": ["a", "b"], "q1": ["a", "b"]}})
    assert found == {
        "ours": {"ndcg@10": pytest.approx((1 + 0.6309) / 2, abs=1e-4), "labelled_queries": 2}
    }


def test_a_bar_is_held_missed_or_not_measured() -> None:
    turns = [turn(OURS, "1 client", 0, 1, 19.0), turn(BARE, "1 client", 0, 1, 10.0)]
    turns += [turn(OURS, "16 clients", 0, 90.0), turn(STOCK, "queries", 0, 100.0)]
    rows = {(row["what"], row["against"]): row for row in compared(turns)}
    assert len(rows) == len(COMPARISONS)
    slow = rows["p50 of a search, 1 client", BARE]
    assert (slow["figure"], slow["bar"], slow["held"]) == (1.9, "at most 1.8", False)
    assert rows["searches a second, 16 clients", STOCK]["held"] is True
    missing = rows["searches a second, 16 clients", INFINITY]
    assert (missing["figure"], missing["held"]) == (None, None)
    limits = held({"http_ms": {"p50": 3.0, "p99": 10.1}})
    assert [row["held"] for row in limits] == [True, False, *[None] * 4]


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0, 2.0])
def test_an_exponent_is_found_again(power: float) -> None:
    sizes = (1_000, 10_000, 100_000, 1_000_000)
    assert exponent(sizes, [0.3 * size**power for size in sizes]) == pytest.approx(power)


def test_a_fixed_cost_shows_in_the_small_sizes_alone() -> None:
    sizes = (1.0, 10.0, 100.0, 1000.0)
    curve = Curve("c", "n", sizes, tuple(5 + size for size in sizes), 1.0).figures()
    assert curve["exponent"] < 0.85
    assert curve["exponent_upper"] == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize(("sizes", "times"), [([1, 1], [1, 2]), ([1, 2], [0, 1])])
def test_an_exponent_of_nothing_is_refused(sizes: list[float], times: list[float]) -> None:
    with pytest.raises(ValueError, match="two different sizes"):
        exponent(sizes, times)


def test_a_page_gets_its_tables_and_keeps_the_rest() -> None:
    page = "before\n<!-- bench:load -->\nold\n<!-- /bench:load -->\nafter\n"
    page += "<!-- bench:other -->\nkept\n<!-- /bench:other -->\n"
    made = table(["", "ms"], [["ours", 12.345], ["theirs", None]])
    after = filled(page, {"load": made})
    assert after == page.replace(
        "old", "|  | ms |\n| --- | ---: |\n| ours | 12.3 |\n| theirs | - |"
    )
    assert filled(after, {"load": made}) == after
    assert names_in(page) == ["load", "other"]
