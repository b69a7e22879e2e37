"""BERT's layers over the tokens of many texts side by side, with little padding and in one call.

Linear layers see all tokens at once, attention sees each text alone. So a text's states depend on
the other texts of its pass only by how a matrix product rounds: in float32 the cosine of a vector
alone and in company is 1 within 1e-6, in bfloat16 within 1e-4.
"""

from collections.abc import Iterator, Sequence
from functools import cache
from itertools import accumulate, chain, groupby
from typing import Any, NamedTuple
from warnings import catch_warnings, simplefilter

import torch
from torch import Tensor
from torch.nn.functional import layer_norm, scaled_dot_product_attention

from service.encoder.bert_folder import EMBEDDINGS_NORM, POSITIONS, TYPES, Bert

_STEP, _LONG = 16, 128
"""Attention takes a third less time for a number of tokens that 16 divides. With a shorter text,
the other products take longer by as much."""

_LEAST_ROWS = 8
"""A pass has a multiple of this, and of a sixteenth to a thirty-second of its rows."""


class Embeddings:
    """What the first layer reads of each piece. Any thread may call it."""

    def __init__(self, bert: Bert) -> None:
        """Read the positions' weights; those of the pieces are shared."""
        self._words, self._first, self._epsilon = bert.words, bert.first, bert.epsilon
        self._positions = bert.read(POSITIONS).float() + bert.read(TYPES)[0].float()
        self._norm = _of_norm(bert, EMBEDDINGS_NORM, torch.float32)

    def __call__(self, rows: Sequence[Sequence[int]]) -> Tensor:
        """Pieces of each text -> float32 (tokens, hidden), in their order."""
        places = torch.cat([torch.arange(self._first, self._first + len(row)) for row in rows])
        states = self._words(torch.tensor(list(chain.from_iterable(rows))))
        states = states + self._positions[places]
        return layer_norm(states, states.shape[-1:], *self._norm, self._epsilon)


class SideBySide:
    """What a BERT or (XLM-)RoBERTa of transformers computes, on a CPU. Any thread may call it."""

    def __init__(self, bert: Bert, dtype: torch.dtype) -> None:
        """Read the layers' weights in `dtype`; the word embeddings are shared.

        Raises what torch raises where this CPU or this build lacks oneDNN's products.
        """
        self._embed = Embeddings(bert)
        self._dtype, self._heads, self._epsilon = dtype, bert.heads, bert.epsilon
        names = (f"encoder.layer.{layer}." for layer in range(bert.layers))
        self._weights = [t for name in names for t in _weights(bert, name, dtype)]
        self._run = _compiled()

    def __call__(self, rows: Sequence[Sequence[int]], layers: Sequence[int] = ()) -> list[Tensor]:
        """The last layer's states of all tokens in their order, then those of each of `layers`.

        Pieces of each text -> float32 (tokens, hidden) each; 0 is the embeddings. Texts of one
        length are faster next to each other.
        """
        laid = _laid_out([len(row) for row in rows], self._dtype)
        embedded = self._embed(rows)
        states = embedded.new_zeros((laid.size, embedded.shape[1]), dtype=self._dtype)
        states[laid.places] = embedded.to(self._dtype)
        seen = self._run(
            states,
            self._weights,
            laid.groups,
            laid.masks,
            list(layers),
            self._heads,
            self._epsilon,
        )
        return [one[laid.places].float() for one in seen]


class _Layout(NamedTuple):
    """Where the tokens of a pass are among its `size` rows; the other rows are padding.

    `groups` are texts of one padded length next to each other: (texts, length). A mask hides a
    group's padding from attention; it is empty where there is none.
    """

    size: int
    places: Tensor
    groups: list[tuple[int, int]]
    masks: list[Tensor]


def _laid_out(lengths: Sequence[int], dtype: torch.dtype) -> _Layout:
    padded = [_round_up(n, _STEP) if n >= _LONG else n for n in lengths]
    starts = accumulate(padded, initial=0)
    places = [torch.arange(at, at + n) for at, n in zip(starts, lengths, strict=False)]
    groups, masks = [], []
    text = 0
    for length, alike in groupby(padded):
        own = lengths[text : text + len(list(alike))]
        text += len(own)
        groups.append((len(own), length))
        hidden = torch.arange(length) >= torch.tensor(own)[:, None]
        mask = torch.zeros(hidden.shape, dtype=dtype).masked_fill_(hidden, -torch.inf)
        masks.append(mask[:, None, None] if min(own) < length else torch.empty(0))
    # For each new number of rows oneDNN makes code, which costs milliseconds and megabytes.
    total = sum(padded)
    size = _round_up(total, max(_LEAST_ROWS, 1 << max(0, total.bit_length() - 5)))
    return _Layout(size, torch.cat(places), groups, masks)


def _round_up(number: int, step: int) -> int:
    return -(-number // step) * step


def _run(
    states: Tensor,
    weights: list[Tensor],
    groups: list[tuple[int, int]],
    masks: list[Tensor],
    layers: list[int],
    heads: int,
    epsilon: float,
) -> list[Tensor]:
    """Compiled as TorchScript, which holds no lock of the interpreter between the operations."""
    hidden = [states.shape[1]]
    none = torch.empty(0)
    every = [states]
    for layer in range(len(weights) // 12):
        at = weights[12 * layer : 12 * layer + 12]
        mixed = torch.ops.mkldnn._linear_pointwise(states, at[0], at[1], "none", [], "")
        means = torch.zeros_like(states)
        row = 0
        for group, (texts, length) in enumerate(groups):
            rows = texts * length
            own = mixed[row : row + rows].view(texts, length, 3, heads, -1)
            query, key, value = own.permute(2, 0, 3, 1, 4).unbind(0)
            mask = masks[group] if masks[group].numel() else None
            mean = scaled_dot_product_attention(query, key, value, attn_mask=mask)
            means[row : row + rows] = mean.transpose(1, 2).reshape(rows, -1)
            row += rows
        mixed = torch.ops.mkldnn._linear_pointwise(means, at[2], at[3], "none", [], "")
        states = layer_norm(mixed.add_(states), hidden, at[4], at[5], epsilon)
        inner = torch.ops.mkldnn._linear_pointwise(states, at[6], at[7], "gelu", [], "none")
        inner = torch.ops.mkldnn._linear_pointwise(inner, at[8], at[9], "none", [], "")
        states = layer_norm(inner.add_(states), hidden, at[10], at[11], epsilon)
        every.append(states if layer + 1 in layers else none)
    return [states] + [every[layer] for layer in layers]


@cache
def _compiled() -> Any:
    with catch_warnings():
        # The version of torch is pinned, and the function is the same where it is not compiled.
        simplefilter("ignore")
        try:
            return torch.jit.script(_run)
        except RuntimeError:
            return _run


def _weights(bert: Bert, layer: str, dtype: torch.dtype) -> Iterator[Tensor]:
    own = layer + "attention.self."
    yield from _of_linear(bert, [own + "query", own + "key", own + "value"], dtype)
    yield from _of_linear(bert, [layer + "attention.output.dense"], dtype)
    yield from _of_norm(bert, layer + "attention.output.LayerNorm", dtype)
    yield from _of_linear(bert, [layer + "intermediate.dense"], dtype)
    yield from _of_linear(bert, [layer + "output.dense"], dtype)
    yield from _of_norm(bert, layer + "output.LayerNorm", dtype)


def _of_linear(bert: Bert, parts: Sequence[str], dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """One product for all of `parts`, in the layout that oneDNN multiplies fastest."""
    weight = torch.cat([bert.read(f"{part}.weight").to(dtype) for part in parts])
    bias = torch.cat([bert.read(f"{part}.bias").to(dtype) for part in parts])
    packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight, None)
    return packed, bias


def _of_norm(bert: Bert, norm: str, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    return bert.read(f"{norm}.weight").to(dtype), bert.read(f"{norm}.bias").to(dtype)
