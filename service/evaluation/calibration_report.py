"""A calibration as lines for people and as a dictionary for JSON."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from service.confidence.calibration import Calibration
from service.confidence.fit import Fit
from service.evaluation.fitting import SHARES, Choice, Fitting, Trial


def share_lines(trials: Sequence[Trial], choices: Sequence[Choice]) -> list[str]:
    """What each share gives, and which one was chosen for what gain."""
    lines = []
    for trial in trials:
        means = zip(SHARES, trial.ndcg.mean(axis=1), strict=True)
        shown = ", ".join(f"{share:g}: {ndcg:.4f}" for share, ndcg in means)
        lines.append(f"{trial.collection} {trial.language} ({len(trial.queries)} queries) {shown}")
    lines += [
        f"{choice.language}: share {choice.share:g}; the best one, {choice.tried:g}, gains "
        f"{choice.gain:+.4f} nDCG@10 on held-out queries ({choice.low:+.4f} to {choice.high:+.4f})"
        for choice in choices
    ]
    return lines


def calibration_lines(artifact: Calibration, found: Fitting) -> list[str]:
    lines = [f"rerank weights {artifact.rerank_weights or 'none'}"]
    for where, curves in (("", found.curves), (" across languages", found.mixed)):
        lines += [_curve(f"{ordering}{where}", one.fit) for ordering, one in curves.items()]
    parts = {"all": found.figures["all"], "answered": found.figures["answered"]}
    if "across" in found.figures:
        parts["across languages"] = found.figures["across"]["all"]
    for part, of in parts.items():
        lines.append(f"{part}: {of['hits']} hits, ECE {of['ece']:.4f}, Brier {of['brier']:.4f}")
        lines += [f"  {_word(artifact, word, row)}" for word, row in of["words"].items()]
    return lines


def _curve(name: str, fit: Fit) -> str:
    curve = fit.curve
    losses = ", ".join(f"{m} {b:.4f} / {log:.4f}" for m, (b, log) in fit.losses.items())
    return (
        f"{name}: {curve.method}, {curve.n} hits, {curve.positive} relevant, "
        f"ECE {curve.ece:.4f}, Brier {curve.brier:.4f} (cross-validated; "
        f"Brier / log loss: {losses})"
    )


def _word(artifact: Calibration, word: Any, row: Mapping[str, Any]) -> str:
    fit = artifact.thresholds.get(word)
    start = "" if fit is None or fit.probability is None else f" from {fit.probability:.4f}"
    precision = "no hit"
    if row["precision"] is not None:
        interval = f"{row['low']:.3f} to {row['high']:.3f}"
        precision = f"precision {row['precision']:.3f} ({interval})"
        if fit is not None and row["high"] < fit.precision:
            precision += f", below the {fit.precision:g} that was asked for"
    return (
        f"{word}{start}: {precision}, {row['n']} hits, {row['coverage']:.1%} of hits, "
        f"{row['queries']:.1%} of queries"
    )


def calibration_report(artifact: Calibration, found: Fitting) -> dict[str, Any]:
    tried = [
        {
            "collection": trial.collection,
            "language": trial.language,
            "queries": len(trial.queries),
            "ndcg@10": dict(zip(map(str, SHARES), trial.ndcg.mean(axis=1).tolist(), strict=True)),
        }
        for trial in found.trials
    ]
    return {
        "data": artifact.data,
        "shares": {"trials": tried, "choices": [asdict(choice) for choice in found.choices]},
        "losses": {ordering: one.fit.losses for ordering, one in found.curves.items()},
        "losses_across": {ordering: one.fit.losses for ordering, one in found.mixed.items()},
        "confidence": found.figures,
    }
