"""Percentiles, ratios, quality and exponents, from answers that are known."""

import pytest

from benchmarks.growth.curves import Curve, exponent
from benchmarks.markdown import filled, names_in, table
from benchmarks.speed import figures
from benchmarks.speed.bars import BARS, held
from benchmarks.speed.measure import Load, Timed
from benchmarks.speed.systems import Answered


def timed(system: str, number: int, total: float, **other: float | None) -> Timed:
    return Timed(system, number, f"q{number}", Answered(("a", "b"), total, **other))


def test_a_ratio_is_of_turns_in_the_same_round() -> None:
    # The machine is ten times slower in the second and third round: of all answers the medians'
    # ratio would be 4000 / 200 = 20.
    rounds = [(400, (100, 100, 100)), (4000, (1000,)), (4400, (1000, 1100, 1200))]
    answers = []
    for number, (slow, fast) in enumerate(rounds):
        answers.append(timed("slow", number, slow))
        answers += [timed("fast", number, milliseconds) for milliseconds in fast]
    assert figures.ratio(answers, "slow", "fast", figures.total_ms) == 4.0
    assert figures.ratio(answers, "slow", "none", figures.total_ms) is None


def test_what_http_adds_is_what_the_server_does_not_count() -> None:
    answers = [timed("s", n, 100 + n, inside_ms=98.0) for n in range(5)]
    found = figures.spread(answers, "s", figures.outside_ms)
    assert found == {"p50": 4.0, "p95": pytest.approx(5.8), "p99": pytest.approx(5.96), "of": 5}
    assert figures.spread([timed("s", 0, 1.0)], "s", figures.outside_ms) is None


def test_throughput_is_the_median_over_repeats() -> None:
    loads = [
        Load("s", 4, seconds, (1000.0, 1000.0, 3000.0, 1000.0), ()) for seconds in (2.0, 4.0, 1.0)
    ]
    found = figures.throughput(loads)["s"][4]
    assert found["per_second"] == 2.0
    assert found["of"] == 12
    assert found["p99_over_p50"] == 3.0


def test_quality_is_compared_on_the_queries_that_both_answered() -> None:
    qrels = {"q0": {"a": 1}, "q1": {"b": 1}, "q2": {"a": 1}}
    stock = [timed("stock", n, 1.0) for n in (0, 1)]
    ours = [timed("ours", n, 1.0) for n in (1, 2)]
    found = figures.quality(qrels, {"stock": stock, "ours": ours}, "stock")
    assert found["stock"]["ndcg@10"] == pytest.approx((1 + 0.6309) / 2, abs=1e-4)
    assert found["ours"] == {
        "ndcg@10": pytest.approx(0.6309, abs=1e-4),
        "queries": 1,
        "difference": 0.0,
        "complete": 1.0,
    }


def test_a_bar_is_held_missed_or_not_measured() -> None:
    rows = held({"ratios": {"rerank_exact": 2.0, "rerank_fast": 3.9}})
    by_name = {row["what"]: row["held"] for row in rows}
    assert len(rows) == len(BARS)
    assert by_name["rerank, exact, times faster"] is True
    assert by_name["rerank, fast settings, times faster"] is False
    assert by_name["rerank, interaction, times faster"] is None


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
