"""Three-level sets."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from service.datasets import (
    Collection,
    LevelledQuery,
    article_key,
    derive_levels,
    find_problems,
    graded,
    levels_from_grades,
    read_levels,
    write_levels,
)
from service.errors import InvalidInputError
from service.types import Document
from tests.fixtures.articles import articles

BY_ID = r"id:^(.*)-\d+$"


def by_query(collection: Collection, **options: int) -> dict[str, LevelledQuery]:
    levelled = derive_levels(collection, article_key(BY_ID), **options)
    return {query.query_id: query for query in levelled.queries}


def test_siblings_are_related_and_others_come_from_other_articles() -> None:
    queries = by_query(articles(), irrelevant=3)
    assert queries["q-hop"].correct == ("dao-ham-1",)
    assert queries["q-hop"].related == ("dao-ham-2", "dao-ham-3")
    for query in queries.values():
        own = query.correct[0].rsplit("-", 1)[0]
        assert len(query.irrelevant) == 3
        assert not any(id_.startswith(own) for id_ in query.irrelevant)
    assert "q-tide" not in queries  # its article has one section


def test_the_title_tells_articles_too_and_a_document_without_one_stands_for_itself() -> None:
    levelled = derive_levels(articles(), article_key("title"), irrelevant=9)
    queries = {query.query_id: query for query in levelled.queries}
    assert queries["q-oil"].related == ("chain-1",)
    assert "tide-1" in queries["q-oil"].irrelevant
    assert len(queries["q-oil"].irrelevant) == 8  # all there are


def test_the_draw_depends_on_the_seed_and_on_no_order() -> None:
    first = by_query(articles())
    whole = articles()
    turned = replace(
        whole,
        documents=whole.documents[::-1],
        qrels=dict(reversed(whole.qrels.items())),
    )
    assert by_query(turned) == first
    assert by_query(articles(), seed=1) != first


def test_copies_of_a_right_text_are_at_no_level() -> None:
    whole = articles()
    text = whole.documents[0].text
    whole.documents.extend([Document("dao-ham-9", text), Document("other-1", text)])
    query = by_query(whole, irrelevant=20)["q-hop"]
    assert not {"dao-ham-9", "other-1"} & {*query.related, *query.irrelevant}
    assert len(query.irrelevant) == 7


def test_related_ones_can_be_bounded() -> None:
    assert {len(query.related) for query in by_query(articles(), max_related=1).values()} == {1}


def test_grades_are_levels() -> None:
    whole = replace(
        articles(), qrels={"q-hop": {"dao-ham-1": 2, "dao-ham-2": 1, "tide-1": 0, "ocha-1": -1}}
    )
    levelled = levels_from_grades(whole)
    assert levelled.queries == [
        LevelledQuery(
            "q-hop",
            "đạo hàm của hàm hợp tính thế nào?",
            ("dao-ham-1",),
            ("dao-ham-2",),
            ("ocha-1", "tide-1"),
        )
    ]
    assert graded(levelled).qrels["q-hop"] == {
        "dao-ham-1": 2,
        "dao-ham-2": 1,
        "ocha-1": 0,
        "tide-1": 0,
    }
    with pytest.raises(InvalidInputError, match="no judgement of grade 2"):
        levels_from_grades(articles())


def test_levels_come_back_as_texts(tmp_path: Path) -> None:
    levelled = derive_levels(articles(), article_key("title"))
    path = tmp_path / "levels.jsonl"
    assert write_levels(path, levelled) == 7
    read = read_levels(path)
    assert [query.query for query in read.queries] == [query.query for query in levelled.queries]
    before, after = levelled.queries[0], read.queries[0]
    document = levelled.documents[before.related[0]]
    assert read.documents[after.related[0]].text == f"{document.title} {document.text}"


@pytest.mark.parametrize(
    ("row", "message", "field"),
    [
        ({"query": "q"}, "at least one text", "correct"),
        ({"query": "", "correct": ["a"]}, "is empty", "query"),
        ({"query": "q", "correct": "a"}, "list of strings", "correct"),
        (
            {"query": "q", "correct": ["a"], "related": ["b", "a"]},
            r"same text as correct\[0\]",
            "related[1]",
        ),
    ],
)
def test_wrong_levels_are_named(
    tmp_path: Path, row: dict[str, object], message: str, field: str
) -> None:
    path = tmp_path / "levels.jsonl"
    good = json.dumps({"query": "q", "correct": ["a"], "related": ["b"], "irrelevant": ["c"]})
    path.write_text(f"{good}\n{json.dumps(row)}\n")
    with pytest.raises(InvalidInputError, match=rf"levels\.jsonl, line 2: .*{message}") as caught:
        read_levels(path)
    assert caught.value.field == field
    assert [(p.line, p.field) for p in find_problems(path)] == [(2, field)]


@pytest.mark.parametrize("spec", ["", "id:", "id:(", "section", "metadata:"])
def test_an_article_that_cannot_be_told_is_refused(spec: str) -> None:
    with pytest.raises(InvalidInputError, match="article"):
        article_key(spec)


def test_metadata_can_name_the_article() -> None:
    article_of = article_key("metadata:page")
    assert article_of(Document("a", "x", metadata={"page": 7})) == "7"
    assert article_of(Document("a", "x")) is None
    with pytest.raises(InvalidInputError, match="no right document has a sibling"):
        derive_levels(articles(), article_of)
