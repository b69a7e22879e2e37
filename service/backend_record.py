"""What was measured of a model's backends on one machine, kept for later starts."""

import logging
import platform
from collections.abc import Iterator
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

import torch
from pydantic import BaseModel, ConfigDict, ValidationError

from service.durable import write_text

log = logging.getLogger(__name__)


class Record(BaseModel):
    """The model, and with which CPU, threads and versions its backends were measured."""

    model_config = ConfigDict(frozen=True)

    model: str
    weights_sha256: str
    cpu: str
    threads: int
    versions: dict[str, str]

    @classmethod
    def read(cls, cache_dir: Path, weights_sha256: str, threads: int = 0) -> Self | None:
        """The record of these weights; None where there is none that holds here.

        It holds on the CPU, with the threads (0: the number torch uses now) and with the versions
        that it was measured with; the log says which of them are others.
        """
        try:
            text = record_file(cache_dir, weights_sha256).read_text(encoding="utf-8")
            record = cls.model_validate_json(text)
        except (OSError, ValidationError):
            return None
        if record.weights_sha256 != weights_sha256:
            return None
        if others := list(record._others(threads)):
            log.warning(
                "the backends of %s were measured with something else (%s); measure them again: "
                "secondpass models prepare %s",
                record.model,
                "; ".join(others),
                record.model,
            )
            return None
        return record

    def write(self, cache_dir: Path) -> Path:
        """Keep it for later starts; gives its file. Raises `StoreError` where it cannot."""
        file = record_file(cache_dir, self.weights_sha256)
        write_text(file, self.model_dump_json(indent=2))
        return file

    def _others(self, threads: int) -> Iterator[str]:
        here = machine() | ({"threads": threads} if threads else {})
        now = {"cpu": here["cpu"], "threads": here["threads"], **here["versions"]}
        then = {"cpu": self.cpu, "threads": self.threads, **self.versions}
        for name in {**then, **now}:
            if then.get(name) != now.get(name):
                yield f"{name} {then.get(name, 'none')} then, {now.get(name, 'none')} now"


def record_file(cache_dir: Path, weights_sha256: str) -> Path:
    """Where the record for these weights lies."""
    return cache_dir / "models" / f"backends-{weights_sha256[:16]}.json"


def machine() -> dict[str, Any]:
    """The fields of a `Record` that say where it was measured."""
    return {"cpu": this_cpu(), "threads": torch.get_num_threads(), "versions": _versions()}


def this_cpu() -> str:
    """The CPU's name and the widest instructions that torch uses on it."""
    name = platform.processor() or platform.machine()
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
        name = named[0] if named else name
    return f"{name}, {torch.backends.cpu.get_cpu_capability()}"


def _versions() -> dict[str, str]:
    found = {}
    for package in ("torch", "onnxruntime"):
        with suppress(ImportError):
            found[package] = version(package)
    return found


def warn_of_torch(backend: str, model: str, error: Exception) -> None:
    """Log that torch runs a model in place of its recorded backend, and how to mend that."""
    log.warning(
        "%s cannot run %s, so torch does: %s; make it again: secondpass models prepare %s",
        backend,
        model,
        error,
        model,
    )
