"""A training from its recipe to its folder, with sentence-transformers' trainers."""

import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from sentence_transformers import (
    CrossEncoder,
    CrossEncoderTrainer,
    CrossEncoderTrainingArguments,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from transformers import (
    EarlyStoppingCallback,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)
from transformers.utils import logging as transformers_logging

from service.durable import write_json, write_text
from service.errors import InvalidInputError, ModelSourceError, TrainingError
from service.evaluation.plots import plot_losses, save
from service.extras import install_command
from service.models.registry import REGISTRY
from service.models.sources import prepare
from service.settings import Settings
from service.training.arguments import Watch, precision_of, trainer_arguments
from service.training.card import make_record, render_card
from service.training.recipe import Recipe
from service.training.run_folder import RECORD, RunFolder, is_ended, job_sha256, read_json
from service.training.system import Job, OnProgress, Prepared, load_system

FIGURES = "figures.json"
_BEFORE = "figures_before.json"


@dataclass(frozen=True, slots=True)
class Outcome:
    """A finished training. `trained` is False where it had been finished before."""

    out: Path
    before: Mapping[str, float]
    after: Mapping[str, float]
    trained: bool = True


def run(
    recipe: Recipe,
    collections: Sequence[Path],
    out: Path,
    settings: Settings,
    *,
    resume: bool = True,
    overwrite: bool = False,
    on_progress: OnProgress = lambda _progress: None,
    licences: Mapping[str, str] | None = None,
) -> Outcome:
    """Train a recipe on labels; `train` says the rest.

    Of the settings it takes cache folder, hub, device and threads. Raises `InvalidInputError` for
    labels that cannot be read, and `UnknownModelError` for a base that is not available.
    """
    prepare_system = load_system(recipe.system)
    for path in collections:
        if not path.exists():
            raise InvalidInputError(f"{path}: there is no such file or folder", "collection")
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    transformers_logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    if settings.threads:
        torch.set_num_threads(settings.threads)
    device = settings.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    base = _base(recipe.base, settings)
    job = Job(recipe, tuple(collections), base, out, device, settings, on_progress)
    prepared = prepare_system(job)
    return train(job, prepared, resume=resume, overwrite=overwrite, licences=licences)


def _base(name: str, settings: Settings) -> Path:
    """A base may be of either kind: a bi-encoder becomes a cross-encoder with a new head."""
    find = partial(prepare, name, cache_dir=settings.cache_dir, offline=settings.hub_offline)
    if name in REGISTRY:
        return find(REGISTRY[name].kind).folder
    try:
        return find("bi-encoder").folder
    except ModelSourceError:
        return find("cross-encoder").folder


def train(
    job: Job,
    prepared: Prepared,
    *,
    resume: bool = True,
    overwrite: bool = False,
    licences: Mapping[str, str] | None = None,
) -> Outcome:
    """Train, keep the best by validation loss, and write the model with its card to `job.out`.

    A training that was interrupted goes on from its newest checkpoint, and comes to the weights
    that it would have come to without the interruption (on the same machine and device); `resume`
    False starts from the beginning. `overwrite` lets the model replace another one in `job.out`.
    `licences` says the licence of a collection, by name.

    Raises `InvalidInputError` for a folder that is taken or rows that are too few, and
    `TrainingError` when the loss is not finite.
    """
    _check(job, prepared, licences or {})
    identity = job_sha256(job, prepared.data)
    folder = RunFolder(job.out)
    if not folder.open(identity, resume=resume, overwrite=overwrite):
        figures = read_json(job.out / FIGURES) or {}
        return Outcome(job.out, figures.get("before", {}), figures.get("after", {}), trained=False)
    before = read_json(folder.unfinished / _BEFORE)
    if before is None:
        job.say("measuring the model as it is")
        before = dict(prepared.figures())
        write_json(folder.unfinished / _BEFORE, before)
    fitted = _fit(job, prepared, folder)
    job.say("measuring the best checkpoint")
    after = dict(prepared.figures())
    shutil.rmtree(folder.model, ignore_errors=True)  # of a training that was killed while it saved
    folder.model.mkdir(parents=True)
    prepared.save(folder.model)
    record = make_record(
        job, prepared, licences or {}, job_sha256=identity, before=before, after=after, **fitted
    )
    write_json(folder.model / RECORD, record.as_json())
    write_json(folder.model / FIGURES, {"before": before, "after": after})
    save(plot_losses(record.history, job.recipe.name), folder.model / "loss.png")
    write_text(folder.model / "README.md", render_card(record))
    if folder.logs.exists():
        shutil.copytree(folder.logs, folder.model / "logs")
    folder.finish()
    return Outcome(job.out, before, after)


def _check(job: Job, prepared: Prepared, licences: Mapping[str, str]) -> None:
    if not len(prepared.train):
        raise InvalidInputError("no row is left to train on", "collection")
    names = {str(entry["name"]) for entry in prepared.data}
    if unknown := sorted(set(licences) - names):
        raise InvalidInputError(
            f"--data-licence {unknown[0]}: the collections are {', '.join(sorted(names))}",
            "data-licence",
        )
    if job.device not in {"cpu", "cuda", "cuda:0"}:
        raise InvalidInputError(
            f"cannot train on {job.device}: give cpu or cuda, and choose among several GPUs with "
            "CUDA_VISIBLE_DEVICES",
            "device",
        )
    if job.device == "cpu" and job.recipe.training.precision == "fp16":
        raise InvalidInputError("training.precision fp16 needs a GPU; a CPU has bf16", "device")
    if job.device != "cpu" and not torch.cuda.is_available():
        raise InvalidInputError(f"there is no {job.device} on this machine", "device")


def _fit(job: Job, prepared: Prepared, folder: RunFolder) -> dict[str, Any]:
    training = job.recipe.training
    watch = Watch(job.say, training.batch_size * training.accumulation)
    trainer = _trainer(job, prepared, folder, watch)
    checkpoint = folder.newest_checkpoint()
    began = time.monotonic()
    if checkpoint is not None and is_ended(checkpoint):
        _restore(trainer, checkpoint)
    else:
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    prepared.model.eval()
    state = trainer.state
    return {
        "history": state.log_history,
        "steps": state.global_step,
        "best_step": state.best_global_step or state.global_step,
        "best_validation_loss": state.best_metric,
        "seconds": time.monotonic() - began,
        "examples_per_second": watch.examples_per_second,
        "precision": precision_of(job),
    }


def _restore(trainer: Any, checkpoint: Path) -> None:
    """As training's end would have left it: state of the last checkpoint, weights of the best."""
    trainer.state = trainer.state.load_from_json(str(checkpoint / "trainer_state.json"))
    best = trainer.state.best_global_step
    kept = checkpoint.with_name(f"checkpoint-{best}") if best else checkpoint
    trainer._load_from_checkpoint(str(kept))


class _Checkpoints:
    """Checkpoints hold a model and no pickle of the arguments; the model card is ours."""

    model: Any
    state: Any
    _load_from_checkpoint: Any

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:  # noqa: ARG002
        folder = Path(output_dir or "")
        folder.mkdir(parents=True, exist_ok=True)
        self.model.save_pretrained(str(folder), create_model_card=False)

    def add_model_card_callback(self, default_args_dict: dict[str, Any]) -> None:
        """None: it would ask the hub about base and data."""

    def _load_best_model(self) -> None:
        # The library's own only logs what goes wrong here, and the last weights would stay.
        self._load_from_checkpoint(self.state.best_model_checkpoint)


class _BiEncoderTrainer(_Checkpoints, SentenceTransformerTrainer):
    pass


class _CrossEncoderTrainer(_Checkpoints, CrossEncoderTrainer):
    pass


def _trainer(job: Job, prepared: Prepared, folder: RunFolder, watch: Watch) -> Any:
    is_cross_encoder = isinstance(prepared.model, CrossEncoder)
    arguments: Any = (
        CrossEncoderTrainingArguments if is_cross_encoder else SentenceTransformerTrainingArguments
    )
    make: Any = _CrossEncoderTrainer if is_cross_encoder else _BiEncoderTrainer
    extra: dict[str, Any] = {"loss": prepared.loss}
    if prepared.collate is not None:
        arguments, make, extra = TrainingArguments, Trainer, {"data_collator": prepared.collate}
    validates = len(prepared.validation) > 0
    callbacks: list[TrainerCallback] = [*prepared.callbacks, watch, _tensorboard(folder)]
    if validates and job.recipe.training.patience:
        callbacks.append(EarlyStoppingCallback(job.recipe.training.patience))
    trainer = make(
        model=prepared.model,
        args=arguments(**trainer_arguments(job, prepared, folder.checkpoints)),
        train_dataset=prepared.train,
        eval_dataset=prepared.validation if validates else None,
        callbacks=callbacks,
        **extra,
    )
    trainer.remove_callback(PrinterCallback)  # `watch` says it, once
    return trainer


def _tensorboard(folder: RunFolder) -> TrainerCallback:
    try:
        from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415
        from transformers.integrations.integration_utils import TensorBoardCallback  # noqa: PLC0415
    except ImportError as error:
        raise TrainingError(f"training needs more packages: {install_command('train')}") from error
    writer = SummaryWriter(str(folder.logs))
    callback: TrainerCallback = TensorBoardCallback(writer)  # type: ignore[no-untyped-call]
    return callback
