"""Labelled collections: read and checked before the first is measured, then searched."""

import random
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from service.datasets import data_sha256, open_collection
from service.evaluation.candidates import Observed, Observer, observe
from service.evaluation.depth import time_depths
from service.evaluation.measures import Qrels
from service.evaluation.searching import Progress, opened
from service.evaluation.systems import collection_names
from service.settings import Settings
from service.types import MAX_TEXT_CHARS, EncoderIdentity


@dataclass(frozen=True, slots=True)
class Draw:
    """Which queries are asked: `queries` of each collection (None for all), drawn by `seed`."""

    queries: int | None = None
    seed: int = 0
    chunked: bool = False


@dataclass(frozen=True, slots=True)
class Labelled:
    """A collection without its documents: the queries that are asked, and their grades."""

    name: str
    path: Path
    data_sha256: str
    queries: dict[str, str]
    qrels: Qrels
    warnings: tuple[str, ...]


def read_labelled(
    paths: Sequence[Path], draw: Draw, systems: Iterable[Settings], *, findable: bool = False
) -> list[Labelled]:
    """Read every collection whole, one after the other, within the limits of all `systems`.

    With `findable`, grades of documents without text are left out. Raises `InvalidInputError` for
    the first row that breaks a rule, with file, line and field.
    """
    max_chars = min((one.max_document_chars for one in systems), default=MAX_TEXT_CHARS)
    collections = []
    for name, path in zip(collection_names(paths), paths, strict=True):
        found = open_collection(path, max_chars=max_chars)
        grades = found.qrels if findable else found.judged
        chosen = sample(grades, draw.queries, draw.seed)
        queries = {query: found.queries[query] for query in chosen}
        qrels = {query: grades[query] for query in chosen}
        digest = data_sha256(path)
        collections.append(Labelled(name, path, digest, queries, qrels, found.warnings))
    return collections


def sample(ids: Iterable[str], count: int | None, seed: int) -> list[str]:
    """`count` of the ids (all for None), drawn with a seed that does not depend on their order."""
    ordered = sorted(ids)
    if count is None or count >= len(ordered):
        return ordered
    return sorted(random.Random(seed).sample(ordered, count))  # noqa: S311 - no secret


@dataclass(frozen=True, slots=True)
class Observations:
    """What was seen of each collection, by its path, and with which models.

    `data` has each collection's SHA-256 by name. `rerank_weight` gives the reranker's share in a
    language; `milliseconds` is from `time_depths`.
    """

    data: dict[str, str]
    collections: dict[Path, Observed]
    encoder: EncoderIdentity
    reranker_weights_sha256: str | None
    reranker_variant: str
    rerank_weight: Callable[[str], float]
    milliseconds: dict[int, float]


def observe_all(
    settings: Settings,
    paths: Sequence[Path],
    draw: Draw,
    progress: Progress,
    on_warning: Callable[[str], None],
    *,
    reranked: int | None = None,
    by_cosine: Collection[Path] = (),
    timed: int = 0,
) -> Observations:
    """Read all collections, then search each and rerank `reranked` queries of it.

    Those of `by_cosine` are not reranked. The rerank of the first `timed` queries is timed.
    """
    labelled = read_labelled(paths, draw, [settings], findable=True)
    for warning in (warning for one in labelled for warning in one.warnings):
        on_warning(warning)
    seen: dict[Path, Observed] = {}
    milliseconds: dict[int, float] = {}
    for one in labelled:
        to_rerank = () if one.path in by_cosine else sample(one.queries, reranked, draw.seed)
        with (
            opened(settings, one.path, chunked=True, progress=progress) as it,
            progress(one.name, len(one.queries)) as advance,
        ):
            searcher, reranker = it.engine.searcher, it.engine.searcher.second_stage.reranker
            observer = Observer(searcher, settings.rerank_depth, it.queries.encode)
            # Before all else, because a reranker may remember the passages that it has seen.
            if timed and reranker and not milliseconds:
                model = it.logits.reranker if it.logits else reranker
                first = observer.encoded(list(one.queries.values())[:timed])
                searches = [(encoded, observer.passages(text, encoded)) for text, encoded in first]
                milliseconds = time_depths(model, searches)
            found = observe(observer, one.name, one.queries, one.qrels, to_rerank, advance)
            seen[one.path] = found
    return Observations(
        {one.name: one.data_sha256 for one in labelled},
        seen,
        searcher.encoder.identity,
        reranker.weights_sha256 if reranker else None,
        reranker.variant if reranker else "",
        searcher.second_stage.judge.rerank_weight,
        milliseconds,
    )
