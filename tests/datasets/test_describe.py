"""Labels in numbers, and from one form into another."""

from service.datasets import LabelledPair, TrainingRow, article_key, derive_levels, describe
from service.datasets.training_rows import collection_of, rows_of
from service.types import Document
from tests.fixtures.articles import articles


def test_a_collection_in_numbers() -> None:
    whole = articles()
    whole.documents.append(Document("copy", whole.documents[0].text, "Đạo hàm"))
    whole.queries["unjudged"] = "how to oil a chain"
    whole.qrels["q-hop"] |= {"dao-ham-2": 0, "tide-1": 0}
    found = describe(whole)
    assert (found["documents"], found["duplicate_documents"]) == (11, 1)
    assert (found["queries"], found["queries_judged"], found["duplicate_queries"]) == (9, 8, 1)
    assert found["grades"] == {"0": 2, "1": 8}
    assert found["share_positive"] == 0.8
    assert found["right_documents_a_query"]["max"] == 1
    assert found["characters_of_queries"]["min"] == len("玉露をいれる湯の温度")


def test_levels_rows_and_pairs_in_numbers() -> None:
    levels = describe(derive_levels(articles(), article_key("title")))
    assert (levels["queries"], levels["related_a_query"]["max"]) == (7, 2)
    rows = describe([TrainingRow("a", ("b",), ("c", "b", "d")), TrainingRow("a", ("b",))])
    assert (rows["rows"], rows["distinct_queries"], rows["distinct_passages"]) == (2, 1, 3)
    assert rows["share_positive"] == 0.4
    assert rows["rows_whose_negative_is_a_positive"] == 1
    pairs = describe([LabelledPair("a", "b", 1), LabelledPair("b", "a", 0)])
    assert (pairs["share_positive"], pairs["duplicate_pairs"]) == (0.5, 1)
    assert pairs["pairs_labelled_both_ways"] == 1


def test_rows_of_a_collection_and_back() -> None:
    whole = articles()
    whole.qrels["q-hop"] |= {"dao-ham-2": 0}
    rows = list(rows_of(whole))
    assert len(rows) == 8
    assert rows[0].positives[0].startswith("Đạo hàm Đạo hàm của hàm hợp")
    assert len(rows[0].negatives) == 1
    again = collection_of("again", [*rows, TrainingRow(rows[0].query, rows[0].negatives)])
    assert list(again.queries.values()) == list(whole.queries.values())
    assert list(next(iter(again.qrels.values())).values()) == [1, 1]  # right in a later row
    assert len(again.documents) == 8
