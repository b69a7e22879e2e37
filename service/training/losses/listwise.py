"""Listwise softmax for the interaction head, over token states that are kept on the disk."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize
from torch.nn.utils.rnn import pad_sequence

from service.durable import new_folder
from service.protocols import TokenEncoder
from service.reranker.interaction import InteractionHead, query_information

_AT_ONCE = 64
"""Texts that are encoded between two writes."""


@dataclass(frozen=True, slots=True)
class TrainingStates:
    """States of some texts, memory-mapped.

    `states` float16 (tokens, layers x hidden), each layer's of unit length; text i has the rows
    `offsets[i]:offsets[i + 1]`. `ids` int32 (tokens,). `pooled` float32 (texts, hidden), unit rows.
    """

    states: NDArray[np.float16]
    ids: NDArray[np.int32]
    offsets: NDArray[np.int64]
    pooled: NDArray[np.float32]
    layers: int

    def __len__(self) -> int:
        return len(self.pooled)

    def text(self, index: int) -> tuple[Tensor, Tensor]:
        """States float32 (tokens, layers x hidden) and ids int64 (tokens,) of one text."""
        rows = slice(int(self.offsets[index]), int(self.offsets[index + 1]))
        states = torch.from_numpy(np.asarray(self.states[rows], np.float32))
        per_layer = states.view(len(states), self.layers, -1)
        return normalize(per_layer, dim=-1).flatten(1), torch.from_numpy(self.ids[rows]).long()


def store_states(
    folder: Path, texts: Sequence[str], encoder: TokenEncoder, *, window: int, layers: Sequence[int]
) -> TrainingStates:
    """Encode texts (with their prefix) into a folder, unless they are there already.

    The folder takes its name when it is whole; what a kill left is made again.
    """
    if not folder.exists():
        with new_folder(folder) as unfinished:
            _write(unfinished, texts, encoder, window, layers)
    return _read(folder, len(layers))


def _write(
    folder: Path, texts: Sequence[str], encoder: TokenEncoder, window: int, layers: Sequence[int]
) -> None:
    ids: list[NDArray[np.int32]] = []
    pooled = []
    with (folder / "states.f16").open("wb") as file:
        for start in range(0, len(texts), _AT_ONCE):
            for seen in encoder.states(texts[start : start + _AT_ONCE], window, layers):
                file.write(seen.states.astype(np.float16).tobytes())
                ids.append(seen.ids)
                pooled.append(seen.pooled)
    offsets = np.concatenate([[0], np.cumsum([len(own) for own in ids])]).astype(np.int64)
    np.savez(
        folder / "index.npz", ids=np.concatenate(ids), pooled=np.stack(pooled), offsets=offsets
    )


def _read(folder: Path, layers: int) -> TrainingStates:
    states = np.memmap(folder / "states.f16", np.float16, mode="r")
    with np.load(folder / "index.npz") as index:
        by_token = states.reshape(len(index["ids"]), -1)
        return TrainingStates(by_token, index["ids"], index["offsets"], index["pooled"], layers)


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
