"""Mining with an encoder, with BM25, with levels and by draw."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from service.datasets import (
    LabelledPair,
    TrainingRow,
    article_key,
    derive_levels,
    levels_from_grades,
    open_labels,
)
from service.errors import InferenceError, InvalidInputError
from service.training.batch_texts import passage_text
from service.training.mining import (
    Choice,
    Examples,
    Mined,
    from_collection,
    from_rows,
    mine,
    mine_smart,
)
from service.training.mining.choice import MiningReport
from service.training.mining.examples import examples_of, levels_of, read_queries
from service.training.mining.vectors import TEXTS_A_FILE, kept
from service.types import Document, Vectors
from tests.fixtures.articles import articles
from tests.fixtures.doubles import HashEncoder

ENCODER = HashEncoder()
UNBOUNDED = Choice(margin=None)


@pytest.fixture
def examples() -> Examples:
    return from_collection(articles(), article_of=article_key("title"))


def dense(examples: Examples, choice: Choice) -> list[TrainingRow]:
    return mine("dense", examples, choice, vectors(examples)).rows


def vectors(examples: Examples) -> tuple[Vectors, Vectors]:
    return ENCODER.encode_queries(examples.queries), ENCODER.encode_passages(examples.passages)


def test_dense_negatives_are_the_nearest_by_inner_product(examples: Examples) -> None:
    rows = dense(examples, Choice(negatives=9, rank_max=9, margin=None))
    queries = ENCODER.encode_queries(examples.queries)
    cosines = queries @ ENCODER.encode_passages(examples.passages).T
    for row, scores, positives in zip(rows, cosines, examples.positives, strict=True):
        order = [i for i in np.argsort(-scores, kind="stable") if i not in positives]
        found = [examples.passages.index(text) for text in row.negatives]
        # Passages that share no word with the query may differ in the last bit only.
        assert np.allclose(scores[found], scores[order], atol=1e-6)
        assert set(found) == set(order)


def test_the_margin_is_to_each_querys_own_right_passage(examples: Examples) -> None:
    queries = ENCODER.encode_queries(examples.queries)
    cosines = queries @ ENCODER.encode_passages(examples.passages).T
    taken = 0
    for row in dense(examples, Choice(negatives=9, rank_max=9, margin=0.1)):
        scores = cosines[examples.queries.index(row.query)]
        limit = scores[examples.passages.index(row.positives[0])] - 0.1
        for text in row.negatives:
            assert scores[examples.passages.index(text)] <= limit + 1e-6
            taken += 1
    assert taken > 5


def test_vectors_that_are_no_numbers_are_not_searched(examples: Examples) -> None:
    queries, passages = vectors(examples)
    with pytest.raises(InferenceError):
        mine("dense", examples, Choice(), (np.full_like(queries, np.nan), passages))


def test_bm25_finds_words_in_common_and_never_the_right_passage(examples: Examples) -> None:
    rows = {row.query: row for row in mine("bm25", examples, UNBOUNDED).rows}
    derivative = rows["đạo hàm của một tích"]
    assert derivative.positives == ("Đạo hàm Đạo hàm của một tích bằng u'v cộng với uv'.",)
    assert derivative.negatives[0].startswith("Tích phân Tích phân từng phần")
    assert rows["緑茶はどうやって作りますか"].negatives == (
        "緑茶 玉露は五十度ほどの湯でゆっくりいれる。",
    )
    for query, positives in zip(examples.queries, examples.positives, strict=True):
        right = {examples.passages[place] for place in positives}
        assert query not in rows or right.isdisjoint(rows[query].negatives)


def test_bm25_scores_are_lucenes() -> None:
    examples = from_rows("x", [TrainingRow("oil", ("tide",), ("oil oil", "oil chain"))])
    report = mine("bm25", examples, UNBOUNDED).report
    # idf = ln(1 + (3 - 2 + 0.5) / (2 + 0.5)); length 2, mean 5/3
    idf, norm = np.log(1 + 1.5 / 2.5), 1.5 * (0.25 + 0.75 * 2 / (5 / 3))
    expected = sorted(idf * count / (count + norm) for count in (1, 2))
    assert sorted(report.scores) == pytest.approx(expected, rel=1e-5)


def test_passages_without_words_do_no_harm() -> None:
    rows = [TrainingRow("?", ("!!!",), ("...",)), TrainingRow("oil", ("a", "b"), ("oil it",))]
    mined = mine("bm25", from_rows("x", rows), UNBOUNDED)
    assert [row.negatives for row in mined.rows] == [("oil it",)] * 2
    assert mined.report.empty == 1
    assert mine("bm25", from_rows("x", rows[:1]), UNBOUNDED).rows == []


def test_both_judges_what_bm25_found_by_the_cosine(examples: Examples) -> None:
    unbounded = Choice(negatives=4, margin=None)
    by_both = mine("both", examples, unbounded, vectors(examples))
    by_words = {row.query: row for row in mine("bm25", examples, unbounded).rows}
    by_vectors = {row.query: row for row in dense(examples, unbounded)}
    for row in by_both.rows:
        assert row.negatives[0] == by_vectors[row.query].negatives[0]
        if row.query in by_words:
            assert by_words[row.query].negatives[0] in row.negatives[:2]
    assert max(by_both.report.scores) <= 1
    strict = mine("both", examples, Choice(max_score=-1.0), vectors(examples))
    assert strict.rows == []


def test_random_negatives_are_any_but_the_right_ones(examples: Examples) -> None:
    choice = Choice(negatives=3, siblings=False)
    rows = mine("random", examples, choice).rows
    assert rows == mine("random", examples, choice).rows
    assert rows != mine("random", examples, replace(choice, seed=1)).rows
    for row in rows:
        article = examples.articles[examples.passages.index(row.positives[0])]
        for text in row.negatives:
            assert article.isdisjoint(examples.articles[examples.passages.index(text)])


def test_random_draws_are_made_one_query_at_a_time(
    examples: Examples, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[object] = []

    def spy(_examples: Examples, rankings: Sequence[object], *_: object, **__: object) -> Mined:
        seen.extend(rankings)
        return Mined([], MiningReport("x", "random"))

    monkeypatch.setattr("service.training.mining.compose.choose", spy)
    mine("random", examples, Choice())
    (ranking,) = seen
    assert isinstance(ranking, Iterator)


def test_smart_gives_one_sibling_and_one_stranger() -> None:
    levelled = derive_levels(articles(), article_key("title"))
    mined = mine_smart(levelled)
    texts = {id_: passage_text(document) for id_, document in levelled.documents.items()}
    assert len(mined.rows) == 7
    for row, query in zip(mined.rows, levelled.queries, strict=True):
        hard, easy = row.negatives
        assert row.positives == (texts[query.correct[0]],)
        assert hard in {texts[id_] for id_ in query.related}
        assert easy in {texts[id_] for id_ in query.irrelevant}
    assert mine_smart(levelled).rows == mined.rows
    assert any(mine_smart(levelled, seed=seed).rows != mined.rows for seed in range(1, 4))


def test_smart_leaves_out_queries_that_lack_a_level() -> None:
    whole = replace(
        articles(), qrels={"q-hop": {"dao-ham-1": 2, "tide-1": 0}, "q-oil": {"chain-2": 2}}
    )
    mined = mine_smart(levels_from_grades(whole))
    assert mined.rows == []
    assert mined.report.empty == 2


def test_a_text_that_stands_twice_is_one_passage_and_a_query_asked_twice_one_query() -> None:
    whole = articles()
    whole.documents.append(Document("copy", whole.documents[0].text, "Đạo  hàm"))
    whole.queries["again"] = "how to oil a  chain"
    whole.qrels["again"] = {"tide-1": 1}
    examples = from_collection(whole)
    assert (len(examples.passages), examples.copies) == (10, 1)
    assert len(examples.queries) == 8
    oil = examples.positives[examples.queries.index("how to oil a chain")]
    assert [examples.passages[place][:8] for place in oil] == ["Bicycle ", "The moon"]


def test_grades_below_the_least_are_not_right() -> None:
    whole = replace(articles(), qrels={"q-hop": {"dao-ham-1": 2, "dao-ham-2": 1}})
    assert from_collection(whole).positives == ((0, 1),)
    assert from_collection(whole, min_grade=2).positives == ((0,),)
    with pytest.raises(InvalidInputError, match="no query has a right document"):
        from_collection(whole, min_grade=3)


def test_labels_of_every_kind_are_mined_or_refused() -> None:
    rows = [TrainingRow("q", ("right",), ("wrong",))]
    assert examples_of("r", rows).passages == ("right", "wrong")
    levelled = derive_levels(articles(), article_key("title"))
    assert len(examples_of("l", levelled).queries) == 7
    assert levels_of("l", levelled) is levelled
    with pytest.raises(InvalidInputError, match="not for pairs"):
        examples_of("p", [LabelledPair("a", "b", 1)])
    with pytest.raises(InvalidInputError, match="belong to no article"):
        examples_of("r", rows, article="title")
    with pytest.raises(InvalidInputError, match="have no levels"):
        levels_of("r", rows)
    with pytest.raises(InvalidInputError, match="no judgement of grade 2; say what names"):
        levels_of("a", articles())


def test_queries_from_a_file_answer_for_documents_without_one(tmp_path: Path) -> None:
    path = tmp_path / "queries.jsonl"
    path.write_text(
        '{"_id": "dao-ham-3", "query": "khi nào hàm số đồng biến?"}\n'
        '{"_id": "dao-ham-3", "query": "second"}\n'
    )
    query_for = read_queries(path, articles())
    document = next(d for d in articles().documents if d.id == "dao-ham-3")
    assert query_for(passage_text(document)) == "khi nào hàm số đồng biến?"
    assert query_for("something else") is None
    path.write_text('{"_id": "none", "query": "x"}\n')
    with pytest.raises(InvalidInputError, match="line 1: _id: no document has the id 'none'"):
        read_queries(path, articles())
    path.write_text('{"_id": "dao-ham-3", "query": " "}\n')
    with pytest.raises(InvalidInputError, match="line 1: query: is empty"):
        read_queries(path, articles())
    with pytest.raises(InvalidInputError, match="have no document ids"):
        read_queries(path, [TrainingRow("q", ("p",))])


def test_vectors_are_kept_and_an_interrupted_run_goes_on(tmp_path: Path) -> None:
    texts = [f"sentence {number}" for number in range(2 * TEXTS_A_FILE + 10)]
    calls: list[int] = []

    def encode(some: Sequence[str]) -> Vectors:
        if len(calls) == 2:
            calls.append(0)
            raise KeyboardInterrupt
        calls.append(len(some))
        return ENCODER.encode_passages(some)

    keeping = kept(encode, tmp_path, "passage")
    with pytest.raises(KeyboardInterrupt):
        keeping(texts)
    done: list[int] = []
    vectors = kept(encode, tmp_path, "passage", done.append)(texts)
    assert calls == [TEXTS_A_FILE, TEXTS_A_FILE, 0, 10]
    assert done == [TEXTS_A_FILE, 2 * TEXTS_A_FILE, len(texts)]
    assert (vectors == ENCODER.encode_passages(texts)).all()
    keeping(texts)
    assert len(calls) == 4
    kept(encode, tmp_path, "query")(texts[:1])
    keeping(texts[:1])
    assert calls[4:] == [1, 1]  # neither another encoder's nor another list's


def test_a_file_of_vectors_that_lost_its_content_is_made_again(tmp_path: Path) -> None:
    keeping = kept(ENCODER.encode_passages, tmp_path, "passage")
    vectors = keeping(["one", "two"])
    (path,) = tmp_path.rglob("*.npy")
    path.write_bytes(b"")
    assert (keeping(["one", "two"]) == vectors).all()


def test_levels_in_a_file_can_be_mined(tmp_path: Path) -> None:
    path = tmp_path / "levels.jsonl"
    path.write_text('{"query": "q", "correct": ["a"], "related": ["b"], "irrelevant": ["c"]}\n')
    mined = mine_smart(levels_of("levels", open_labels(path)))
    assert mined.rows == [TrainingRow("q", ("a",), ("b", "c"))]
