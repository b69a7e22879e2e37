"""What is written down of a training: its record, and README.md, the model card."""

import json
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import torch

from service.evaluation.provenance import commit, versions
from service.evaluation.tables import table
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


def render_card(record: Record) -> str:
    """The card as Markdown, with a front matter in YAML as model hubs read it."""
    sections = (
        _front_matter(record),
        f"# {record.recipe['name']}",
        _summary(record),
        "## Figures\n\nOn held-out labels, before and after the training.",
        _figures(record.before, record.after),
        "## Data",
        table(
            ("collection", "rows", "licence"),
            ((e["name"], e["rows"], e["licence"]) for e in record.data),
        ),
        "SHA-256 of each collection:",
        _bullets(f"{e['name']}: `{e['sha256']}`" for e in record.data),
        f"{record.rows['train']} rows to train on, {record.rows['validation']} to validate on.",
        *([_bullets(record.notes)] if record.notes else []),
        "## Hyperparameters",
        table(("key", "value"), _flat(record.recipe)),
        "## How it went",
        "![loss](loss.png)",
        table(("what", "value"), _course(record)),
        _wrapped(
            f"Versions: {', '.join(f'{name} {value}' for name, value in record.versions.items())}."
        ),
    )
    return "\n\n".join(section.strip() for section in sections) + "\n"


def _front_matter(record: Record) -> str:
    values = {
        "library_name": "sentence-transformers",
        "base_model": record.recipe["base"],
        "license": (record.base_licence or "unknown").lower(),
        "tags": ["secondpass", record.recipe["name"]],
    }
    # Any JSON is YAML.
    lines = (f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in values.items())
    return "\n".join(("---", *lines, "---"))


def _summary(record: Record) -> str:
    licence = record.base_licence or "not known here"
    return _wrapped(
        f"`{record.recipe['base']}` (licence of its weights: {licence}), trained with the recipe "
        f"`{record.recipe['name']}` of secondpass on {record.date}. The licences of the data, "
        "below, apply too."
    )


def _figures(before: Mapping[str, float], after: Mapping[str, float]) -> str:
    rows = ((name, *_change(before.get(name), value)) for name, value in after.items())
    return table(("measure", "before", "after", "change", "relative"), rows)


def _change(before: float | None, after: float) -> tuple[str, ...]:
    if before is None:
        return "", f"{after:.4f}", "", ""
    relative = f"{(after - before) / abs(before):+.1%}" if before else ""
    return f"{before:.4f}", f"{after:.4f}", f"{after - before:+.4f}", relative


def _course(record: Record) -> Iterable[tuple[str, object]]:
    yield "optimizer steps", record.steps
    yield "kept", f"step {record.best_step}"
    if record.best_validation_loss is not None:
        yield "its validation loss", f"{record.best_validation_loss:.4f}"
    yield "seconds (of the last session)", f"{record.seconds:.0f}"
    yield "examples a second", f"{record.examples_per_second:.1f}"
    yield "device", f"{record.device}, {record.precision}"
    yield (
        "parameters",
        f"{record.parameters['all']:,}, of which {record.parameters['trained']:,} trained",
    )
    yield "seed", record.recipe["training"]["seed"]
    yield "commit", record.commit or "not in a checkout"


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, object]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _bullets(lines: Iterable[str]) -> str:
    return "\n".join(_wrapped(f"- {line}", indent="  ") for line in lines)


def _wrapped(text: str, indent: str = "") -> str:
    return textwrap.fill(
        text, 100, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )
