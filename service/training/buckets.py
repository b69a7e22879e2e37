"""Batches of rows of like length, so that little of a batch is padding."""

from collections.abc import Iterator
from typing import Any

import torch
from sentence_transformers.base.sampler import DefaultBatchSampler

_BATCHES_A_BUCKET = 50
"""Number of batches that are drawn at random and then divided by length."""


class LengthBuckets(DefaultBatchSampler):
    """Shuffles in each epoch, by seed and epoch alone; rows have a list of texts, `passages`.

    A row is as long as its longest passage in UTF-8, whose bytes are nearer to tokens than its
    characters are where scripts differ.
    """

    def __iter__(self) -> Iterator[list[int]]:
        """Places of rows, a batch at a time; all of them once an epoch."""
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
