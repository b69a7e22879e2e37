"""What is written down of a training."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import torch

from service.evaluation.provenance import commit, versions
from service.models.registry import REGISTRY
from service.training.system import Job, Prepared

_PACKAGES = ("secondpass", "torch", "transformers", "sentence-transformers", "datasets", "numpy")


@dataclass(frozen=True, slots=True)
class Record:
    """One training, from its recipe to its figures.

    `history` is the trainer's log; `best_step` the optimizer step whose weights were kept. `commit`
    is None outside a git checkout of this package. `data` has a licence for each collection.
    """

    recipe: Mapping[str, Any]
    base_licence: str | None
    device: str
    precision: str
    steps: int
    best_step: int
    best_validation_loss: float | None
    seconds: float
    examples_per_second: float
    history: Sequence[Mapping[str, Any]]
    versions: Mapping[str, str]
    commit: str | None
    date: str
    job_sha256: str = ""
    rows: Mapping[str, int] = field(default_factory=dict)
    parameters: Mapping[str, int] = field(default_factory=dict)
    data: Sequence[Mapping[str, Any]] = ()
    notes: Sequence[str] = ()
    before: Mapping[str, float] = field(default_factory=dict)
    after: Mapping[str, float] = field(default_factory=dict)

    def with_results(
        self,
        job_sha256: str,
        before: Mapping[str, float],
        after: Mapping[str, float],
        prepared: Prepared,
        licences: Mapping[str, str],
    ) -> "Record":
        """The same, with what is known in the end."""
        parameters = list(prepared.model.parameters())
        return replace(
            self,
            job_sha256=job_sha256,
            rows={"train": len(prepared.train), "validation": len(prepared.validation)},
            parameters={
                "all": sum(tensor.numel() for tensor in parameters),
                "trained": sum(tensor.numel() for tensor in parameters if tensor.requires_grad),
            },
            data=[{**entry, **_licence(entry, licences)} for entry in prepared.data],
            notes=tuple(prepared.notes),
            before=before,
            after=after,
        )

    def as_json(self) -> dict[str, Any]:
        """All fields but the log."""
        names = [name for name in self.__slots__ if name != "history"]
        return {name: getattr(self, name) for name in names}


def make_record(job: Job, **measured: Any) -> Record:
    """What is known when the weights are; `measured` are fields of `Record`."""
    spec = REGISTRY.get(job.recipe.base)
    return Record(
        recipe=job.recipe.model_dump(mode="json"),
        base_licence=spec.licence if spec else None,
        device=_device(job.device),
        versions=versions(_PACKAGES),
        commit=commit(),
        date=datetime.now(UTC).date().isoformat(),
        **measured,
    )


def _licence(entry: Mapping[str, Any], licences: Mapping[str, str]) -> dict[str, str]:
    stated = licences.get(str(entry["name"]), entry.get("licence"))
    return {"licence": str(stated) if stated else "not stated"}


def _device(device: str) -> str:
    if device == "cpu":
        return f"CPU, {torch.get_num_threads()} threads"
    return torch.cuda.get_device_name(device)
