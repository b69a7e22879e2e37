"""Fit a collection's calibration to its own labels, which may be few."""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np

from service.confidence.adjust import Adjusted, adjust_curve
from service.confidence.calibration import (
    EVERY_LANGUAGE,
    MIXED,
    Calibration,
    Curve,
    Ordering,
    WordThreshold,
)
from service.confidence.fit import FEWEST_POSITIVE
from service.confidence.judge import Judge
from service.engine.live_collection import LiveCollection
from service.errors import InvalidInputError
from service.evaluation import calibrating
from service.evaluation.calibrating import Fitted, Hits
from service.evaluation.candidates import Observed
from service.evaluation.label_report import shown_hits
from service.evaluation.label_set import LabelSet
from service.evaluation.report import SHOWN_HITS

HIGH, MEDIUM = 0.8, 0.5
"""Wanted precisions of the words, where labels suffice to find where they begin."""

FEW_QUERIES = 5

SHOWN_MOVES = (0.1, 0.3, 0.5, 0.7, 0.9)
MOST_CHANGED = 50


@dataclass(slots=True)
class _Curves:
    """What became of each curve."""

    fitted: dict[Ordering, Fitted] = field(default_factory=dict)
    adjusted: dict[Ordering, Adjusted] = field(default_factory=dict)
    kept: dict[Ordering, Curve] = field(default_factory=dict)
    why: dict[Ordering, InvalidInputError] = field(default_factory=dict)

    @property
    def all(self) -> dict[Ordering, Curve]:
        own = {ordering: one.fit.curve for ordering, one in self.fitted.items()}
        moved = {ordering: one.curve for ordering, one in self.adjusted.items()}
        return {**self.kept, **moved, **own}

    def how(self, ordering: Ordering) -> str:
        if ordering in self.fitted:
            return self.fitted[ordering].fit.curve.method
        return "adjusted" if ordering in self.adjusted else "kept"


@dataclass(frozen=True, slots=True)
class LabelFit:
    """The artifact, and what is to be said of it, for JSON."""

    artifact: Calibration
    report: dict[str, Any]


def fit_labels(live: LiveCollection, labels: LabelSet, observed: Observed) -> LabelFit:
    """A calibration from the labels alone where they suffice, else the server's own, adjusted.

    The reranker's shares stay as they are. Only judged hits count. Raises `InvalidInputError` if
    the labels are too few, and says what is missing.
    """
    before = live.calibrations.judge()
    base = _fitting(live.calibrations.base, live.calibrations.judge_by(live.calibrations.base))
    shares = _shares(base, before)
    depth = before.rerank_depth
    hits = calibrating.collect_hits([observed], shares, depth, judged=True)
    mixed_hits = calibrating.collect_hits([observed], shares, depth, judged=True, mixed=True)
    curves = _fit(hits, base.curves if base else {})
    mixed = _fit(mixed_hits, base.mixed_curves if base else {})
    _require_served(hits, curves, mixed_hits, mixed)
    words = _words(curves, base)
    artifact = _artifact(live, labels, base, shares, curves, mixed, words)
    after = live.calibrations.judge_by(artifact)
    report = {
        "name": artifact.name,
        "adjusted_from": artifact.adjusted_from,
        "curves": {ordering: curves.how(ordering) for ordering in curves.all},
        "moves": _moves(hits, curves),
        "words": {name: _counted(observed, judge) for name, judge in _both(before, after)},
        "changed": _changed(observed, before, after),
        "warnings": _warnings(hits, curves, words),
    }
    return LabelFit(artifact, report)


def _fitting(base: Calibration | None, judge: Judge) -> Calibration | None:
    """`base` if its curves hold for the models that are loaded."""
    if base is None or judge.name is None:
        return None
    fits = base.fits_reranker(judge.reranker_weights_sha256, judge.reranker_variant)
    return base if judge.reranker_weights_sha256 is None or fits else None


def _shares(base: Calibration | None, judge: Judge) -> dict[str, float]:
    """The reranker's shares that apply now."""
    if judge.reranker_weights_sha256 is None:
        return {}
    if judge.weight_override is None and base is not None:
        return base.rerank_weights
    share = 1.0 if judge.weight_override is None else judge.weight_override
    return {EVERY_LANGUAGE: share, MIXED: share}


def _fit(hits: Mapping[Ordering, Hits], base: Mapping[Ordering, Curve]) -> _Curves:
    found = _Curves(kept=dict(base))
    for ordering, rows in hits.items():
        queries = rows["query"].tolist()
        if int(rows["label"].sum()) >= FEWEST_POSITIVE:
            try:
                found.fitted |= calibrating.fit_curves({ordering: rows})
                continue
            except InvalidInputError:
                pass  # such as the labels of four queries: too few of another kind
        try:
            if ordering not in base:
                raise InvalidInputError(
                    "no calibration of these models is there to be adjusted: "
                    f"{FEWEST_POSITIVE} relevant hits of 5 queries are needed, "
                    f"there are {int(rows['label'].sum())}"
                )
            adjusted = adjust_curve(base[ordering], rows["score"], rows["label"], queries)
            found.adjusted[ordering] = adjusted
        except InvalidInputError as error:
            found.why[ordering] = error
    return found


def _require_served(
    hits: Mapping[Ordering, Hits],
    curves: _Curves,
    mixed_hits: Mapping[Ordering, Hits],
    mixed: _Curves,
) -> None:
    """Raise `InvalidInputError` where no curve that hits are judged by was fitted."""
    served = [(curves, o) for o, rows in hits.items() if rows["served"].any()]
    served += [(mixed, o) for o, rows in mixed_hits.items() if rows["served"].any()]
    if not served:
        raise InvalidInputError("none of the judged hits is found by its query any more", "labels")
    if any(o in of.fitted or o in of.adjusted for of, o in served):
        return
    of, ordering = served[0]
    raise InvalidInputError(str(of.why[ordering]), "labels")


def _words(curves: _Curves, base: Calibration | None) -> dict[str, WordThreshold]:
    """Where the words begin: found on the labels if these have a curve of their own."""
    rows = [one.hits[one.hits["served"]] for one in curves.fitted.values()]
    held = np.concatenate(rows) if rows else np.array([])
    if not len(held):
        return dict(base.thresholds.items()) if base else {}
    given = calibrating.given_words(held, HIGH, MEDIUM)
    return dict(calibrating.fit_thresholds(held, given, HIGH, MEDIUM))


def _artifact(
    live: LiveCollection,
    labels: LabelSet,
    base: Calibration | None,
    shares: Mapping[str, float],
    curves: _Curves,
    mixed: _Curves,
    words: Mapping[str, WordThreshold],
) -> Calibration:
    encoder, reranker = live.searcher.encoder.identity, live.searcher.second_stage.reranker
    now = datetime.now(UTC)
    told = f"{labels.sha256} {now.isoformat()}"
    return Calibration.model_validate(
        {
            "name": f"{live.name}-labels-{hashlib.sha256(told.encode()).hexdigest()[:8]}",
            "date": now.date().isoformat(),
            "encoder_weights_sha256": encoder.weights_sha256,
            "query_prefix": encoder.query_prefix,
            "passage_prefix": encoder.passage_prefix,
            "normalizer_version": encoder.normalizer_version,
            "reranker_weights_sha256": reranker.weights_sha256 if reranker else None,
            "reranker_variant": reranker.variant if reranker else "",
            "rerank_weights": dict(shares),
            "rerank_depth": live.searcher.second_stage.judge.rerank_depth,
            "thresholds": words,
            "curves": curves.all,
            "mixed_curves": mixed.all,
            # Its searches are still those to compare with; the words are others now.
            "reference": {
                of: counts
                for of, counts in (base.reference if base else {}).items()
                if of != "confidence"
            },
            "data": {labels.name: labels.sha256},
            "adjusted_from": base.name if base and curves.adjusted else None,
            "adjustments": {name: one.adjustment for name, one in curves.adjusted.items()},
        }
    )


def _moves(hits: Mapping[Ordering, Hits], curves: _Curves) -> list[dict[str, float]]:
    """What becomes of some probabilities by the adjusted curve that judges most hits."""
    served = {o: int(hits[o]["served"].sum()) for o in curves.adjusted}
    if not any(served.values()):
        return []
    adjusted = curves.adjusted[max(served, key=lambda o: served[o])]
    rows = ((before, *adjusted.now(before)) for before in SHOWN_MOVES)
    return [dict(zip(("before", "after", "low", "high"), row, strict=True)) for row in rows]


def _both(before: Judge, after: Judge) -> Sequence[tuple[str, Judge]]:
    return ("before", before), ("after", after)


def _counted(observed: Observed, judge: Judge) -> dict[str, int]:
    """How many of the first hits of all queries have each word."""
    words = Counter(hit.word for of in shown_hits(observed, judge) for hit in of[:SHOWN_HITS])
    return {word: words[word] for word in ("high", "medium", "low", "uncalibrated")}


def _changed(observed: Observed, before: Judge, after: Judge) -> list[dict[str, Any]]:
    """Hits whose word is another one now; the largest steps first."""
    pairs = zip(shown_hits(observed, before), shown_hits(observed, after), strict=True)
    rows = []
    for old, new in pairs:
        was = {hit.document: hit for hit in old[:SHOWN_HITS]}
        for hit in new[:SHOWN_HITS]:
            earlier = was.get(hit.document)
            if earlier and earlier.word != hit.word:
                step = abs((hit.probability or 0.0) - (earlier.probability or 0.0))
                rows.append((step, earlier, hit))
    rows.sort(key=lambda row: -row[0])
    return [
        {
            "query_id": hit.query,
            "document": hit.document,
            "grade": hit.grade,
            "before": earlier.word,
            "after": hit.word,
            "probability_before": earlier.probability,
            "probability_after": hit.probability,
        }
        for _, earlier, hit in rows[:MOST_CHANGED]
    ]


def _warnings(
    hits: Mapping[Ordering, Hits], curves: _Curves, words: Mapping[str, WordThreshold]
) -> list[str]:
    said = []
    queries = {query for rows in hits.values() for query in rows["query"]}
    if curves.adjusted and len(queries) < FEW_QUERIES:
        said.append(
            f"all labels belong to {len(queries)} queries: label hits of at least {FEW_QUERIES}, "
            "as others may be answered better or worse"
        )
    for ordering, one in curves.adjusted.items():
        if one.losses[1] > one.losses[0]:
            said.append(
                f"curve {ordering!r}: on queries that it was not fitted on, the adjusted curve is "
                f"no better than before (log loss {one.losses[1]:.3f}, before {one.losses[0]:.3f})"
            )
    if not curves.fitted:
        return said
    return said + calibrating.shortages(curves.fitted, words, len(queries))
