"""What is written down of a training."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
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

    def as_json(self) -> dict[str, Any]:
        """All fields but the log."""
        names = [name for name in self.__slots__ if name != "history"]
        return {name: getattr(self, name) for name in names}


def make_record(
    job: Job, prepared: Prepared, licences: Mapping[str, str], **measured: Any
) -> Record:
    """What a finished training says of itself; `measured` are fields of `Record`."""
    spec = REGISTRY.get(job.recipe.base)
    parameters = list(prepared.model.parameters())
    if job.device == "cpu":
        device = f"CPU, {torch.get_num_threads()} threads"
    else:
        device = torch.cuda.get_device_name(job.device)
    return Record(
        recipe=job.recipe.model_dump(mode="json"),
        base_licence=spec.licence if spec else None,
        device=device,
        versions=versions(_PACKAGES),
        commit=commit(),
        date=datetime.now(UTC).date().isoformat(),
        rows={"train": len(prepared.train), "validation": len(prepared.validation)},
        parameters={
            "all": sum(tensor.numel() for tensor in parameters),
            "trained": sum(tensor.numel() for tensor in parameters if tensor.requires_grad),
        },
        data=[{**entry, "licence": _licence(entry, licences)} for entry in prepared.data],
        notes=tuple(prepared.notes),
        **measured,
    )


def _licence(entry: Mapping[str, Any], licences: Mapping[str, str]) -> str:
    return str(licences.get(str(entry["name"])) or entry.get("licence") or "not stated")
