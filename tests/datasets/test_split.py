"""Parts of a collection that have nothing in common."""

from dataclasses import replace

import pytest

from service.datasets import Collection, article_key
from service.datasets.split import split_collection
from service.errors import InvalidInputError
from service.types import Document
from tests.fixtures.articles import articles

SHARES = {"train": 0.6, "validation": 0.2, "test": 0.2}


@pytest.fixture(scope="module")
def many() -> Collection:
    """300 articles of three sections, each asked for by one query."""
    ids = [f"a{article:03}-{section}" for article in range(300) for section in range(3)]
    return Collection(
        "many",
        [Document(id_, f"section {id_}") for id_ in ids],
        {f"q-{id_}": f"what is said in {id_}?" for id_ in ids},
        {f"q-{id_}": {id_: 1} for id_ in ids},
    )


def test_each_query_falls_into_one_part_about_as_large_as_asked(many: Collection) -> None:
    parts = split_collection(many, SHARES)
    fallen = [query for part in parts.values() for query in part.queries]
    assert sorted(fallen) == sorted(many.queries)
    for name, part in parts.items():
        assert part.name == f"many-{name}"
        assert part.queries.keys() == part.qrels.keys()
        assert len(part.queries) / 900 == pytest.approx(SHARES[name], abs=0.05)
        assert part.documents == many.documents


def test_no_article_stands_in_two_parts(many: Collection) -> None:
    parts = split_collection(many, SHARES, article_of=article_key(r"id:^(.*)-\d$"))
    found = [{query.split("-")[1] for query in part.queries} for part in parts.values()]
    assert sum(map(len, found)) == len(set().union(*found)) == 300
    alone = split_collection(many, SHARES)
    straddling = [{query.split("-")[1] for query in part.queries} for part in alone.values()]
    assert sum(map(len, straddling)) > 300


def test_neither_the_order_nor_other_queries_move_a_query(many: Collection) -> None:
    parts = split_collection(many, SHARES)
    kept = dict(reversed([(q, d) for n, (q, d) in enumerate(many.qrels.items()) if n % 2]))
    fewer = split_collection(replace(many, qrels=kept), SHARES)
    for name, part in fewer.items():
        assert set(part.queries) <= set(parts[name].queries)
    assert split_collection(many, SHARES, seed=1)["test"].queries != parts["test"].queries


def test_queries_with_a_text_or_a_right_document_in_common_stay_together() -> None:
    whole = articles()
    for number in range(60):
        whole.queries[f"same-{number}"] = "why are there tides?"
        whole.qrels[f"same-{number}"] = {"dao-ham-3": 1}
        whole.queries[f"asked-{number}"] = f"tides, asked {number} times"
        whole.qrels[f"asked-{number}"] = {"tide-1": 1, "ocha-1": 0}
    parts = split_collection(whole, {"train": 0.5, "test": 0.5}, seed=3)
    for prefix in ("same", "asked"):
        assert sum(any(q.startswith(prefix) for q in p.queries) for p in parts.values()) == 1


@pytest.mark.parametrize("shares", [{}, {"train": 0.5}, {"train": 1.0, "test": 0.0}])
def test_shares_that_are_none_are_refused(shares: dict[str, float]) -> None:
    with pytest.raises(InvalidInputError, match="must be above 0 and sum to 1"):
        split_collection(articles(), shares)


def test_a_part_without_a_query_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="no query falls into test"):
        split_collection(articles(), {"train": 0.999999, "test": 0.000001})
