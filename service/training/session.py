"""A training from its recipe to its folder."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import torch
from transformers.utils import logging as transformers_logging

from service.errors import InvalidInputError, ModelSourceError
from service.models.registry import REGISTRY
from service.models.sources import prepare
from service.settings import Settings
from service.training.callbacks import OnProgress
from service.training.recipe import Recipe
from service.training.system import Job
from service.training.systems.known_systems import load_system
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
    return train(
        job,
        prepare_system(job),
        resume=resume,
        overwrite=overwrite,
        on_progress=on_progress,
        licences=licences,
    )


def _base(name: str, settings: Settings) -> Path:
    """A base may be of either kind: a bi-encoder becomes a cross-encoder with a new head."""
    find = partial(prepare, name, cache_dir=settings.cache_dir, offline=settings.hub_offline)
    if name in REGISTRY:
        return find(REGISTRY[name].kind).folder
    try:
        return find("bi-encoder").folder
    except ModelSourceError:
        return find("cross-encoder").folder
