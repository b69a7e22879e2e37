from pathlib import Path

import pytest

from service.evaluation.comparison import Compared, compared_report, mean_report, measure
from service.evaluation.tables import difference_table, mean_table, ranking_table, shown_measure

QRELS = {"q1": {"a": 1}, "q2": {"b": 1}, "q3": {"c": 1}}


def collection(name: str, baseline: str, ours: str) -> Compared:
    """Three queries; each letter is the only hit of one."""
    runs = {
        label: {q: [(hit, 1.0)] for q, hit in zip(QRELS, hits, strict=True)}
        for label, hits in (("e5", baseline), ("ours", ours))
    }
    return Compared(name, Path("folder") / name, "0" * 64, runs, measure(runs, QRELS), {"more": 1})


FIRST, SECOND = collection("help", "axx", "abx"), collection("faq", "abc", "xbc")


def test_every_ranking_is_compared_with_the_first() -> None:
    report = compared_report(FIRST, seed=0)
    assert (report["queries"], report["data_sha256"], report["more"]) == (3, "0" * 64, 1)
    found = report["rankings"]["ours"]["measures"]
    assert (found["accuracy@1"], found["recall@100"]) == pytest.approx((2 / 3, 2 / 3))
    interval = report["rankings"]["ours"]["intervals"]["accuracy@1"]
    assert interval["low"] < 2 / 3 < interval["high"]
    first = report["comparisons"][0]
    assert (first["baseline"], first["ranking"], first["measure"]) == ("e5", "ours", "ndcg@10")
    assert (first["won"], first["lost"], first["tied"]) == (1, 0, 2)
    assert first["mean"] == pytest.approx(1 / 3)


def test_collections_weigh_alike_in_the_mean() -> None:
    report = mean_report([FIRST, SECOND], seed=0)
    assert report["rankings"]["e5"]["accuracy@1"] == pytest.approx((1 / 3 + 1) / 2)
    assert report["rankings"]["ours"]["accuracy@1"] == pytest.approx(2 / 3)
    difference = report["comparisons"][0]
    assert difference["mean"] == pytest.approx(0.0)
    assert difference["bootstrap_low"] < 0 < difference["bootstrap_high"]


def test_tables_have_a_row_for_each_ranking_and_difference() -> None:
    report, mean = compared_report(FIRST, 0), mean_report([FIRST, SECOND], 0)
    rows = ranking_table({"help": report}).splitlines()
    assert rows[0].startswith("| collection | queries | ranking | nDCG@10 | MRR@10 |")
    assert rows[2].startswith("| help | 3 | e5 | 0.3333 |")
    assert rows[3].startswith("| help | 3 | ours | 0.6667 |")
    assert "| ours | 0.6667 |" in mean_table(mean)
    assert "| ours | e5 | nDCG@10 | +0.3333 |" in difference_table(report["comparisons"])
    assert "| ours | e5 | nDCG@10 | +0.0000 |  |" in difference_table(mean["comparisons"])
    assert [shown_measure(m) for m in ("ndcg@5", "map@100", "hit@20")] == [
        "nDCG@5", "MAP@100", "hit@20",
    ]  # fmt: skip
