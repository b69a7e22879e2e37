"""Collections as calibration and depth tuning see them: candidates and logits of each query."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from service.evaluation.candidates import Observed, Observer, observe
from service.evaluation.depth import time_depths
from service.evaluation.labelled import Draw, read_labelled, sample
from service.evaluation.searching import Progress, opened
from service.settings import Settings
from service.types import EncoderIdentity


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
            opened(settings, one.path, chunked=True, progress=progress) as (engine, logits),
            progress(one.name, len(one.queries)) as advance,
        ):
            searcher, observer = engine.searcher, Observer(engine, settings.rerank_depth)
            # Before all else, because a reranker may remember the passages that it has seen.
            if timed and logits is not None and not milliseconds:
                searches = [observer.read(text) for text in list(one.queries.values())[:timed]]
                milliseconds = time_depths(logits.reranker, searches)
            found = observe(observer, one.name, one.queries, one.qrels, to_rerank, advance)
            seen[one.path] = found
    return Observations(
        {one.name: one.data_sha256 for one in labelled},
        seen,
        searcher.encoder.identity,
        logits.weights_sha256 if logits else None,
        searcher.second_stage.judge.rerank_weight,
        milliseconds,
    )
