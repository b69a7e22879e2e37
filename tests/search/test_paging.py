"""Pages of one search: the same hits whatever is written meanwhile, and no other client's."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from service.confidence.judge import Judge, Thresholds
from service.errors import CursorExpiredError, InvalidInputError
from service.scheduling.gate import Limits
from service.search import paging
from service.search.paging import AGE_S, CURSOR_CHARS, Windows
from service.search.query import Query, Result
from service.search.searcher import Searcher
from service.search.second_stage import SecondStage
from service.store.data_folder import DataFolder
from service.types import Document, FacetsAsked
from service.write.ingestor import Ingestor
from tests.fixtures.doubles import HashEncoder, ScriptedReranker
from tests.fixtures.live import retriever_of

TEXT = "the tide rises and falls twice a day because of the moon number"
Q = Query(TEXT, top_k=4, offset=0, owner="me")


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Library:
    """Twenty documents that can be searched and changed."""

    def __init__(self, path: Path) -> None:
        self.folder = DataFolder.open(path)
        self.folder.store.set_identity(HashEncoder.identity)
        self.write(*(self.document(n) for n in range(20)))
        reranker = ScriptedReranker(lambda passage: float(passage.rsplit(maxsplit=1)[-1]))
        judge = Judge(HashEncoder.identity, reranker.weights_sha256, None, Thresholds())
        stage = SecondStage(reranker, judge, 8)
        self.searcher = Searcher(
            HashEncoder(), retriever_of(self.folder), stage, Limits(2000, 8, 30_000)
        )

    @staticmethod
    def document(n: int, **metadata: Any) -> Document:
        found = {"n": n, "part": "low" if n < 10 else "high", **metadata}
        return Document(f"d{n:02d}", f"{TEXT} {n}", metadata=found)

    def write(self, *documents: Document) -> None:
        Ingestor(self.folder.store, HashEncoder(), overlap=0).ingest(documents)

    def ask(self, query: Query) -> Result:
        return asyncio.run(self.searcher.search(query))

    def pages(
        self, query: Query, meanwhile: Callable[[int], None] = lambda _: None
    ) -> list[Result]:
        pages = [self.ask(query)]
        while cursor := pages[-1].next_cursor:
            meanwhile(len(pages))
            pages.append(self.ask(replace(query, offset=None, cursor=cursor)))
        return pages


@pytest.fixture
def windows(monkeypatch: pytest.MonkeyPatch) -> Windows:
    """Windows of this test alone."""
    own = Windows(clock=Clock())
    monkeypatch.setattr("service.search.searcher.WINDOWS", own)
    return own


@pytest.fixture
def library(tmp_path: Path, windows: Windows) -> Iterator[Library]:
    made = Library(tmp_path)
    yield made
    made.searcher.close()
    made.folder.close()


def ids(*results: Result) -> list[str]:
    return [hit.id for result in results for hit in result.hits]


ALL = [f"d{n:02d}" for n in reversed(range(20))]


def test_pages_are_the_whole_window_in_its_order(library: Library) -> None:
    pages = library.pages(Q)
    assert [len(page.hits) for page in pages] == [4] * 5
    assert ids(*pages) == ALL
    assert [hit.rank for page in pages for hit in page.hits] == list(range(1, 21))
    assert pages[-1].next_cursor is None
    by_offset = [library.ask(replace(Q, offset=at)) for at in (0, 4, 8, 12, 16)]
    for page, same in zip(pages, by_offset, strict=True):
        assert page.hits == same.hits
        assert (page.models, page.revision) == (same.models, same.revision)


def test_a_page_may_have_another_size_and_be_asked_for_again(library: Library) -> None:
    first = library.ask(Q)
    more = replace(Q, offset=None, cursor=first.next_cursor)
    assert ids(library.ask(more)) == ids(library.ask(more)) == ALL[4:8]
    rest = library.ask(replace(more, top_k=100))
    assert ids(rest) == ALL[4:]
    assert rest.next_cursor is None


def test_an_offset_beyond_the_window_gives_no_hit(library: Library, windows: Windows) -> None:
    found = library.ask(replace(Q, offset=20))
    assert (found.hits, found.next_cursor) == ([], None)
    assert len(windows) == 0


def test_a_plain_search_keeps_no_window(library: Library, windows: Windows) -> None:
    plain = library.ask(replace(Q, offset=None))
    assert (ids(plain), plain.next_cursor) == (ALL[:4], None)
    assert len(windows) == 0


def test_documents_that_come_later_are_in_no_page(library: Library) -> None:
    pages = library.pages(Q, lambda page: library.write(library.document(100 + page)))
    assert ids(*pages) == ALL
    assert ids(library.ask(Q))[0] == "d104"


def test_deleted_and_rewritten_documents_are_left_out_and_told(library: Library) -> None:
    def change(page: int) -> None:
        if page == 1:
            library.folder.store.delete(["d14"])
            library.write(replace(library.document(12), text="a new text 99"))

    pages = library.pages(Q, change)
    assert ids(*pages) == [id_ for id_ in ALL if id_ not in ("d14", "d12")]
    assert [len(page.hits) for page in pages] == [4, 2, 4, 4, 4]
    told = "hits left out of this page, as their documents were changed or deleted: 2"
    assert [page.warnings for page in pages] == [[], [told], [], [], []]
    assert [hit.rank for hit in pages[1].hits] == [5, 7]


def test_a_document_that_leaves_the_filter_is_left_out(library: Library) -> None:
    query = replace(Q, filters={"part": "high"})
    first = library.ask(query)
    library.folder.store.patch("d13", {"part": "secret"})
    library.folder.store.patch("d12", {"n": 120})
    second = library.ask(replace(query, offset=None, cursor=first.next_cursor))
    assert ids(first, second) == ["d19", "d18", "d17", "d16", "d15", "d14", "d12"]
    assert second.warnings
    assert second.hits[-1].metadata == {"n": 120, "part": "high"}


def test_a_deleted_hit_gives_way_to_what_was_folded_into_it(library: Library) -> None:
    query = replace(Q, diversity=True, top_k=1)
    library.write(Document("other", "ships pass a lock 1000"), Document("more", "tomatoes 999"))
    pages = library.pages(query, lambda page: library.folder.store.delete(["d19"]))
    assert ids(*pages) == ["other", "more", "d18"]
    assert pages[2].hits[0].folded == 18


@pytest.mark.parametrize(
    "other", [{"owner": "you"}, {"cursor": "A" * CURSOR_CHARS}, {"cursor": "é"}, {"cursor": ""}]
)
def test_a_cursor_is_good_for_its_owner_alone(library: Library, other: dict[str, Any]) -> None:
    more = replace(Q, offset=None, cursor=library.ask(Q).next_cursor)
    with pytest.raises(CursorExpiredError, match="Search again"):
        library.ask(replace(more, **other))


def test_a_cursor_is_good_for_its_collection_alone(
    library: Library, tmp_path_factory: pytest.TempPathFactory
) -> None:
    twin = Library(tmp_path_factory.mktemp("twin"))
    with pytest.raises(CursorExpiredError):
        twin.ask(replace(Q, offset=None, cursor=library.ask(Q).next_cursor))
    twin.searcher.close()
    twin.folder.close()


@pytest.mark.parametrize(
    "other",
    [
        {"query": f"{TEXT} 7"},
        {"filters": {"part": "high"}},
        {"num_candidates": 10},
        {"group_by": "part"},
        {"diversity": True},
        {"rerank": False},
    ],
)
def test_another_request_with_the_cursor_is_refused(library: Library, other: Any) -> None:
    more = replace(Q, offset=None, cursor=library.ask(Q).next_cursor)
    with pytest.raises(InvalidInputError, match="another request") as refused:
        library.ask(replace(more, **other))
    assert refused.value.field == "cursor"


def test_offset_and_explain_do_not_go_with_a_cursor(library: Library) -> None:
    more = replace(Q, offset=None, cursor=library.ask(Q).next_cursor)
    for other in ({"offset": 0}, {"explain": True}):
        with pytest.raises(InvalidInputError) as refused:
            library.ask(replace(more, **other))
        assert refused.value.field == next(iter(other))


def test_highlights_are_made_for_each_page(library: Library) -> None:
    more = replace(Q, offset=None, cursor=library.ask(Q).next_cursor, highlights=1)
    assert all(hit.highlights for hit in library.ask(more).hits)


def test_windows_expire(library: Library, windows: Windows) -> None:
    cursor = library.ask(Q).next_cursor
    windows._clock.now = AGE_S - 1
    library.ask(replace(Q, offset=None, cursor=cursor))
    windows._clock.now = AGE_S
    with pytest.raises(CursorExpiredError):
        library.ask(replace(Q, offset=None, cursor=cursor))
    assert len(windows) == 0


def test_a_client_drops_its_own_oldest_window_only(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = Windows(most_windows=3)
    monkeypatch.setattr("service.search.searcher.WINDOWS", own)
    theirs = library.ask(replace(Q, owner="you")).next_cursor
    mine = [library.ask(Q).next_cursor for _ in range(4)]
    assert len(own) == 4
    library.ask(replace(Q, owner="you", offset=None, cursor=theirs))
    with pytest.raises(CursorExpiredError):
        library.ask(replace(Q, offset=None, cursor=mine[0]))
    for cursor in mine[1:]:
        library.ask(replace(Q, offset=None, cursor=cursor))


def test_windows_are_bounded_by_bytes(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    one = paging._ROW_BYTES * 22  # about what a window of twenty documents takes
    own = Windows(most_bytes=8 * one)
    monkeypatch.setattr("service.search.searcher.WINDOWS", own)
    for _ in range(10):
        library.ask(Q)
    assert len(own) == 2
    for n in range(20):
        library.ask(replace(Q, owner=str(n)))
    assert 6 <= len(own) <= 8


def test_the_values_of_facets_count_too(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    library.write(*(library.document(n, part=f"{n}" * 5000) for n in range(20)))
    own = Windows(most_bytes=1 << 20)
    monkeypatch.setattr("service.search.searcher.WINDOWS", own)
    for _ in range(4):
        library.ask(replace(Q, facets=FacetsAsked(("part",), 20)))
    assert len(own) == 1


def test_a_window_has_no_text(library: Library, windows: Windows) -> None:
    library.ask(Q)
    (kept,) = windows._kept.values()
    assert "tide" not in repr((kept.window.places, kept.window.rest.hits))
