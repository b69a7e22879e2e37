"""The model card: README.md of a trained model's folder."""

import json
import textwrap
from collections.abc import Iterable, Mapping
from typing import Any

from service.training.record import Record


def render_card(record: Record) -> str:
    """The card as Markdown, with a front matter in YAML as model hubs read it."""
    sections = (
        _front_matter(record),
        f"# {record.recipe['name']}",
        _summary(record),
        "## Figures\n\nOn held-out labels, before and after the training.",
        _figures(record.before, record.after),
        "## Data",
        _table(
            ("collection", "rows", "licence"),
            ((e["name"], e["rows"], e["licence"]) for e in record.data),
        ),
        "SHA-256 of each collection:",
        _bullets(f"{e['name']}: `{e['sha256']}`" for e in record.data),
        f"{record.rows['train']} rows to train on, {record.rows['validation']} to validate on.",
        *([_bullets(record.notes)] if record.notes else []),
        "## Hyperparameters",
        _table(("key", "value"), _flat(record.recipe)),
        "## How it went",
        "![loss](loss.png)",
        _table(("what", "value"), _course(record)),
        _wrapped(
            f"Versions: {', '.join(f'{name} {value}' for name, value in record.versions.items())}."
        ),
    )
    return "\n\n".join(sections) + "\n"


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
    return _table(("measure", "before", "after", "change", "relative"), rows)


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


def _table(header: tuple[str, ...], rows: Iterable[tuple[object, ...]]) -> str:
    lines = [header, ("---",) * len(header), *rows]
    cells = ([str(cell).replace("|", "\\|").replace("\n", " ") for cell in line] for line in lines)
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)
