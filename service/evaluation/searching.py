"""Search a labelled collection with the service's own stages."""

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from service.datasets import data_sha256, open_collection
from service.engine.build import index_digest
from service.engine.engine import Engine, open_engine
from service.engine.ingestion import ingesting
from service.evaluation.candidates import CANDIDATES
from service.evaluation.logits import CachedReranker, cached
from service.evaluation.report import Answer, ScoredHit
from service.search.query import Query
from service.search.searcher import Searcher
from service.settings import DECIDING, MAX_TIMEOUT_MS, Settings
from service.store.data_folder import DataFolder
from service.store.schema import DOCUMENTS

log = logging.getLogger(__name__)

Progress = Callable[[str, int | None], AbstractContextManager[Callable[[int], None]]]
"""(title, total) -> a bar; yields a function that sets how many are done."""

_SHOWN = 5

_CONTENT_VERSION = 2
"""Version of the rule for which documents of a collection are stored: those that have a text."""


class Asker:
    """Asks one open engine. Each logit is kept on disk, so that no pair is scored twice."""

    def __init__(
        self, engine: Engine, logits: CachedReranker | None, runner: asyncio.Runner
    ) -> None:
        self.searcher, self._logits, self._runner = engine.searcher, logits, runner

    def __call__(self, text: str, rerank: bool) -> Answer:
        """The answer to one query, with all its candidates. Raises as `Searcher.search` does."""
        before = self._logits.reused if self._logits else 0
        query = Query(
            query=text,
            top_k=CANDIDATES,
            num_candidates=CANDIDATES,
            rerank=rerank,
            timeout_ms=MAX_TIMEOUT_MS,
        )
        result = self._runner.run(self.searcher.search(query))
        hits = [ScoredHit(hit.id, hit.score, hit.probability) for hit in result.hits]
        reused = self._logits is not None and self._logits.reused > before
        total = result.timings_ms["total"]
        return Answer(hits, result.rerank.status, total, reused)


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
) -> Iterator[tuple[Engine, CachedReranker | None]]:
    """Ingest a collection into a folder of its own and yield an engine over it.

    The folder is under the cache folder. Its name holds the hashes of the data and of the index
    identity, and the versions of what is stored, so that the next evaluation of the same data with
    the same encoder starts at once. If the engine has a reranker, it keeps its logits; it is the
    second thing that is yielded.
    """
    digest = data_sha256(collection)[:12] + "-" + index_digest(settings)[:12]
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
        if stage.reranker is not None:
            logits = stack.enter_context(cached(stage.reranker, here))
            stage.reranker = logits
        yield engine, logits
