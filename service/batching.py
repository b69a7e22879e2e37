"""Batches bounded by tokens, so that memory and padding are bounded whatever the texts."""

from collections.abc import Iterator, Sequence


def token_batches(lengths: Sequence[int], budget: int) -> Iterator[list[int]]:
    """Indices of `lengths` in batches, longest texts first, each index once.

    A batch of n texts whose longest has m tokens costs n * m tokens, padding counted; that stays
    within `budget`, except that a text longer than the budget is a batch of its own. Longest first
    means that too small a memory fails at once and not in the end.
    """
    batch: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        if batch and (len(batch) + 1) * lengths[batch[0]] > budget:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch
