"""Search a labelled collection with the service's own stages."""

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar

from cachetools import LRUCache
from cachetools import cached as remembered

from service.datasets import data_sha256, open_collection
from service.engine.build import index_digest
from service.engine.engine import Engine, open_engine
from service.engine.ingestion import ingesting
from service.evaluation.candidates import CANDIDATES
from service.evaluation.logits import CachedReranker, cached
from service.evaluation.query_cache import QueryCache, encoded_queries
from service.evaluation.report import Answer, Answers, ScoredHit
from service.scheduling.batcher import OwnerThread
from service.scheduling.gate import Deadline
from service.search.searcher import Searcher
from service.search.second_stage import Ranking, Stored
from service.settings import DECIDING, MAX_TIMEOUT_MS, Settings
from service.store.data_folder import DataFolder
from service.store.schema import DOCUMENTS
from service.types import StoredPassage

log = logging.getLogger(__name__)

T = TypeVar("T")

Progress = Callable[[str, int | None], AbstractContextManager[Callable[[int], None]]]
"""(title, total) -> a bar; yields a function that sets how many are done."""

_SHOWN = 5

_KEPT_CHARS = 50_000_000
"""Characters of cleaned passages that are kept in memory."""

_KEPT_BYTES = 200_000_000
"""Bytes of what the store keeps of passages for the reranker that are kept in memory."""

_CONTENT_VERSION = 2
"""Version of the rule for which documents of a collection are stored: those that have a text."""


@dataclass(frozen=True, slots=True)
class Opened:
    """An engine over one collection; its encoded queries and logits are kept on disk.

    `logits` is the engine's reranker. It is None if there is none, and if it compares stored token
    states: to score those takes no longer than to read logits.
    """

    engine: Engine
    queries: QueryCache
    logits: CachedReranker | None

    def answers(
        self, queries: Mapping[str, str], on_progress: Callable[[int], None] = lambda _n: None
    ) -> Answers:
        """Ask each query, without the rerank and with it. Raises as the models do."""
        answers: Answers = {"retrieval": {}, "reranked": {}}
        searcher, stage = self.engine.searcher, self.engine.searcher.second_stage
        encoded = encoded_queries(searcher, list(queries.values()), self.queries.encode)

        async def ask() -> None:
            asked = zip(queries, encoded, strict=True)
            for number, (id_, (text, query)) in enumerate(asked, start=1):
                found = searcher.retriever.find(query.vectors, CANDIDATES, {}, text=text).found
                deadline = Deadline(MAX_TIMEOUT_MS / 1000)
                answers["retrieval"][id_] = _answer(stage.unranked(found))
                answers["reranked"][id_] = _answer(await stage.rank(text, query, found, deadline))
                on_progress(number)

        asyncio.run(ask())
        return answers


def _answer(ranking: Ranking) -> Answer:
    hits = [
        ScoredHit(row.candidate.passage.document_id, row.score, row.probability)
        for row in ranking.rows
    ]
    return Answer(hits, ranking.report.status)


def describe(settings: Settings, searcher: Searcher) -> dict[str, Any]:
    """The settings that decide a system's answers, and its models with their hashes."""
    stage, reranker = searcher.second_stage, None
    if stage.reranker is not None:
        reranker = {
            "model": stage.reranker.model,
            "weights_sha256": stage.reranker.weights_sha256,
            "variant": stage.reranker.variant,
        }
    models = {
        "encoder": asdict(searcher.encoder.identity),
        "reranker": reranker,
        "calibration": stage.judge.name,
    }
    return {"settings": settings.model_dump(mode="json", include=set(DECIDING)), "models": models}


@contextmanager
def _quiet(_title: str, _total: int | None) -> Iterator[Callable[[int], None]]:
    yield lambda _done: None


@contextmanager
def opened(
    settings: Settings, collection: Path, *, chunked: bool, progress: Progress = _quiet
) -> Iterator[Opened]:
    """Ingest a collection into a folder of its own and open an engine over it.

    The folder is under the cache folder. Its name holds the hashes of the data and of the index
    identity, and the versions of what is stored, so that the next evaluation of the same data with
    the same encoder starts at once.
    """
    digest = data_sha256(collection)[:12] + "-" + index_digest(settings)[:12]
    if settings.encoder_passage_backend != "auto":  # so that two can be compared
        digest += f"-{settings.encoder_passage_backend}"
    cut = "passages" if chunked else "whole"
    versions = f"v{DOCUMENTS.version}.{_CONTENT_VERSION}"
    name = f"{collection.resolve().name}-{cut}-{digest}-{versions}"
    folder = settings.cache_dir / "evaluation" / name
    here = settings.model_copy(update={"data_dir": folder, "max_query_chars": 100_000})
    documents = open_collection(collection, max_chars=settings.max_document_chars).documents
    with (
        progress(f"ingest {collection.name}", None) as advance,
        DataFolder.open(folder) as data,
        ingesting(data, here, chunked=chunked) as ingestor,
    ):
        report = ingestor.ingest(documents, lambda report: advance(report.rows))
        if ids := [row.source for row in report.refused]:
            log.warning("%d texts have nothing to read, such as %s", len(ids), ids[:_SHOWN])
    with ExitStack() as stack:
        engine = stack.enter_context(open_engine(here, pairs=False, jobs=False))
        stage, logits = engine.searcher.second_stage, None
        # Queries have candidates in common, and to clean a text costs more than to rank it.
        texts: LRUCache[int, str] = LRUCache(_KEPT_CHARS, getsizeof=len)
        stage.read = remembered(texts, key=lambda passage: passage.id, lock=Lock())(stage.read)
        stage.stored = _kept(stage.stored)
        stage.thread.close()
        stage.thread = _InPlace("reranker")
        reranker, encoder = stage.reranker, engine.searcher.encoder.identity
        if reranker and not (here.passage_states and reranker.layers(encoder)):
            stage.reranker = logits = stack.enter_context(cached(reranker, here))
        folder = settings.cache_dir / "evaluation" / "queries"
        yield Opened(engine, stack.enter_context(QueryCache(engine.searcher, folder)), logits)


class _InPlace(OwnerThread):
    """Works at once: an evaluation is the only caller, and handing over takes time."""

    async def run(self, _deadline: Deadline, work: Callable[[], T]) -> T:
        return work()


def _kept(stored: Stored) -> Stored:
    """The same, with what it gave kept in memory: queries have candidates in common."""
    known: dict[int, bytes] = {}
    size = 0

    def get(passages: Sequence[StoredPassage]) -> dict[int, bytes]:
        nonlocal size
        if missing := [passage for passage in passages if passage.id not in known]:
            fresh = stored(missing)
            size += sum(map(len, fresh.values()))
            if size > _KEPT_BYTES:
                known.clear()
                size, fresh = 0, dict(stored(passages))
            known.update(fresh)
        return {p.id: known[p.id] for p in passages if p.id in known}

    return get
