"""How many candidates are worth reranking: ranking quality and cost against depth."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from service.errors import InvalidInputError
from service.evaluation.candidates import Observed
from service.evaluation.significance import difference_over
from service.evaluation.tables import table
from service.protocols import Reranker
from service.types import EncodedPassage, EncodedQuery

DEPTHS = (0, 5, 10, 20, 30, 50, 75, 100)


@dataclass(frozen=True, slots=True)
class DepthRow:
    """What one depth gives and costs.

    `ndcg` is the mean nDCG@10 over collections; `collections` has each collection's. `loss` is the
    distance from the best depth, with its 95 % interval `low` to `high` over queries. `pairs` is
    the mean number of reranked candidates, `ms` the median time of the rerank; None if not timed.
    """

    depth: int
    ndcg: float
    collections: Mapping[str, float]
    loss: float
    low: float
    high: float
    pairs: float
    ms: float | None


def measure_depths(
    collections: Sequence[Observed],
    share: Callable[[str], float],
    depths: Sequence[int] = DEPTHS,
    milliseconds: Mapping[int, float] = MappingProxyType({}),
) -> list[DepthRow]:
    """One row a depth, ascending. `share` gives the reranker's share in a language.

    Raises `InvalidInputError` where no query has a relevant document.
    """
    values = {
        depth: {c.name: c.ndcg(c.searches, share, depth) for c in collections}
        for depth in sorted(depths)
    }
    if not any(len(of) for rows in values.values() for of in rows.values()):
        raise InvalidInputError("no query has a relevant document")
    means = {d: _mean_over_collections(rows) for d, rows in values.items()}
    best = max(means, key=lambda d: (round(means[d], 9), -d))
    rows = []
    for depth, of in values.items():
        loss = difference_over(
            [values[best][name][query] - value for query, value in ndcg.items()]
            for name, ndcg in of.items()
        )
        rows.append(
            DepthRow(
                depth=depth,
                ndcg=means[depth],
                collections={name: float(np.mean(list(v.values()))) for name, v in of.items() if v},
                loss=means[best] - means[depth],
                low=loss["low"],
                high=loss["high"],
                pairs=_pairs(collections, share, depth),
                ms=milliseconds.get(depth),
            )
        )
    return rows


def choose_depth(rows: Sequence[DepthRow], loss: float) -> DepthRow:
    """The smallest depth that is at most `loss` below the best."""
    return min((row for row in rows if row.loss <= loss), key=lambda row: row.depth)


def time_depths(
    reranker: Reranker,
    searches: Sequence[tuple[EncodedQuery, Sequence[EncodedPassage]]],
    depths: Sequence[int] = DEPTHS,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[int, float]:
    """Depth -> median milliseconds of reranking that many candidates, in slices like the service.

    `searches` are queries with their candidates. `reranker` must not answer from logits on disk.
    """
    spent: dict[int, list[float]] = {depth: [] for depth in depths}
    size = reranker.slice_size
    for query, passages in searches:
        total, done = 0.0, 0
        for depth in sorted(spent):
            began = clock()
            ends = range(done, min(depth, len(passages)), size)
            for _ in reranker.score(query, (passages[s : min(s + size, depth)] for s in ends)):
                pass
            done = max(done, min(depth, len(passages)))
            total += clock() - began
            spent[depth].append(1000 * total)
    return {depth: float(np.median(of)) for depth, of in spent.items() if of}


def depth_markdown(rows: Sequence[DepthRow], chosen: DepthRow) -> str:
    """A table with one row a depth; the chosen one in bold."""
    head = ["depth", "nDCG@10", "below the best (95 % interval)", "pairs", "rerank ms"]
    cells = []
    for row in rows:
        depth = f"**{row.depth}**" if row.depth == chosen.depth else f"{row.depth}"
        loss = f"{row.loss:.4f} ({row.low:+.4f} to {row.high:+.4f})"
        ms = "–" if row.ms is None else f"{row.ms:.0f}"
        cells.append([depth, f"{row.ndcg:.4f}", loss, f"{row.pairs:.1f}", ms])
    return table(head, cells)


def depth_report(rows: Sequence[DepthRow], chosen: DepthRow, loss: float) -> dict[str, Any]:
    return {"rerank_depth": chosen.depth, "loss": loss, "depths": [asdict(row) for row in rows]}


def _mean_over_collections(values: Mapping[str, Mapping[str, float]]) -> float:
    return float(np.mean([np.mean(list(of.values())) for of in values.values() if of]))


def _pairs(collections: Sequence[Observed], share: Callable[[str], float], depth: int) -> float:
    found = [search.answered for c in collections for search in c.searches.values()]
    counts = [min(depth, len(of.logits)) if share(of.language) > 0.0 else 0 for of in found]
    return float(np.mean(counts))
