"""What looks on while a model trains: progress, and losses that are no numbers any more."""

# ruff: noqa: ARG002 - the library decides what its callbacks are given
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from transformers import TrainerCallback, TrainerState

from service.errors import TrainingError


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a training is. Steps are optimizer steps; losses are None before the first."""

    step: int
    steps: int
    loss: float | None
    validation_loss: float | None
    examples_per_second: float


OnProgress = Callable[[Progress | str], None]
"""Hears of each step, and in words of what takes its time before the first and after the last."""


class Watch(TrainerCallback):
    """Tells `report` of each step, and ends a training whose loss is not finite.

    Examples a second are counted over the training of this process alone, evaluations and saving
    left out.
    """

    def __init__(self, report: OnProgress, examples_per_step: int) -> None:
        self._report, self._examples = report, examples_per_step
        self._steps, self._seconds, self._since = 0, 0.0, 0.0
        self._losses: dict[str, float] = {}

    @property
    def examples_per_second(self) -> float:
        """Mean so far; 0 before the first step."""
        return self._steps * self._examples / self._seconds if self._seconds else 0.0

    def on_train_begin(self, args: Any, state: TrainerState, *_: Any, **__: Any) -> None:
        """Start the clock, after an evaluation and a checkpoint too: neither is training."""
        self._since = time.monotonic()

    on_evaluate = on_save = on_train_begin

    def on_step_end(self, args: Any, state: TrainerState, *_: Any, **__: Any) -> None:
        """Count the step."""
        now = time.monotonic()
        self._steps += 1
        self._seconds += now - self._since
        self._since = now
        self._tell(state)

    def on_log(self, args: Any, state: TrainerState, *_: Any, **given: Any) -> None:
        """Note the losses; raise `TrainingError` for one that is not finite."""
        self._losses |= given.get("logs") or {}
        for name, kind in (("loss", "training"), ("eval_loss", "validation")):
            if not math.isfinite(self._losses.get(name, 0.0)):
                raise TrainingError(
                    f"the {kind} loss is {self._losses[name]} at step {state.global_step}: try a "
                    "lower training.learning_rate, or a longer training.warmup"
                )
        self._tell(state)

    def _tell(self, state: TrainerState) -> None:
        losses = self._losses.get("loss"), self._losses.get("eval_loss")
        self._report(
            Progress(state.global_step, state.max_steps, *losses, self.examples_per_second)
        )
