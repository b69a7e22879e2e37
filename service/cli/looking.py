"""Look at labelled collections as the commands that fit the second stage do, and show progress."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from service.cli.progress import progress
from service.settings import Settings

if TYPE_CHECKING:
    from service.evaluation.candidates import Observed
    from service.types import EncoderIdentity


class Look:
    """Opens each collection, looks at its candidates, and remembers with which models."""

    encoder: "EncoderIdentity"
    reranker_weights_sha256: str | None = None

    def __init__(
        self,
        settings: Settings,
        paths: Sequence[Path],
        queries: int | None,
        reranked: int | None,
        seed: int,
        timed: int = 0,
    ) -> None:
        """`queries` of each collection, `reranked` of these; `timed` of the first are timed."""
        from service.datasets import open_collection
        from service.evaluation.systems import collection_names

        self._names = dict(zip(paths, collection_names(paths), strict=True))
        self._max_chars = settings.max_document_chars
        for path in paths:  # a row that breaks a rule is told before hours of work
            for warning in open_collection(path, max_chars=self._max_chars).warnings:
                typer.echo(warning, err=True)
        self._settings, self._queries, self._reranked = settings, queries, reranked
        self._seed, self._timed = seed, timed
        self.data: dict[str, str] = {}
        self.milliseconds: dict[int, float] = {}

    def __call__(self, path: Path, *, rerank: bool = True) -> "Observed":
        """The collection's searches."""
        from service.datasets import data_sha256, open_collection
        from service.evaluation.candidates import Observer, observe
        from service.evaluation.depth import time_depths
        from service.evaluation.labelled import sample
        from service.evaluation.searching import opened

        opened_again = open_collection(path, max_chars=self._max_chars)
        labelled = replace(opened_again, name=self._names[path])
        self.data[labelled.name] = data_sha256(path)
        chosen = sample(labelled.qrels, self._queries, self._seed)
        to_rerank = set(sample(chosen, self._reranked, self._seed)) if rerank else set()
        with (
            progress("ingest", None) as read,
            opened(self._settings, path, chunked=True, on_progress=read) as (engine, logits),
            progress(labelled.name, len(chosen)) as advance,
        ):
            self.encoder = engine.searcher.encoder.identity
            self.rerank_weight = engine.searcher.second_stage.judge.rerank_weight
            if logits is not None:
                self.reranker_weights_sha256 = logits.weights_sha256
            observer = Observer(engine, self._settings.rerank_depth)
            # Before all else, as a reranker may remember the passages that it has seen.
            if self._timed and logits is not None and not self.milliseconds:
                searches = [observer.read(labelled.queries[q]) for q in chosen[: self._timed]]
                self.milliseconds = time_depths(logits.reranker, searches)
            return observe(observer, labelled, chosen, to_rerank, advance)
