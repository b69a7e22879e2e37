"""Several collections are searched as if all documents were in one."""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from service.confidence.judge import Judge, Thresholds
from service.errors import CursorExpiredError, InvalidInputError
from service.scheduling.gate import Limits
from service.search.collection_sources import SeveralCollections
from service.search.query import Hit, Query
from service.search.searcher import Searcher
from service.search.second_stage import SecondStage
from service.store.data_folder import DataFolder
from service.types import Document, StoredPassage
from service.write.ingestor import Ingestor
from tests.fixtures.doubles import HashEncoder, ScriptedReranker
from tests.fixtures.live import retriever_of
from tests.search.test_searcher import artifact

TEXT = "the tide rises and falls twice a day because of the moon number"
DOCUMENTS = [
    Document(f"d{n:02d}", f"{TEXT} {n}" + " and the sea" * (n % 4), metadata={"n": n})
    for n in range(30)
]
Q = Query(f"{TEXT} 7", top_k=100)


class Library:
    """Collections in folders of their own, searched with one reranker."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.folders: list[DataFolder] = []
        self.searchers: list[Searcher] = []
        self.stored: list[str] = []

    def add(self, name: str, documents: Sequence[Document], **judging: Any) -> Searcher:
        folder = DataFolder.open(self.path / name)
        folder.store.set_identity(HashEncoder.identity)
        Ingestor(folder.store, HashEncoder(), overlap=0).ingest(documents)
        reranker = ScriptedReranker(lambda passage: float(len(passage) % 7))

        def stored(passages: Sequence[StoredPassage]) -> dict[int, bytes]:
            self.stored += [f"{name} {passage.document_id}" for passage in passages]
            return {}

        judge = Judge(HashEncoder.identity, "f" * 64, artifact(), Thresholds())
        stage = SecondStage(reranker, replace(judge, **judging), 8, stored=stored)
        searcher = Searcher(HashEncoder(), retriever_of(folder), stage, Limits(2000, 8, 30_000))
        self.folders.append(folder)
        self.searchers.append(searcher)
        return searcher


@pytest.fixture
def library(tmp_path: Path) -> Iterator[Library]:
    made = Library(tmp_path)
    yield made
    for searcher, folder in zip(made.searchers, made.folders, strict=True):
        searcher.close()
        folder.close()


def across(**searchers: Searcher) -> SeveralCollections:
    return SeveralCollections({name: one.source for name, one in searchers.items()})


def facts(hits: Sequence[Hit]) -> list[tuple[object, ...]]:
    return [
        (h.rank, h.id, h.score, h.probability, h.rerank_score, h.retrieval_rank, h.text)
        for h in hits
    ]


@pytest.mark.parametrize(
    "query",
    [
        Q,
        replace(Q, top_k=3),
        replace(Q, rerank=False),
        replace(Q, num_candidates=11),
        replace(Q, filters={"n": {"gte": 10}}),
        replace(Q, min_probability=0.2),
        replace(Q, diversity=True),
    ],
)
def test_the_answer_is_that_of_one_collection_with_all_documents(
    library: Library, query: Query
) -> None:
    whole = library.add("whole", DOCUMENTS)
    even, odd = library.add("even", DOCUMENTS[::2]), library.add("odd", DOCUMENTS[1::2])
    expected = asyncio.run(whole.search(query))
    found = asyncio.run(even.search(query, across(even=even, odd=odd)))
    assert facts(found.hits) == facts(expected.hits)
    assert {hit.collection for hit in expected.hits} == {None}
    for hit in found.hits:
        assert hit.collection == ("odd" if hit.found.passage.metadata["n"] % 2 else "even")
    assert (found.answerable, found.rerank) == (expected.answerable, expected.rerank)
    assert found.documents == 30
    assert found.revision == sum(s.retriever.index.latest.revision for s in (even, odd))


def test_documents_with_one_id_are_two_hits_in_the_order_of_the_collections(
    library: Library,
) -> None:
    b, a = library.add("b", DOCUMENTS), library.add("a", DOCUMENTS)
    found = asyncio.run(b.search(replace(Q, num_candidates=1000), across(b=b, a=a)))
    pairs = [(hit.id, hit.collection) for hit in found.hits]
    assert len(set(pairs)) == 60
    assert pairs[::2] == [(id_, "a") for id_, _ in pairs[1::2]]
    folded = asyncio.run(b.search(replace(Q, diversity=True), across(b=b, a=a)))
    assert (folded.hits[0].id, "b") in folded.hits[0].also


def test_the_reranker_reads_what_each_collection_has_stored(library: Library) -> None:
    one, two = library.add("one", DOCUMENTS[:3]), library.add("two", DOCUMENTS[2:4])
    asyncio.run(one.search(Q, across(one=one, two=two)))
    assert sorted(library.stored) == ["one d00", "one d01", "one d02", "two d02", "two d03"]


def test_highlights_and_explanations_are_of_the_right_passage(library: Library) -> None:
    one, two = library.add("one", DOCUMENTS[:3]), library.add("two", DOCUMENTS[2:4])
    query = replace(Q, highlights=1, explain=True)
    found = asyncio.run(one.search(query, across(one=one, two=two)))
    assert [hit.explanation.final.rank for hit in found.hits] == [1, 2, 3, 4, 5]
    assert all(hit.highlights for hit in found.hits)


def test_pages_read_each_hit_again_where_it_is(library: Library) -> None:
    one, two = library.add("one", DOCUMENTS), library.add("two", DOCUMENTS)
    source = across(one=one, two=two)
    query = replace(Q, top_k=7, offset=0)
    hits, cursor = [], None
    library.folders[1].store.delete(["d00"])
    while cursor or not hits:
        query = replace(query, offset=None if cursor else 0, cursor=cursor)
        page = asyncio.run(one.search(query, source))
        hits, cursor = [*hits, *page.hits], page.next_cursor
    assert len(hits) == 59
    for hit in hits:
        assert hit.text == DOCUMENTS[int(hit.id[1:])].text
    first = asyncio.run(one.search(replace(query, offset=0, cursor=None), source))
    more = replace(query, offset=None, cursor=first.next_cursor)
    for other in (None, across(two=two, one=one), across(one=one, b=two)):
        with pytest.raises(CursorExpiredError):
            asyncio.run(one.search(more, other))


@pytest.mark.parametrize("asked", [{"mode": "sparse"}, {"mode": "hybrid"}])
def test_only_the_dense_mode_goes_with_several(library: Library, asked: dict[str, Any]) -> None:
    one, two = library.add("one", DOCUMENTS[:3]), library.add("two", DOCUMENTS[2:4])
    with pytest.raises(InvalidInputError) as refused:
        asyncio.run(one.search(replace(Q, **asked), across(one=one, two=two)))
    assert refused.value.field == "mode"


@pytest.mark.parametrize(
    ("judging", "said"),
    [
        ({"encoder": replace(HashEncoder.identity, query_prefix="")}, "encoder"),
        ({"reranker_weights_sha256": "e" * 64}, "reranker"),
        ({"reranker_variant": "int8"}, "reranker"),
        ({"thresholds": Thresholds(0.9, 0.1)}, "thresholds"),
        ({"rerank_depth": 7}, "settings"),
        ({"artifact": None}, "calibration"),
    ],
)
def test_collections_with_other_models_are_refused(
    library: Library, judging: dict[str, Any], said: str
) -> None:
    one, two = library.add("one", DOCUMENTS[:3]), library.add("two", DOCUMENTS[2:4], **judging)
    with pytest.raises(InvalidInputError, match=f"'one' and 'two' differ in their .*{said}") as no:
        across(one=one, two=two)
    assert no.value.field == "collections"
