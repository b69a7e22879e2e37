"""Lists of a query and its passages to train a cross-encoder on: cropped, taught, batched."""

import random
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from sentence_transformers.base.sampler import DefaultBatchSampler

from service.engine.build import build_reranker
from service.evaluation.logits import CachedReranker
from service.settings import Settings
from service.text.chunker import TokenCounter, sentences
from service.training.arguments import precision_of
from service.training.system import Job
from service.words import tokenize

_SHORTEST = 8
"""Tokens; a crop keeps one sentence at least, however long."""


def crop_alike(
    query: str,
    passages: Sequence[str],
    rng: random.Random,
    count_tokens: TokenCounter,
    *,
    longest: int,
) -> list[str]:
    """Each passage as neighbouring sentences of at most a drawn number of tokens, one for all.

    The number is drawn from 8 to `longest`, small ones as often as large ones (log-uniform). A crop
    is around the sentence with most of the query's words, where the answer mostly is; that
    holds for right and wrong passages alike, so neither length nor place tells them apart.
    """
    budget = round(_SHORTEST * (longest / _SHORTEST) ** rng.random())
    words = set(tokenize(query))
    return [_crop(text, words, budget, rng, count_tokens) for text in passages]


def _crop(
    text: str, words: set[str], budget: int, rng: random.Random, count_tokens: TokenCounter
) -> str:
    spans = list(sentences(text, 0))
    if len(spans) < 2:
        return text
    counts = count_tokens([text[start:end] for start, end in spans])
    shared = [len(words.intersection(tokenize(text[start:end]))) for start, end in spans]
    best = max(shared)
    first = last = rng.choice([i for i, count in enumerate(shared) if count == best])
    left = budget - counts[first]
    while True:
        fits = [i for i in (first - 1, last + 1) if 0 <= i < len(spans) and counts[i] <= left]
        if not fits:
            return text[spans[first][0] : spans[last][1]].strip()
        taken = rng.choice(fits)
        left -= counts[taken]
        first, last = min(first, taken), max(last, taken)


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


_BATCHES_A_BUCKET = 50
"""Number of batches that are drawn at random and then divided by length."""


class LengthBuckets(DefaultBatchSampler):
    """Shuffles in each epoch, by seed and epoch alone; rows have a list of texts, `passages`.

    A row is as long as its longest passage in UTF-8, whose bytes are nearer to tokens than its
    characters are where scripts differ.
    """

    def __iter__(self) -> Iterator[list[int]]:
        generator = torch.Generator().manual_seed(self.seed + 1_000_003 * self.epoch)
        rows: Any = self.sampler  # so torch calls what is divided into batches
        lengths = [max(len(text.encode()) for text in row) for row in rows[:]["passages"]]
        order = torch.randperm(len(lengths), generator=generator).tolist()
        bucket = self.batch_size * _BATCHES_A_BUCKET
        for start in range(0, len(order), bucket):
            places = sorted(
                order[start : start + bucket], key=lambda place: (lengths[place], place)
            )
            batches = [
                places[i : i + self.batch_size] for i in range(0, len(places), self.batch_size)
            ]
            for i in torch.randperm(len(batches), generator=generator).tolist():
                if len(batches[i]) == self.batch_size or not self.drop_last:
                    yield batches[i]
