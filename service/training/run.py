"""A training from its recipe to its folder."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import torch
from transformers.utils import logging as transformers_logging

from service.errors import InvalidInputError, ModelSourceError
from service.models.registry import REGISTRY, Kind
from service.models.sources import PreparedModel, prepare
from service.settings import Settings
from service.training.callbacks import OnProgress
from service.training.recipe import Recipe
from service.training.system import Job
from service.training.systems.registry import load_system
from service.training.trainer import Outcome, train


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
    """Train a recipe on labels; `service.training.trainer.train` says the rest.

    Of the settings it takes cache folder, hub, device and threads. Raises `InvalidInputError` for
    labels that cannot be read, and `UnknownModelError` for a base that is not at hand.
    """
    system = load_system(recipe.system)
    for path in collections:
        if not path.exists():
            raise InvalidInputError(f"{path}: there is no such file or folder", "collection")
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    transformers_logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    if settings.threads:
        torch.set_num_threads(settings.threads)
    base = _base(recipe.base, settings)
    device = _device(settings.device)
    job = Job(recipe, tuple(collections), base.folder, out, device, settings, on_progress)
    return train(
        job,
        system.prepare(job),
        resume=resume,
        overwrite=overwrite,
        on_progress=on_progress,
        licences=licences,
    )


def _base(name: str, settings: Settings) -> PreparedModel:
    """A base may be of either kind: a bi-encoder becomes a cross-encoder with a new head."""
    spec = REGISTRY.get(name)
    kinds: tuple[Kind, ...] = (spec.kind,) if spec else ("bi-encoder", "cross-encoder")
    find = partial(prepare, name, cache_dir=settings.cache_dir, offline=settings.hub_offline)
    for kind in kinds[:-1]:
        try:
            return find(kind)
        except ModelSourceError:
            continue
    return find(kinds[-1])


def _device(stated: str) -> str:
    if stated == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return stated
