"""The loss of a cross-encoder over lists: one right passage and several wrong ones a query."""

from collections.abc import Sequence
from typing import Any

import torch
from sentence_transformers import CrossEncoder
from sentence_transformers.util import batch_to_device
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, kl_div, log_softmax
from torch.nn.utils.rnn import pad_sequence

_NOWHERE = -1e4
"""The logit of a place that no passage has: its share of any softmax is 0."""


class RankedListLoss(nn.Module):
    """`listwise * L + bce * B + teacher * D` over the logits s of each query's list.

    - L = -log softmax(s)[right], which compares the passages of a list (Gao, Dai and Callan,
      "Rethink Training of BERT Rerankers in Multi-Stage Retrieval Pipeline", ECIR 2021);
    - B = binary cross-entropy of each pair, in which a right one counts `pos_weight` times: it
      gives logits of different queries one scale;
    - D = KL(softmax(t) || softmax(s)) against a teacher's logits t of the same list (Hinton,
      Vinyals and Dean, "Distilling the Knowledge in a Neural Network", 2015; over lists of
      passages: Ren et al., "RocketQAv2", EMNLP 2021).

    L and D are means over lists, B is one over pairs. `at_once` pairs go through the model
    together, of like length, so that little is padded; 0 takes all.

    Inputs: queries (n), lists of passages (n, ragged) and, where `teacher` is above 0, the
    teacher's logits (n, ragged). Labels: 1 or 0 for each passage, at least one 1 a list.
    """

    def __init__(
        self,
        model: CrossEncoder,
        *,
        listwise: float = 1.0,
        bce: float = 0.5,
        teacher: float = 0.0,
        pos_weight: float = 1.0,
        at_once: int = 0,
    ) -> None:
        super().__init__()
        self.model = model
        self._weights = (listwise, bce, teacher)
        self._at_once = at_once
        self._pos_weight = pos_weight

    def forward(
        self,
        inputs: Sequence[Sequence[Any]],
        labels: Sequence[Tensor],
        prompt: str | None = None,  # noqa: ARG002 - the trainer passes both
        task: str | None = None,  # noqa: ARG002
    ) -> Tensor:
        """The loss of a batch, a scalar."""
        queries, lists, *teachers = inputs
        listwise, bce, teacher = self._weights
        pairs = [(q, p) for q, passages in zip(queries, lists, strict=True) for p in passages]
        logits = self.logits(pairs, self._at_once)
        right = [label.float().to(logits.device) for label in labels]
        by_list = torch.split(logits, [len(row) for row in right])
        logs = log_softmax(_padded(by_list, _NOWHERE), dim=1)
        chosen = _padded(right, 0.0)
        loss = listwise * -((logs * chosen).sum(1) / chosen.sum(1)).mean()
        if bce:
            loss = loss + bce * binary_cross_entropy_with_logits(
                logits, torch.cat(right), pos_weight=logits.new_tensor(self._pos_weight)
            )
        if teacher:
            told = [torch.tensor(row, device=logits.device).float() for row in teachers[0]]
            wanted = log_softmax(_padded(told, _NOWHERE), dim=1)
            loss = loss + teacher * kl_div(logs, wanted, log_target=True, reduction="batchmean")
        return loss

    def logits(self, pairs: Sequence[tuple[str, str]], at_once: int = 0) -> Tensor:
        """The model's logits, float32 (pairs,), in input order."""
        order = sorted(range(len(pairs)), key=lambda i: len(pairs[i][1].encode()))
        step = at_once or len(order)
        parts = []
        for start in range(0, len(order), step):
            features = self.model.preprocess([pairs[i] for i in order[start : start + step]])
            found = self.model(batch_to_device(features, self.model.device))["scores"]
            parts.append(found.view(-1).float())
        back = torch.tensor(order, device=parts[0].device).argsort()
        return torch.cat(parts)[back]


def _padded(rows: Sequence[Tensor], value: float) -> Tensor:
    return pad_sequence(list(rows), batch_first=True, padding_value=value)
