"""What another reranker says of the pairs that a model is trained on."""

from collections.abc import Sequence

import torch

from service.engine.build import build_reranker
from service.evaluation.logits import CachedReranker
from service.settings import Settings
from service.training.arguments import precision_of
from service.training.system import Job

_PAIRS_AT_ONCE = 512
"""What a kill can cost, at most."""


def teacher_logits(
    job: Job, teacher: str, lists: Sequence[tuple[str, Sequence[str]]]
) -> list[list[float]]:
    """Logits of `teacher`, a reranker's name or folder, for lists (query, passages), in order.

    They are kept in the cache folder, so that a training that is resumed asks only for the rest.
    Raises `ModelError` where it cannot be loaded.
    """
    precision = precision_of(job)
    backend = "torch-bf16" if precision == "bf16" else "torch"
    changes = {"reranker": teacher, "device": job.device, "rerank_backend": backend}
    settings = (job.settings or Settings()).model_copy(update=changes)
    reranker = build_reranker(settings)
    if reranker is None:
        raise ValueError("a teacher is a model, not none")
    path = settings.cache_dir / "training" / f"{reranker.weights_sha256[:16]}.db"
    variant = f"window {settings.rerank_max_length}, {precision}"
    pairs = [(query, passage) for query, passages in lists for passage in passages]
    logits: list[float] = []
    with (
        CachedReranker(reranker, path, variant=variant) as kept,
        torch.autocast(job.device.partition(":")[0], torch.bfloat16, enabled=precision == "bf16"),
    ):
        for start in range(0, len(pairs), _PAIRS_AT_ONCE):
            found = kept.score_pairs(pairs[start : start + _PAIRS_AT_ONCE])
            logits += [score.logit for score in found]
    rest = iter(logits)
    return [[next(rest) for _ in passages] for _query, passages in lists]
