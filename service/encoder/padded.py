"""A transformer of any make, run by its own library over texts that are padded to one length."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad
from torch.nn.utils.rnn import pad_sequence

_STEP = 8
"""Texts are padded to a multiple of this many tokens: a matrix product gives a row the same bits
beside other rows where their number is such a multiple, and others where it is not (measured)."""

_ALIKE = 64
"""Texts of up to this many tokens, such as queries, are only batched with those that are padded to
the same length, so that their vectors are the same bits alone and in any company."""

_PADDING = 1
"""Any piece would do: the mask hides it."""


class Padded:
    """Takes and gives what `SideBySide` does, in float32 on any device."""

    def __init__(self, model: nn.Module, longest: int) -> None:
        """Take a loaded model; `longest` is the most tokens that it reads."""
        self._model, self._longest = model, longest

    def __call__(self, rows: Sequence[Sequence[int]], layers: Sequence[int] = ()) -> list[Tensor]:
        """As `SideBySide`; rows come longest first."""
        parts = [self._seen(part, padded, layers) for part, padded in self._parts(rows)]
        return [torch.cat(states) for states in zip(*parts, strict=True)]

    def _parts(self, rows: Sequence[Sequence[int]]) -> Iterator[tuple[list[Sequence[int]], int]]:
        """The rows with the short ones in parts of one padded length each, and that length."""

        def padded(row: Sequence[int]) -> int:
            return min(-(-len(row) // _STEP) * _STEP, self._longest)

        for _, group in groupby(rows, key=lambda row: min(padded(row), _ALIKE + 1)):
            part = list(group)
            yield part, padded(part[0])

    def _seen(
        self, rows: Sequence[Sequence[int]], padded: int, layers: Sequence[int]
    ) -> list[Tensor]:
        tensors = [torch.tensor(row) for row in rows]
        # The others are padded with the first.
        tensors[0] = pad(tensors[0], (0, padded - len(tensors[0])), value=_PADDING)
        pieces = pad_sequence(tensors, batch_first=True, padding_value=_PADDING)
        lengths = torch.tensor([len(row) for row in rows])
        mask = torch.arange(padded) < lengths[:, None]
        device = next(self._model.parameters()).device
        # Naming the layers leaves the others out of memory.
        output: Any = self._model(
            input_ids=pieces.to(device),
            attention_mask=mask.long().to(device),
            output_hidden_states=sorted(set(layers)) or False,
        )
        seen = [output.last_hidden_state, *(output.hidden_states[layer] for layer in layers)]
        return [states.float().cpu()[mask] for states in seen]
