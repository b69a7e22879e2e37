"""The jobs on a collection's labels: an evaluation, and a calibration that applies at once."""

from typing import Any

from service.engine.engine import Engine
from service.engine.job_work import OnProgress
from service.evaluation.label_fit import fit_labels
from service.evaluation.label_report import coverage, label_report, shown_hits
from service.evaluation.label_set import observe_labels, read_label_set
from service.store.label_store import LabelKind


def evaluate_labels(
    engine: Engine, name: str, kind: LabelKind, on_progress: OnProgress
) -> dict[str, Any]:
    """The report of a collection's labels. Raises `InvalidInputError` if there are none."""
    live = engine.collection(name)
    labels = read_label_set(live, kind)
    observed = observe_labels(live, labels, on_progress)
    return label_report(labels, observed, live.calibrations.judge())


def calibrate_labels(
    engine: Engine, name: str, kind: LabelKind, on_progress: OnProgress
) -> dict[str, Any]:
    """Fit a calibration to the labels and let it apply. Raises `InvalidInputError` for too few."""
    live = engine.collection(name)
    labels = read_label_set(live, kind)
    observed = observe_labels(live, labels, on_progress)
    found = fit_labels(live, labels, observed)
    hits = list(shown_hits(observed, live.calibrations.judge_by(found.artifact)))
    on_progress(len(labels.queries), len(labels.queries))  # cancelled meanwhile, it does not apply
    live.use_calibration(found.artifact)
    return {**found.report, "labels": labels.name, "coverage": coverage(labels, hits)}
