"""Stage one by vectors, by words and by both, with a model that knows only what words hash to."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.confidence.judge import Judge, Thresholds
from service.errors import ModelError
from service.scheduling.gate import Limits
from service.search.query import Query, Result
from service.search.retriever import Hybrid, Recall, Retriever, reciprocal_ranks, weighted
from service.search.searcher import Searcher
from service.search.second_stage import SecondStage
from service.store.data_folder import DataFolder
from service.types import Document, Filters, Mode
from service.write.ingestor import Ingestor
from tests.fixtures.doubles import HashEncoder, ScriptedReranker
from tests.fixtures.live import index_of

ENCODER = HashEncoder()
QUERY = "why does the chain need oil"
MODES: list[Mode] = ["dense", "sparse", "hybrid"]
TEXTS = {
    "chain": "oil the chain once a month or it will rust",
    "why": "why does the sea need the moon",
    "oil": "oil of olives, oil of lavender and oil of the rose",
    "tide": "two tides come and go each day",
    "tea": "five minutes in hot water are enough for green tea",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DataFolder]:
    path: Path = tmp_path_factory.mktemp("data")
    with DataFolder.open(path) as folder:
        folder.store.set_identity(ENCODER.identity)
        documents = [Document(id_, text, "", {"id": id_}) for id_, text in TEXTS.items()]
        documents.append(Document("long", " ".join(["The chain and its oil."] * 60)))
        report = Ingestor(folder.store, ENCODER, overlap=0).ingest(documents)
        assert report.passages > len(documents) + 1
        yield folder


def retriever(folder: DataFolder, hybrid: Hybrid = Hybrid(), per_document: int = 2) -> Retriever:  # noqa: B008
    index = index_of(folder)
    return Retriever(folder.store, index, passages_per_document=per_document, hybrid=hybrid)


def find(
    folder: DataFolder,
    mode: Mode | None,
    count: int = 100,
    filters: Filters | None = None,
    hybrid: Hybrid = Hybrid(),  # noqa: B008
) -> Recall:
    vectors = ENCODER.encode_queries([QUERY])
    return retriever(folder, hybrid).find(vectors, count, filters or {}, text=QUERY, mode=mode)


def documents(recall: Recall) -> list[str]:
    return [found.passage.document_id for found in recall.found]


def test_dense_is_the_default_and_finds_everything(folder: DataFolder) -> None:
    recall = find(folder, None)
    assert recall.found == find(folder, "dense").found
    assert recall.order == "retrieval_score"
    assert set(documents(recall)) == {*TEXTS, "long"}
    assert {found.sparse_score for found in recall.found} == {None}
    assert [found.order for found in recall.found] == [found.score for found in recall.found]


def test_sparse_finds_what_shares_a_word_with_its_exact_cosine(folder: DataFolder) -> None:
    sparse, dense = find(folder, "sparse"), find(folder, "dense")
    assert set(documents(sparse)) == {"chain", "why", "oil", "long"}
    cosines = {found.passage.id: found.score for found in dense.found}
    assert all(found.score == cosines[found.passage.id] for found in sparse.found)
    scores = [found.order for found in sparse.found]
    assert scores == [found.sparse_score for found in sparse.found]
    assert scores == sorted(scores, reverse=True)
    assert min(scores) > 0


def test_hybrid_has_the_best_of_both_lists(folder: DataFolder) -> None:
    recall = find(folder, "hybrid", hybrid=Hybrid("rrf", 0.5))
    nearest, matching = find(folder, "dense").found, find(folder, "sparse").found
    expected = reciprocal_ranks(
        [found.passage.id for found in nearest], [found.passage.id for found in matching], 0.5
    )
    assert {found.passage.id: found.order for found in recall.found} == expected
    bm25 = {found.passage.id: found.sparse_score for found in matching}
    for found in recall.found:
        assert found.sparse_score == bm25.get(found.passage.id)


def test_a_weight_of_0_or_1_gives_one_order_at_the_top(folder: DataFolder) -> None:
    for fusion in ("rrf", "weighted"):
        first = find(folder, "hybrid", hybrid=Hybrid(fusion, 0.0))
        assert documents(first)[:5] == documents(find(folder, "dense"))[:5]
        last = find(folder, "hybrid", hybrid=Hybrid(fusion, 1.0))
        assert documents(last)[:4] == documents(find(folder, "sparse"))[:4]
        assert last.order == f"hybrid ({fusion})"


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_keeps_ranks_shares_counts_and_filters(folder: DataFolder, mode: Mode) -> None:
    recall = find(folder, mode)
    assert [found.rank for found in recall.found] == list(range(1, len(recall.found) + 1))
    assert documents(recall).count("long") == 2
    for count in (1, 3):
        assert len(find(folder, mode, count).found) == count
    # What the long document may not have goes to others.
    assert len(set(documents(find(folder, mode, 4)))) >= 3
    some: Filters = {"id": ["oil", "tide"]}
    assert set(documents(find(folder, mode, filters=some))) <= {"oil", "tide"}
    assert "oil" in documents(find(folder, mode, filters=some))
    assert find(folder, mode, filters={"id": "nobody"}).found == []


def test_a_query_without_a_known_word_is_hybrid_by_its_vector_alone(folder: DataFolder) -> None:
    vectors = ENCODER.encode_queries(["xyzzy"])
    over = retriever(folder)
    sparse = over.find(vectors, 5, {}, text="xyzzy", mode="sparse")
    hybrid = over.find(vectors, 5, {}, text="xyzzy", mode="hybrid")
    assert sparse.found == []
    assert documents(hybrid) == documents(over.find(vectors, 5, {}))


def test_reciprocal_ranks_are_those_of_the_paper() -> None:
    scores = reciprocal_ranks([7, 8, 9], [9, 5], 0.5)
    assert scores == {
        7: 0.5 / 61,
        8: 0.5 / 62,
        9: 0.5 / 63 + 0.5 / 61,
        5: 0.5 / 62,
    }
    assert reciprocal_ranks([7], [5], 0.2) == {7: 0.8 / 61, 5: 0.2 / 61}


def test_weighted_scores_are_scaled_among_the_candidates() -> None:
    scores = weighted({1: 0.9, 2: 0.8, 3: 0.7}, {2: 4.0, 3: 8.0}, 0.25)
    assert scores == pytest.approx({1: 0.75, 2: 0.375 + 0.125, 3: 0.25})
    assert weighted({1: 0.9, 2: 0.9}, {}, 0.5) == {1: 0.0, 2: 0.0}
    assert weighted({}, {}, 0.5) == {}


def test_fused_ties_are_settled_by_document(tmp_path: Path) -> None:
    with DataFolder.open(tmp_path) as folder:
        folder.store.set_identity(ENCODER.identity)
        twins = [Document(id_, "oil and chain") for id_ in ("b", "c", "a")]
        Ingestor(folder.store, ENCODER, overlap=0).ingest(twins)
        # Equal in both ways: both lists give them by passage id. The weighted scores are equal.
        recall = find(folder, "hybrid", hybrid=Hybrid("weighted", 0.5))
        assert documents(recall) == ["a", "b", "c"]
        assert len({found.order for found in recall.found}) == 1


def searcher(folder: DataFolder, reranker: ScriptedReranker | None) -> Searcher:
    judge = Judge(ENCODER.identity, reranker and reranker.weights_sha256, None, Thresholds())
    stage = SecondStage(reranker, judge, 8)
    return Searcher(ENCODER, retriever(folder), stage, Limits(2000, 8, 30_000))


def ask(searching: Searcher, query: Query) -> Result:
    try:
        return asyncio.run(searching.search(query))
    finally:
        searching.close()


def failing() -> None:
    raise ModelError("broken")


@pytest.mark.parametrize("mode", MODES)
def test_without_a_rerank_the_hits_are_in_the_modes_order(folder: DataFolder, mode: Mode) -> None:
    expected = list(dict.fromkeys(documents(find(folder, mode))))
    for reranker in (None, ScriptedReranker(len), ScriptedReranker(len, failing)):
        rerank = reranker is not None and reranker._before is failing
        result = ask(searcher(folder, reranker), Query(QUERY, mode=mode, rerank=rerank))
        assert [hit.id for hit in result.hits] == expected
        ranks = [hit.retrieval_rank for hit in result.hits]
        assert ranks == sorted(ranks)
        assert result.models["order"] == find(folder, mode).order


@pytest.mark.parametrize("mode", MODES)
def test_a_rerank_reorders_what_the_mode_found(folder: DataFolder, mode: Mode) -> None:
    result = ask(
        searcher(folder, ScriptedReranker(lambda text: -len(text))), Query(QUERY, mode=mode)
    )
    assert {hit.id for hit in result.hits} == set(documents(find(folder, mode)))
    assert result.hits[0].id == ("tide" if mode != "sparse" else "why")
    assert result.models["order"] == "rerank_score"
