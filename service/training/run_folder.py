"""Where a training lives on the disk: one folder while it goes on, another when it is done.

The finished model comes to `OUT` in one rename. Until then all is in `OUT.unfinished`: what is
being trained (`job.json`), checkpoints, logs, and figures from before the training. So a training
that was killed never looks finished, and a new start finds where it stopped.
"""

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from service.durable import put, write_json
from service.errors import InvalidInputError
from service.models.folder import file_checksums
from service.training.system import Job

RECORD = "training.json"
"""In a finished folder: what was trained, from what, and how it went."""

_JOB = "job.json"
_STATE = "trainer_state.json"


class RunFolder:
    """The two folders of one training.

    `model` becomes `out`, and `replaced` holds what stood there meanwhile. `logs` are TensorBoard's
    files; `checkpoints` has a folder for each.
    """

    def __init__(self, out: Path) -> None:
        self.out, self.unfinished = out, out.with_name(f"{out.name}.unfinished")
        names = ("model", "replaced", "logs", "checkpoints")
        self.model, self.replaced, self.logs, self.checkpoints = (
            self.unfinished / name for name in names
        )

    def open(self, job_sha256: str, *, resume: bool, overwrite: bool) -> bool:
        """Make ready for this job; False where it is finished and nothing is left to do.

        Raises `InvalidInputError` where the place is taken by something else.
        """
        if self.replaced.exists() and not self.out.exists():
            self.replaced.rename(self.out)  # killed before the model took its place
        taken = any(self.out.iterdir()) if self.out.is_dir() else self.out.exists()
        if taken and not overwrite:
            if resume and _is_of(self.out / RECORD, job_sha256):
                return False
            raise InvalidInputError(
                f"{self.out} exists and is not empty; it is replaced with --overwrite only", "out"
            )
        if self.unfinished.exists():
            same = _is_of(self.unfinished / _JOB, job_sha256)
            if not (same or overwrite or not resume):
                raise InvalidInputError(
                    f"{self.unfinished} is a training of another recipe, base or data: remove it, "
                    "give another --out, or start again with --no-resume",
                    "out",
                )
            if not (same and resume):
                shutil.rmtree(self.unfinished)
        self.unfinished.mkdir(parents=True, exist_ok=True)
        write_json(self.unfinished / _JOB, {"job_sha256": job_sha256})
        return True

    def newest_checkpoint(self) -> Path | None:
        """The last one that was written to its end; what is not is removed."""
        found: list[tuple[int, Path]] = []
        for path in self.checkpoints.glob("checkpoint-*"):
            # The state is the last file of a checkpoint to be written.
            if read_json(path / _STATE) is not None:
                found.append((int(path.name.rpartition("-")[2]), path))
            else:
                shutil.rmtree(path)
        return max(found)[1] if found else None

    def finish(self) -> None:
        put(self.model, self.out, aside=self.replaced)
        shutil.rmtree(self.unfinished)


def job_sha256(job: Job, data: Sequence[Mapping[str, Any]]) -> str:
    """One hash for what decides a training's result: recipe, base weights and data."""
    content = {
        "recipe": job.recipe.model_dump(mode="json"),
        "base": file_checksums(job.base),
        "data": [dict(entry) for entry in data],
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()


def is_ended(checkpoint: Path) -> bool:
    """Whether nothing is left to train after it: all steps done, or patience at its end."""
    state = json.loads((checkpoint / _STATE).read_text(encoding="utf-8"))
    control = state.get("stateful_callbacks", {}).get("TrainerControl", {})
    return bool(control.get("args", {}).get("should_training_stop"))


def read_json(path: Path) -> Any:
    """None where there is no such file, or no JSON in it."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _is_of(path: Path, job_sha256: str) -> bool:
    content = read_json(path)
    return isinstance(content, dict) and content.get("job_sha256") == job_sha256
