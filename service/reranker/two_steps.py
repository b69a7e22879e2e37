"""A cross-encoder in two steps: few layers over all candidates, all layers over the best."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from service.batching import token_batches
from service.errors import ModelSourceError
from service.reranker.early_head import EarlyHead
from service.reranker.forward import Logits, TorchForward
from service.reranker.pair_tokens import TokenPair

STEP = 0.0001
"""Between two scores that would not differ otherwise: a score's last decimal."""

_SAME = {torch.float32: 0.001, torch.bfloat16: 0.05}
"""By how much a probe's logit may differ between one step and two, of its size; on a CPU it does
not, elsewhere attention may be computed in another way where a mask is given."""


class TwoStepForward(TorchForward):
    """The model's own pass, halted behind the early head's layer and gone on with from there.

    Both halves together are the same arithmetic as the whole: on a CPU, where pairs go through one
    at a time, the same number to the bit.
    """

    def __init__(
        self,
        model: Any,
        head: EarlyHead,
        *,
        dtype: torch.dtype,
        batch_tokens: int,
        takes_types: bool,
    ) -> None:
        """Take a classifier as `TorchForward` does, and its early head.

        Raises `ModelSourceError` for a model that has other parts between its layers and its head.
        """
        super().__init__(model, dtype=dtype, batch_tokens=batch_tokens, takes_types=takes_types)
        self._base, self._classifier = model.base_model, model.classifier
        self._head: EarlyHead = head.eval().to(self._device, dtype)
        layers = list(model.base_model.encoder.layer)
        self._first, self._others = layers[: head.layer], layers[head.layer :]
        whole = self._probe()
        _early, states = self.begin([self._PROBE])
        same = _SAME[dtype] * max(1.0, float(np.abs(whole).max()))
        if np.abs(self.finish(states) - whole).max() > same:
            raise ModelSourceError("this cross-encoder's layers cannot be run in two steps")

    def begin(self, pairs: Sequence[TokenPair], /) -> tuple[Logits, list[Tensor]]:
        """The first layers: early logits, float32 (n,), and each pair's states (tokens, hidden)."""
        logits, states = np.empty(len(pairs), np.float32), [torch.empty(0)] * len(pairs)
        with self.exact():
            for batch in self._batches([len(pair.ids) for pair in pairs]):
                inputs = self._inputs([pairs[place] for place in batch])
                mask = _attended(inputs.pop("attention_mask", None))
                found = _through(self._first, self._base.embeddings(**inputs), mask)
                logits[batch] = self._head(found, inputs["input_ids"]).cpu().numpy()
                for row, place in enumerate(batch):
                    count = len(pairs[place].ids)
                    # A view would keep the whole batch.
                    states[place] = found[0] if len(batch) == 1 else found[row, :count].clone()
        return logits, states

    def finish(self, states: Sequence[Tensor], /) -> Logits:
        """The other layers, from the states that `begin` gave: float32 (n,)."""
        logits = np.empty(len(states), np.float32)
        with self.exact():
            for batch in self._batches([len(of) for of in states]):
                padded = nn.utils.rnn.pad_sequence([states[i] for i in batch], batch_first=True)
                lengths = torch.tensor([len(states[i]) for i in batch])
                mask = None
                if len(batch) > 1:
                    mask = torch.arange(padded.shape[1])[None] < lengths[:, None]
                    mask = _attended(mask.to(self._device))
                pooled = self._base.pooler(_through(self._others, padded, mask))
                logits[batch] = self._classifier(pooled)[:, 0].float().cpu().numpy()
        return logits

    def _batches(self, lengths: Sequence[int]) -> Iterable[Sequence[int]]:
        if self._device.type == "cpu":
            return [[place] for place in range(len(lengths))]
        return token_batches(lengths, self._batch_tokens)


def _attended(mask: Tensor | None) -> Tensor | None:
    """(n, tokens) as attention reads it: bool, (n, 1, 1, tokens)."""
    return None if mask is None else mask.bool()[:, None, None, :]


def _through(layers: Iterable[nn.Module], states: Tensor, mask: Tensor | None) -> Tensor:
    for layer in layers:
        states = layer(states, mask)
    return states


def one_scale(early: Sequence[float], full: Mapping[int, float]) -> list[float]:
    """One score a candidate of a query: in input order, higher is better.

    `full` has the logits of the candidates that went through all layers, by place; these are their
    scores. Each other one has its early logit, lowered where it must be so that it stands below all
    of those, and below each of its own kind with a higher early logit, by at least 0.0001. So an
    estimate by few layers never passes a judgement by all of them, and equal early logits stay
    equal. Without any full logit the scores are the early ones.
    """
    scores, last = dict(full), min(full.values(), default=float("inf"))
    rest = [place for place in range(len(early)) if place not in full]
    lowered: dict[float, float] = {}
    for logit in sorted({early[place] for place in rest}, reverse=True):
        last = lowered[logit] = round(min(logit, last - STEP), 4)
    scores |= {place: lowered[early[place]] for place in rest}
    return [scores[place] for place in range(len(early))]
