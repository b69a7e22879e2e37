import pytest
import torch

from service.encoder.four_bits import pack, unpack

WEIGHTS = torch.randn(40, 64, generator=torch.Generator().manual_seed(5))


def test_what_lies_on_the_levels_comes_back_exactly() -> None:
    levels = torch.arange(16).repeat(2, 4)
    weights = (levels - 7.5) * torch.tensor([[0.25], [4.0]])
    assert torch.equal(unpack(*pack(weights, 16)), weights)


def test_two_weights_take_a_byte_and_a_block_one_scale() -> None:
    levels, scales = pack(WEIGHTS, 16)
    assert (levels.dtype, tuple(levels.shape)) == (torch.uint8, (40, 32))
    assert (scales.dtype, tuple(scales.shape)) == (torch.float16, (40, 4))


def test_the_error_is_near_the_least_that_sixteen_even_levels_allow() -> None:
    error = (unpack(*pack(WEIGHTS, 32)) - WEIGHTS).square().mean() / WEIGHTS.square().mean()
    assert error < 0.0115  # of a normal distribution, with the best step for all of it


def test_packing_again_changes_nothing() -> None:
    once = unpack(*pack(WEIGHTS, 32))
    assert torch.equal(unpack(*pack(once, 32)), once)


def test_a_block_of_zeros_stays_next_to_zero() -> None:
    assert unpack(*pack(torch.zeros(2, 8), 4)).abs().max() < 1e-6


@pytest.mark.parametrize("block", [0, 1, 3, 24, 128])
def test_a_block_that_does_not_fit_is_refused(block: int) -> None:
    with pytest.raises(ValueError, match=f"blocks of {block}"):
        pack(WEIGHTS, block)


def test_scales_that_do_not_fit_are_refused() -> None:
    levels, scales = pack(WEIGHTS, 16)
    with pytest.raises(ValueError, match="do not fit"):
        unpack(levels, scales[:-1])
    with pytest.raises(ValueError, match="do not fit"):
        unpack(levels, scales[:, :3])
