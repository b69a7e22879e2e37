"""What does a server's jobs on labels."""

from collections.abc import Mapping
from typing import Any

from service.engine.engine import Engine
from service.engine.job_work import OnProgress, Work
from service.store.job_store import JobKind


def label_works(engine: Engine) -> Mapping[JobKind, Work]:
    """The work of each kind of job.

    What fits and measures is imported by the first job: it takes seconds and a hundred megabytes.
    """

    def evaluation(
        name: str, options: Mapping[str, Any], on_progress: OnProgress
    ) -> Mapping[str, Any]:
        from service.evaluation.label_jobs import evaluate_labels  # noqa: PLC0415

        return evaluate_labels(engine, name, options["labels"], on_progress)

    def calibration(
        name: str, options: Mapping[str, Any], on_progress: OnProgress
    ) -> Mapping[str, Any]:
        from service.evaluation.label_jobs import calibrate_labels  # noqa: PLC0415

        return calibrate_labels(engine, name, options["labels"], on_progress)

    return {"evaluation": evaluation, "calibration": calibration}
