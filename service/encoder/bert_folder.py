"""The weights of a BERT, RoBERTa or XLM-RoBERTa, read from its folder without transformers.

To import that library's models takes seconds and 150 MB. What this module does not know of a
folder's configuration is left to the library.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import safe_open
from torch import Tensor
from torch.nn.functional import embedding

from service.encoder.packed_rows import packed_rows
from service.models.json_files import read_json

_PREFIXES = {"bert": "bert.", "roberta": "roberta.", "xlm-roberta": "roberta."}
"""What the names of the tensors start with where a head was saved with them."""

_USUAL: Mapping[str, Any] = {
    "hidden_act": "gelu",
    "is_decoder": False,
    "position_embedding_type": "absolute",
    "quantization_config": None,
}
_STATED = ("hidden_size", "num_hidden_layers", "num_attention_heads", "layer_norm_eps")

WORDS = "embeddings.word_embeddings.weight"
POSITIONS = "embeddings.position_embeddings.weight"
TYPES = "embeddings.token_type_embeddings.weight"
EMBEDDINGS_NORM = "embeddings.LayerNorm"
_PARTS_OF_LAYER = (
    "attention.self.query",
    "attention.self.key",
    "attention.self.value",
    "attention.output.dense",
    "attention.output.LayerNorm",
    "intermediate.dense",
    "output.dense",
    "output.LayerNorm",
)


class Bert(NamedTuple):
    """Sizes, and access to the weights: `read` copies one tensor, `words` gives rows by id.

    `first` is the number of the first position, and `positions` how many can be read.
    """

    hidden: int
    layers: int
    heads: int
    epsilon: float
    first: int
    positions: int
    words: Callable[[Tensor], Tensor]
    read: Callable[[str], Tensor]


def read_bert(folder: Path, kept: Path | None = None) -> Bert | None:
    """What the folder holds; None where it is anything else, or not in one safetensors file.

    `kept` is as for `packed_rows`.
    """
    stated, weights = read_json(folder / "config.json"), folder / "model.safetensors"
    kind = stated.get("model_type")
    if kind not in _PREFIXES or not weights.is_file():
        return None
    usual = all(stated.get(key, value) == value for key, value in _USUAL.items())
    if not usual or any(key not in stated for key in _STATED):
        return None
    if kind != "bert" and "pad_token_id" not in stated:
        return None
    layers = int(stated["num_hidden_layers"])
    prefix = _prefix(weights, ("", _PREFIXES[kind]), layers)
    if prefix is None:
        return None

    def read(name: str) -> Tensor:
        # Opened each time: pages of the file that were read would count as memory in use.
        with safe_open(weights, "pt") as file:
            found: Tensor = file.get_tensor(prefix + name)
            return found.clone()

    return Bert(
        int(stated["hidden_size"]),
        layers,
        int(stated["num_attention_heads"]),
        float(stated["layer_norm_eps"]),
        # RoBERTa counts positions from behind its padding's.
        0 if kind == "bert" else int(stated["pad_token_id"]) + 1,
        int(stated.get("max_position_embeddings", 512)),
        packed_rows(weights, prefix + WORDS, kept) or _mapped_rows(weights, prefix + WORDS),
        read,
    )


def _mapped_rows(weights: Path, name: str) -> Callable[[Tensor], Tensor]:
    """The rows stay in the file until they are asked for."""
    with safe_open(weights, "pt") as file:
        rows = file.get_tensor(name)
    return lambda ids: embedding(ids, rows).float()


def _prefix(weights: Path, prefixes: tuple[str, ...], layers: int) -> str | None:
    with safe_open(weights, "pt") as file:
        there = set(file.keys())
    names = list(_names(layers))
    return next((p for p in prefixes if all(p + name in there for name in names)), None)


def _names(layers: int) -> Iterator[str]:
    yield from (WORDS, POSITIONS, TYPES)
    yield from (f"{EMBEDDINGS_NORM}.{kind}" for kind in ("weight", "bias"))
    for layer in range(layers):
        for part in _PARTS_OF_LAYER:
            yield from (f"encoder.layer.{layer}.{part}.{kind}" for kind in ("weight", "bias"))
