"""Batches of rows of like length."""

import itertools

from datasets import Dataset

from service.training.lists import LengthBuckets


def rows(count: int) -> Dataset:
    return Dataset.from_dict({"passages": [["a" * (n * 37 % 101 + 1), "b"] for n in range(count)]})


def batches(data: Dataset, *, epoch: int = 0, seed: int = 5) -> list[list[int]]:
    sampler = LengthBuckets(data, batch_size=4, drop_last=False, seed=seed)
    sampler.set_epoch(epoch)
    found = list(sampler)
    assert len(found) == len(sampler)
    return found


def spread(data: Dataset, found: list[list[int]]) -> float:
    lengths = [len(row[0]) for row in data["passages"]]
    ranges = [max(lengths[i] for i in b) - min(lengths[i] for i in b) for b in found]
    return sum(ranges) / len(ranges)


def test_every_row_comes_once_an_epoch_and_batches_hold_like_lengths() -> None:
    data = rows(102)
    found = batches(data)
    assert sorted(itertools.chain(*found)) == list(range(102))
    assert spread(data, found) < 10


def test_order_depends_on_seed_and_epoch_alone() -> None:
    data = rows(40)
    assert batches(data) == batches(data)
    assert batches(data) != batches(data, epoch=1)
    assert batches(data) != batches(data, seed=6)


def test_batches_do_not_come_by_length() -> None:
    data = rows(80)
    firsts = [len(data["passages"][batch[0]][0]) for batch in batches(data)]
    assert firsts != sorted(firsts)


def test_scripts_are_measured_in_bytes() -> None:
    texts = ["ก" * 10, "a" * 30, "я" * 3, "b" * 6]
    data = Dataset.from_dict({"passages": [[text] for text in texts]})
    sampler = LengthBuckets(data, batch_size=2, drop_last=False, seed=0)
    assert sorted(map(sorted, sampler)) == [[0, 1], [2, 3]]
