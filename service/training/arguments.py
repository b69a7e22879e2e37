"""What a trainer is given: a recipe's `[training]` as its arguments, and what looks on."""

# ruff: noqa: ARG002 - the library decides what its callbacks are given

import math
import time
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback, TrainerState

from service.errors import TrainingError
from service.training.recipe import Training
from service.training.system import Job, OnProgress, Prepared, Progress


def trainer_arguments(job: Job, prepared: Prepared, checkpoints: Path) -> dict[str, Any]:
    """Keywords for the arguments of sentence-transformers' trainers, or of transformers' own."""
    training = job.recipe.training
    precision = precision_of(job)
    sampler = "no_duplicates" if training.no_duplicates else "batch_sampler"
    return {
        "output_dir": str(checkpoints),
        "learning_rate": training.learning_rate,
        "per_device_train_batch_size": training.batch_size,
        "per_device_eval_batch_size": training.batch_size,
        "gradient_accumulation_steps": training.accumulation,
        "num_train_epochs": training.epochs,
        "max_steps": training.max_steps or -1,
        # A share below 1; at 1 and above the library would take it for a number of steps.
        "warmup_steps": min(training.warmup, 1 - 1e-9),
        "lr_scheduler_type": training.scheduler,
        "weight_decay": training.weight_decay,
        "adam_epsilon": training.adam_epsilon,
        **({} if prepared.collate else {"batch_sampler": sampler}),
        "seed": training.seed,
        "bf16": precision == "bf16",
        "fp16": precision == "fp16",
        "use_cpu": job.device == "cpu",
        "dataloader_pin_memory": job.device != "cpu",
        "logging_steps": _logging_steps(len(prepared.train), training),
        "logging_nan_inf_filter": False,
        "disable_tqdm": True,
        "report_to": [],
        "restore_callback_states_from_checkpoint": True,
        **_evaluating(job, prepared),
        **prepared.arguments,
    }


def _evaluating(job: Job, prepared: Prepared) -> dict[str, Any]:
    """When it is evaluated it is saved too: so the best is always there, and so is the newest."""
    every = job.recipe.training.evaluate_every
    when = {"save_strategy": "steps" if every else "epoch", "save_steps": every or 500}
    if not len(prepared.validation):
        return {**when, "save_total_limit": 1, "eval_strategy": "no"}
    return {
        **when,
        "eval_strategy": when["save_strategy"],
        "eval_steps": every or None,
        "save_total_limit": 2,
        "load_best_model_at_end": True,
        "metric_for_best_model": "eval_loss",
        "greater_is_better": False,
    }


def _logging_steps(rows: int, training: Training) -> int:
    """So often that the picture has some 100 points, yet no step alone unless there are few."""
    an_epoch = math.ceil(rows / (training.batch_size * training.accumulation))
    steps = training.max_steps if training.max_steps > 0 else math.ceil(an_epoch * training.epochs)
    return max(1, min(steps // 100, 50))


def autocast(job: Job) -> torch.autocast:
    """The recipe's precision, for what runs outside of the trainer."""
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision_of(job))
    return torch.autocast(job.device.partition(":")[0], dtype, enabled=dtype is not None)


def precision_of(job: Job) -> str:
    """`fp32`, `bf16` or `fp16`: what the recipe says, or else what suits the device."""
    stated = job.recipe.training.precision
    if stated != "auto":
        return stated
    if job.device == "cpu":
        return "fp32"
    return "bf16" if torch.cuda.is_bf16_supported() else "fp16"


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
