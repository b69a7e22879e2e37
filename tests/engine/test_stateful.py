"""Random operations on a collection against a plain dictionary.

500 runs, the same ones each time. More of them, at random:

    python -m tests.engine.test_stateful 20000
"""

import asyncio
import errno
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from service.errors import StoreFullError
from service.index.faiss_index import FaissIndex
from service.index.generation import open_or_build
from service.index.live_index import LiveIndex
from service.scheduling.gate import Deadline
from service.search.retriever import COSINE_DECIMALS, Retriever
from service.store.data_folder import DataFolder
from service.store.sqlite_view import SqliteView
from service.text.passage import cut_document, passage_text
from service.types import (
    Document,
    EncodedDocument,
    Filters,
    Metadata,
    Span,
    StagedDocument,
    Vectors,
)
from service.write.document_writes import Documents
from service.write.indexer import Indexer
from service.write.ingestor import Ingestor
from tests.fixtures.doubles import HashEncoder

RUNS, STEPS = 500, 12
PER_DOCUMENT = 2
MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None
"""Where there is one, a folder that no disk has to be waited for."""
FULL_DISK = OSError(errno.ENOSPC, "No space left on device")
UNSEEN = "\u200b\u200b"  # nothing is left of it once it is cleaned

WORDS = st.sampled_from(["alpha", "beta", "gamma", "delta"])
IDS = st.sampled_from(["a", "b", "c", "d", "e", "é", "z\0"])
TEXTS = st.lists(WORDS, min_size=1, max_size=8).map(" ".join)
METADATA: st.SearchStrategy[Metadata] = st.fixed_dictionaries(
    {},
    optional={
        "n": st.sampled_from([1, 2, 2.0, None]),
        "tags": st.lists(st.sampled_from(["x", "y"]), max_size=2),
    },
)
DOCUMENTS = st.one_of(
    st.builds(Document, IDS, TEXTS, st.sampled_from(["", "beta"]), METADATA),
    st.builds(Document, IDS, st.just(UNSEEN), st.just(""), METADATA),
)
SOME = st.lists(DOCUMENTS, min_size=1, max_size=4)


@dataclass(frozen=True)
class Asked:
    """A filter, and what it means."""

    filters: Filters
    holds: Callable[[Metadata], bool]


FILTERS = st.sampled_from(
    [
        Asked({}, lambda m: True),
        Asked({"n": 2}, lambda m: m.get("n") == 2),
        Asked({"n": [1, 7], "tags": "x"}, lambda m: m.get("n") == 1 and "x" in tags(m)),
        Asked({"tags": ["x", "y"]}, lambda m: bool(tags(m))),
        Asked({"not": {"n": {"exists": True}}}, lambda m: m.get("n") is None),
        Asked({"n": 3}, lambda m: False),
    ]
)


def tags(metadata: Metadata) -> list[str]:
    found = metadata.get("tags", [])
    assert isinstance(found, list)
    return found


class NarrowEncoder(HashEncoder):
    """Three words fill its window, so that documents have several passages."""

    query_budget = passage_budget = 3

    def encode_queries(self, texts: tuple[str, ...] | list[str], /) -> Vectors:  # type: ignore[override]
        return np.stack([vector_of(text) for text in texts])


@lru_cache
def vector_of(text: str) -> Vectors:
    vector: Vectors = HashEncoder().encode_queries([text])[0]
    return vector


@dataclass(frozen=True)
class Seen:
    """What a search can find of a document: its passages, and when they were stored."""

    document: Document
    stored: int

    def passages(self) -> list[tuple[int, Span, str]]:
        budget, count = NarrowEncoder.passage_budget, NarrowEncoder().count_tokens
        cut = cut_document(self.document, budget=budget, overlap=0, count_tokens=count)
        title = self.document.title[: cut.title_end]
        texts = [self.document.text[start:end] for start, end in cut.spans]
        inputs = [passage_text(title, text) for text in texts]
        return [(self.stored, span, text) for span, text in zip(cut.spans, inputs, strict=True)]


class Oracle:
    """Dictionaries: what was written last, what searches see, what waits and why not."""

    def __init__(self) -> None:
        self.written: dict[str, Document] = {}
        self.seen: dict[str, Seen] = {}
        self.waiting: dict[str, tuple[Document, int]] = {}
        self.problems: set[str] = set()
        self._clock = 0

    def put(self, document: Document) -> None:
        known = self.seen.get(document.id)
        latest = document.id not in self.waiting and document.id not in self.problems
        if document.text == UNSEEN or (latest and known and known.document == document):
            return  # refused, or as it was
        self.forget(document.id)
        self.written[document.id] = document
        self.show(document)

    def stage(self, document: Document, version: int) -> None:
        id_ = document.id
        if self.written.get(id_) == document and id_ not in self.problems:
            return
        self.waiting.pop(id_, None)
        self.problems.discard(id_)
        self.written[id_] = document
        seen = self.seen.get(id_)
        if seen and (seen.document.title, seen.document.text) == (document.title, document.text):
            self.seen[id_] = replace(seen, document=document)
        else:
            self.waiting[id_] = (document, version)

    def publish(self, document: Document, version: int) -> None:
        if self.waiting.get(document.id) != (document, version):
            return
        del self.waiting[document.id]
        if document.text == UNSEEN:
            self.problems.add(document.id)
        else:
            self.show(document)

    def show(self, document: Document) -> None:
        self._clock += 1
        self.seen[document.id] = Seen(document, self._clock)

    def forget(self, id_: str) -> bool:
        self.seen.pop(id_, None)
        self.waiting.pop(id_, None)
        self.problems.discard(id_)
        return self.written.pop(id_, None) is not None

    def search(self, query: Vectors, count: int, asked: Asked) -> list[tuple[str, Span, float]]:
        """Every passage scored, in order of score, then of storing; each document its share."""
        passages = [
            (document_id, span, text, stored)
            for document_id, seen in self.seen.items()
            if asked.holds(seen.document.metadata)
            for stored, span, text in seen.passages()
        ]
        if not passages:
            return []
        vectors = np.stack([vector_of(text) for _, _, text, _ in passages]).astype(np.float64)
        products = (vectors * query[0].astype(np.float64)).sum(axis=1).clip(-1.0, 1.0)
        scores = [round(score, COSINE_DECIMALS) for score in products.tolist()]
        ranked = sorted(
            zip(scores, passages, strict=True), key=lambda row: (-row[0], row[1][3], row[1][1])
        )
        taken: Counter[str] = Counter()
        found = []
        for score, (document_id, span, _, _) in ranked:
            taken[document_id] += 1
            if taken[document_id] <= PER_DOCUMENT:
                found.append((document_id, span, score))
        return found[:count]


class LiveCollectionMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self._parent = tempfile.TemporaryDirectory(dir=MEMORY)
        self.encoder = NarrowEncoder()
        self.oracle = Oracle()
        self.held: list[StagedDocument] = []
        self.open(complete=False)

    def open(self, *, complete: bool) -> None:
        self.folder = folder = DataFolder.open(Path(self._parent.name) / "data")
        identity = self.encoder.identity
        generation = open_or_build(
            folder.store, folder.generations, identity, hnsw_threshold=1000, complete=complete
        )
        with folder.store.view() as view:
            self.index = LiveIndex(generation, view)
        self.ingestor = Ingestor(folder.store, self.encoder, overlap=0)
        self.indexer = Indexer(
            folder.main, self.index, self.ingestor, identity, hnsw_threshold=1000
        )
        self.retriever = Retriever(folder.store, self.index, passages_per_document=PER_DOCUMENT)

    def teardown(self) -> None:
        self.folder.close()
        self._parent.cleanup()

    @rule(documents=SOME)
    def put(self, documents: list[Document]) -> None:
        self.ingestor.ingest(documents)
        for document in documents:
            self.oracle.put(document)

    @rule(documents=SOME)
    def stage(self, documents: list[Document]) -> None:
        for document, written in zip(documents, self.folder.store.stage(documents), strict=True):
            known = self.oracle.written.get(document.id)
            assert written.created == (known is None)
            self.oracle.stage(document, written.version)

    @precondition(lambda self: self.oracle.written)
    @rule(data=st.data())
    def write_the_same_again(self, data: st.DataObject) -> None:
        document = data.draw(st.sampled_from(list(self.oracle.written.values())))
        (written,) = self.folder.store.stage([document])
        assert written.unchanged == (document.id not in self.oracle.problems)
        self.oracle.stage(document, written.version)

    @precondition(lambda self: self.oracle.written)
    @rule(data=st.data(), metadata=METADATA)
    def write_new_metadata(self, data: st.DataObject, metadata: Metadata) -> None:
        document = data.draw(st.sampled_from(list(self.oracle.written.values())))
        self.stage([replace(document, metadata=metadata)])

    @rule()
    def index_what_waits(self) -> None:
        assert self.ingestor.index_staged() == len(self.oracle.waiting)
        for document, version in reversed(list(self.oracle.waiting.values())):
            self.oracle.publish(document, version)  # the newest first

    @rule()
    def begin_to_encode(self) -> None:
        with self.folder.store.view() as view:
            waiting = view.waiting(2)
            self.held = [row for row in waiting if row.document.text != UNSEEN]

    @precondition(lambda self: self.held)
    @rule()
    def publish_what_was_encoded(self) -> None:
        rows = []
        for staged in self.held:
            passages = Seen(staged.document, 0).passages()
            spans, texts = [span for _, span, _ in passages], [text for *_, text in passages]
            encoded = EncodedDocument(staged.document, spans, self.encoder.encode_passages(texts))
            rows.append((staged, encoded))
        self.folder.store.publish(rows)
        for staged in self.held:
            self.oracle.publish(*staged)
        self.held = []

    @rule(ids=st.lists(IDS, max_size=3))
    def delete(self, ids: list[str]) -> None:
        removed = self.folder.store.delete(ids)
        assert removed == sum([self.oracle.forget(id_) for id_ in ids])

    @rule(asked=FILTERS.filter(lambda asked: bool(asked.filters)))
    def delete_matching(self, asked: Asked) -> None:
        documents = Documents(self.folder.store, self.indexer)
        removed = asyncio.run(documents.delete_matching(asked.filters, Deadline(60)))
        documents.close()
        matching = [d.id for d in self.oracle.written.values() if asked.holds(d.metadata)]
        assert removed == sum([self.oracle.forget(id_) for id_ in matching])

    @rule()
    def compact(self) -> None:
        generation = self.indexer.compact()
        assert self.index.latest.generation == generation.name

    @rule()
    def compact_on_a_full_disk(self) -> None:
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(FaissIndex, "save", _full)
            with pytest.raises(StoreFullError):
                self.indexer.compact()

    @rule(complete=st.booleans())
    def reopen(self, complete: bool) -> None:
        self.folder.close()
        self.open(complete=complete)

    @rule(text=TEXTS, count=st.integers(1, 20), asked=FILTERS)
    def search(self, text: str, count: int, asked: Asked) -> None:
        query = self.encoder.encode_queries([text])
        recall = self.retriever.find(query, count, asked.filters)
        found = [
            (hit.passage.document_id, Span(hit.passage.start, hit.passage.end), hit.score)
            for hit in recall.found
        ]
        assert found == self.oracle.search(query, count, asked)
        for hit in recall.found:
            document = self.oracle.seen[hit.passage.document_id].document
            start, end = hit.passage.start, hit.passage.end
            assert hit.passage.text == document.text[start:end]
            assert hit.passage.metadata == document.metadata

    @invariant()
    def a_search_for_all_finds_what_the_oracle_has(self) -> None:
        self.search("alpha gamma", 50, Asked({}, lambda m: True))

    @invariant()
    def the_store_has_what_was_written_last(self) -> None:
        with self.index.view(self.folder.store) as (view, index):
            stored = list(view.documents({}, "", 100))
            assert len(index) == view.counts.passages
            assert view.counts == _counted(view)
            assert index.documents == view.counts.documents == len(self.oracle.seen)
        by_id = sorted(self.oracle.written.items(), key=lambda item: item[0].encode())
        assert [found.document for found in stored] == [document for _, document in by_id]
        for found in stored:
            waits = found.document.id in self.oracle.waiting
            has_problem = found.document.id in self.oracle.problems
            assert found.indexed == (not waits and not has_problem)
            assert (found.problem is not None) == has_problem


def _counted(view: SqliteView) -> tuple[int, int]:
    return view.connection.execute(  # type: ignore[no-any-return]
        "SELECT (SELECT count(*) FROM documents WHERE staged = 0), (SELECT count(*) FROM passages)"
    ).fetchone()


def _full(*_: object) -> None:
    raise FULL_DISK


def run(runs: int, *, derandomize: bool) -> None:
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        LiveCollectionMachine,
        settings=settings(
            max_examples=runs,
            stateful_step_count=STEPS,
            derandomize=derandomize,
            database=None,
            deadline=None,
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_500_random_runs_agree_with_a_dictionary() -> None:
    run(RUNS, derandomize=True)


if __name__ == "__main__":
    run(int(sys.argv[1]), derandomize=False)
