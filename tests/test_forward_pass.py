from hypothesis import given
from hypothesis import strategies as st

from service.forward_pass import token_batches

LENGTHS = st.lists(st.integers(0, 600), max_size=60)


@given(LENGTHS, st.integers(1, 2000))
def test_each_index_comes_exactly_once(lengths: list[int], budget: int) -> None:
    indices = [i for batch in token_batches(lengths, budget) for i in batch]
    assert sorted(indices) == list(range(len(lengths)))


@given(LENGTHS, st.integers(1, 2000))
def test_a_batch_with_its_padding_is_within_the_budget(lengths: list[int], budget: int) -> None:
    for batch in token_batches(lengths, budget):
        assert len(batch) == 1 or len(batch) * max(lengths[i] for i in batch) <= budget


@given(LENGTHS, st.integers(1, 2000))
def test_lengths_fall_from_batch_to_batch(lengths: list[int], budget: int) -> None:
    order = [lengths[i] for batch in token_batches(lengths, budget) for i in batch]
    assert order == sorted(lengths, reverse=True)


def test_a_text_longer_than_the_budget_is_alone() -> None:
    assert list(token_batches([10, 900, 10], 100)) == [[1], [0, 2]]


def test_a_batch_is_filled_up_to_the_budget() -> None:
    assert list(token_batches([25, 25, 25, 25, 25], 100)) == [[0, 1, 2, 3], [4]]


def test_nothing_makes_no_batch() -> None:
    assert list(token_batches([], 100)) == []
