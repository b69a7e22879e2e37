"""The interaction head: how well a passage's tokens answer a query's, beside their cosine.

Late interaction as in Khattab and Zaharia, "ColBERT" (SIGIR 2020), over token states that the
bi-encoder computes anyway, as in MacAvaney et al., "PreTTR" (SIGIR 2020): for each query token the
best match among the passage's tokens, weighted by how much that token tells.
"""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.functional import normalize

from service.errors import ModelSourceError
from service.models.prepared import Recipe, prepared_folder, sound_folder

CONFIG = "config.json"
WEIGHTS = "model.safetensors"

_KEPT = "pieces.npy"
_KEPT_KEY = "version 1"
"""Changes when the file would become another than before."""

COMMON = 4.0
"""Information, in nats, up to which a piece counts for nothing: one in 55 pieces is such a one."""
RARE = 13.0
"""Information from which a piece counts no more than any rarer one."""


class InteractionConfig(BaseModel):
    """What a head is built on. `layers` of the base, 0 for its embeddings; `hidden` their size."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model_type: Literal["secondpass-interaction"] = "secondpass-interaction"
    base: str
    base_weights_sha256: str
    query_prefix: str
    passage_prefix: str
    layers: tuple[int, ...]
    hidden: int = Field(ge=1)
    dimension: int = Field(ge=1)
    query_tokens: int = Field(512, ge=8)
    passage_tokens: int = Field(256, ge=8)


class InteractionHead(nn.Module):
    """score = scale x (cosine + match x sum over query tokens of weight x best match).

    A token's vector is a projection of its states, of unit length. The best match of a query token
    is the highest inner product with a passage token's vector, to which `exact` is added where
    both are the same piece. Weights are a query's own, sum to 1, and start as the pieces'
    information; `importance` learns what the states say besides. With `match` 0 the score is the
    scaled cosine.
    """

    def __init__(self, config: InteractionConfig) -> None:
        """Scale 50, match 1, an identity of sorts: train it, or load weights."""
        super().__init__()
        self.config = config
        size = len(config.layers) * config.hidden
        self.project = nn.Linear(size, config.dimension)
        self.importance = nn.Linear(size, 1, bias=False)
        nn.init.zeros_(self.importance.weight)
        self.scale = nn.Parameter(torch.tensor(50.0))
        self.match = nn.Parameter(torch.tensor(1.0))
        self.exact = nn.Parameter(torch.tensor(0.0))

    def vectors(self, states: Tensor) -> Tensor:
        """States (..., layers x hidden) -> unit vectors (..., dimension)."""
        return normalize(self.project(states), dim=-1)

    def weights(self, states: Tensor, information: Tensor) -> Tensor:
        """Weights (queries, tokens) of query tokens, each row summing to 1, or all 0.

        `information` (queries, tokens) is in nats, 0 for padding, prefix and special tokens.
        """
        told = (information - COMMON).clamp(0.0, RARE - COMMON)
        # Bounded, so that no token can silence all others.
        learned = torch.exp(2.0 * torch.tanh(self.importance(states).squeeze(-1)))
        weights = told * learned
        return weights / weights.sum(-1, keepdim=True).clamp_min(1e-6)

    def forward(
        self,
        query: tuple[Tensor, Tensor, Tensor],
        passage: tuple[Tensor, Tensor, Tensor],
        cosines: Tensor,
    ) -> Tensor:
        """Scores (pairs,) of queries (vectors, weights, ids) with passages (vectors, mask, ids).

        All of them padded to (pairs, tokens, ...); the mask is True for tokens; `cosines` (pairs,).
        """
        query_vectors, weights, query_ids = query
        passage_vectors, mask, passage_ids = passage
        similar = query_vectors @ passage_vectors.transpose(1, 2)
        similar = similar + self.exact * (query_ids[:, :, None] == passage_ids[:, None, :])
        best = similar.masked_fill(~mask[:, None, :], -1.0).amax(-1)
        return self.scale * (cosines + self.match * (weights * best).sum(-1))

    def save(self, folder: Path) -> None:
        """Write configuration and weights (float16) into a folder."""
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(self.config.model_dump(mode="json"), indent=2)
        (folder / CONFIG).write_text(text + "\n", encoding="utf-8")
        tensors = {name: value.half().contiguous() for name, value in self.state_dict().items()}
        save_file(tensors, folder / WEIGHTS)

    @classmethod
    def load(cls, folder: Path) -> "InteractionHead":
        """Read what `save` wrote; raises `ModelSourceError` where it is something else."""
        head = cls(read_config(folder))
        try:
            tensors = load_file(folder / WEIGHTS)
            head.load_state_dict({name: value.float() for name, value in tensors.items()})
        except (OSError, SafetensorError, RuntimeError) as error:
            raise ModelSourceError(f"{folder / WEIGHTS} cannot be read: {error}") from error
        return head.eval()


def read_config(folder: Path) -> InteractionConfig:
    """A head's configuration; raises `ModelSourceError` where there is none."""
    try:
        text = (folder / CONFIG).read_text(encoding="utf-8")
        return InteractionConfig.model_validate_json(text)
    except (OSError, UnicodeDecodeError, ValidationError) as error:
        raise ModelSourceError(f"{folder} is no interaction reranker: {error}") from error


def piece_information(folder: Path, kept: Path | None = None) -> Tensor:
    """How much each piece of the vocabulary tells, float32 (pieces,), natural logarithm.

    A Unigram tokenizer carries each piece's log probability over its training text; its negative
    is Shannon's information content, an inverse frequency for every language at once, with no
    corpus. Special pieces have no information. Other tokenizers have no such numbers: all their
    pieces get the same information. `kept` is a folder for the result, of this model's own: to read
    it takes a hundredth of the time of the tokenizer. It is written unless it is there, undamaged.
    """
    if kept and sound_folder(kept, _KEPT_KEY):
        return torch.from_numpy(np.load(kept / _KEPT, allow_pickle=False))
    model, special = _vocabulary(folder)
    pieces = model["vocab"]
    if model.get("type") == "Unigram":
        told = torch.tensor([-float(score) for _piece, score in pieces])
    else:
        told = torch.full((len(pieces),), 10.0)
    told[[i for i in special if i < len(told)]] = 0.0
    if kept:
        recipe = Recipe(_KEPT_KEY, lambda made: np.save(made / _KEPT, told.numpy()))
        with suppress(ModelSourceError):
            prepared_folder(kept.parent, kept.name, recipe)
    return told


def query_information(information: Tensor, ids: Tensor, prefix_tokens: int) -> Tensor:
    """What each piece of a query tells, float32 (tokens,): its prefix nothing."""
    told: Tensor = information[ids.clamp_max(len(information) - 1)].clone()
    told[:prefix_tokens] = 0.0
    return told


def _vocabulary(folder: Path) -> tuple[dict[str, Any], list[int]]:
    try:
        raw = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
        return raw["model"], [int(t["id"]) for t in raw["added_tokens"] if t["special"]]
    except (OSError, ValueError, KeyError) as error:
        raise ModelSourceError(f"{folder} has no readable tokenizer.json: {error}") from error
