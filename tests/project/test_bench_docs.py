"""The tables of docs/performance.md are those of the results, and no others."""

from pathlib import Path

from benchmarks import docs
from benchmarks.markdown import names_in

PAGE = Path(__file__).parents[2] / "docs" / "performance.md"
TABLES = {
    *("machine", "latency", "load", "cost", "quality", "ratios", "bars", "overhead"),
    *("not-measured", "growth", "hnsw", "ingest", "memory", "picture", "growth-picture"),
}


def test_every_place_is_of_a_known_table() -> None:
    assert set(names_in(PAGE.read_text(encoding="utf-8"))) == TABLES
    assert docs.all_tables().keys() <= TABLES


def test_the_pages_say_what_the_results_say() -> None:
    assert docs.fill(check=True), "run `python -m benchmarks.docs`"
