"""How much each piece of a vocabulary tells: the weights that a head starts from."""

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from service.errors import ModelSourceError


def piece_information(folder: Path) -> Tensor:
    """How much each piece of the vocabulary tells, float32 (pieces,), natural logarithm.

    A Unigram tokenizer carries each piece's log probability over its training text; its negative
    is Shannon's information content, an inverse frequency for every language at once, with no
    corpus at hand. Special pieces tell nothing. Other tokenizers have no such numbers: all their
    pieces tell alike.
    """
    model, special = _vocabulary(folder)
    pieces = model["vocab"]
    if model.get("type") == "Unigram":
        told = torch.tensor([-float(score) for _piece, score in pieces])
    else:
        told = torch.full((len(pieces),), 10.0)
    told[[i for i in special if i < len(told)]] = 0.0
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
