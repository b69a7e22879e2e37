"""Listwise softmax over one positive and its negatives, for the interaction head."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pad_sequence

from service.reranker.interaction import InteractionHead, query_information
from service.training.training_states import TrainingStates


class ListwiseInteraction(nn.Module):
    """A head under the loss `-log softmax(scores)[positive]`, the mean over queries.

    The positive is first in each query's list. Softmax over a list of hard negatives: Gao, Dai
    and Callan, "Rethink Training of BERT Rerankers in Multi-Stage Retrieval Pipeline", ECIR 2021.
    """

    def __init__(self, head: InteractionHead) -> None:
        super().__init__()
        self.head = head

    def forward(
        self,
        query_states: Tensor,
        query_information: Tensor,
        query_ids: Tensor,
        passage_states: Tensor,
        passage_mask: Tensor,
        passage_ids: Tensor,
        cosines: Tensor,
        return_loss: bool = True,  # noqa: ARG002 - transformers' trainer looks for this name
    ) -> Mapping[str, Tensor]:
        """Loss and scores (queries, listed) of what `Collator` gives."""
        queries, listed = cosines.shape

        def spread(rows: Tensor) -> Tensor:
            return rows.repeat_interleave(listed, 0)

        scores = self.head(
            (
                spread(self.head.vectors(query_states)),
                spread(self.head.weights(query_states, query_information)),
                spread(query_ids),
            ),
            (self.head.vectors(passage_states), passage_mask, passage_ids),
            cosines.flatten(),
        ).view(queries, listed)
        right = torch.zeros(queries, dtype=torch.long, device=scores.device)
        return {"loss": cross_entropy(scores, right), "scores": scores}


class Collator:
    """Rows `{"query": place, "passages": [places, the positive's first]}` to padded tensors."""

    def __init__(
        self,
        queries: TrainingStates,
        passages: TrainingStates,
        information: Tensor,
        prefix_tokens: int,
    ) -> None:
        """`information` (pieces,) as from `piece_information`; queries start with their prefix."""
        self._queries, self._passages = queries, passages
        self._information, self._prefix_tokens = information, prefix_tokens

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        """The arguments of `ListwiseInteraction.forward`."""
        queries = [self._queries.text(row["query"]) for row in rows]
        passages = [self._passages.text(place) for row in rows for place in row["passages"]]
        query_states, query_ids = zip(*queries, strict=True)
        passage_states, passage_ids = zip(*passages, strict=True)
        told = [query_information(self._information, q, self._prefix_tokens) for q in query_ids]
        cosines = [
            self._passages.pooled[row["passages"]] @ self._queries.pooled[row["query"]]
            for row in rows
        ]
        lengths = torch.tensor([len(ids) for ids in passage_ids])
        return {
            "query_states": _padded(query_states),
            "query_information": _padded(told),
            "query_ids": _padded(query_ids),
            "passage_states": _padded(passage_states),
            "passage_mask": torch.arange(int(lengths.max())) < lengths[:, None],
            "passage_ids": _padded(passage_ids),
            "cosines": torch.from_numpy(np.stack(cosines)),
        }


def _padded(rows: Sequence[Tensor]) -> Tensor:
    return pad_sequence(list(rows), batch_first=True)
