"""The tables of README.md and docs/performance.md are those of the results, and no others."""

from pathlib import Path

import pytest

from benchmarks import docs
from benchmarks.markdown import names_in

ROOT = Path(__file__).parents[2]
TABLES = {
    "docs/performance.md": {
        *("machine", "ratios", "bars", "served", "batches", "cost", "not-measured", "picture"),
        *("growth", "growth-picture", "hnsw", "ingest", "memory"),
    },
    "README.md": {"ratios-in-short"},
}


@pytest.mark.parametrize("page", TABLES)
def test_every_place_is_of_a_measured_table(page: str) -> None:
    assert set(names_in((ROOT / page).read_text(encoding="utf-8"))) == TABLES[page]
    assert TABLES[page] <= docs.all_tables().keys(), "a result or a part of it is missing"


def test_every_table_has_a_place() -> None:
    assert docs.all_tables().keys() <= set().union(*TABLES.values())


@pytest.mark.parametrize("name", ["latest", "growth"])
def test_the_results_are_there(name: str) -> None:
    assert (docs.RESULTS / f"{name}.json").is_file(), "`make bench`, `python -m benchmarks.growth`"


def test_the_pages_say_what_the_results_say() -> None:
    assert docs.fill(check=True), "run `python -m benchmarks.docs`"
