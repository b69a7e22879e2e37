"""Which sentence-transformers folders are a transformer and its pooling, and nothing else.

Such a folder needs nothing of the library, whose import alone takes seconds and a hundred
megabytes. What this module does not know is no plain folder: the library then reads it.
"""

import json
from collections.abc import Mapping, Set
from pathlib import Path
from typing import Any, Literal, cast

from service.errors import ModelSourceError
from service.models.json_files import read_json

Pooling = Literal["mean", "cls"]

_KINDS = ("bert", "roberta", "xlm-roberta", "bert-moe", "xlm-roberta-moe")
_PARTS = ("Transformer", "Pooling", "Normalize")
_LIBRARY = "sentence_transformers."
_MORE_THAN_TEXT = ("preprocessor_config.json", "processor_config.json", "adapter_config.json")
_FIRST_CONFIGS = (  # names that the library has had for it; it reads the first that is there
    "sentence_bert_config.json",
    "sentence_roberta_config.json",
    "sentence_distilbert_config.json",
    "sentence_camembert_config.json",
    "sentence_albert_config.json",
    "sentence_xlm-roberta_config.json",
    "sentence_xlnet_config.json",
)
_TRANSFORMER_DEFAULTS: Mapping[str, Any] = {
    "do_lower_case": False,
    "transformer_task": "feature-extraction",
    "modality_config": {"text": {"method": "forward", "method_output_name": "last_hidden_state"}},
    "module_output_name": "token_embeddings",
}
"""What the transformer's part may say of itself, besides its `max_seq_length`."""

_SIZES = {"word_embedding_dimension", "embedding_dimension"}


def plain_pooling(folder: Path) -> Pooling | None:
    """How the folder's model makes one vector of a text's states; None where it is not plain."""
    if any((folder / name).exists() for name in (*_MORE_THAN_TEXT, *_FIRST_CONFIGS[1:])):
        return None
    try:
        parts = json.loads((folder / "modules.json").read_text(encoding="utf-8"))
        kinds = [str(part["type"]) for part in parts]
        pooling = folder / str(parts[1]["path"])
        whole = str(parts[0]["path"]) == ""
        own = read_json(folder / _FIRST_CONFIGS[0])
        stated = read_json(folder / "config.json")
        mode = _mode(read_json(pooling / "config.json"))
    except (OSError, ValueError, KeyError, IndexError, TypeError, ModelSourceError):
        return None  # the library says what is wrong
    names = tuple(kind.rpartition(".")[2] for kind in kinds)
    known = all(kind.startswith(_LIBRARY) for kind in kinds)
    if not whole or not known or names not in {_PARTS, _PARTS[:2]}:
        return None
    if stated.get("model_type") not in _KINDS or stated.get("auto_map"):
        return None
    told = {key: value for key, value in own.items() if key != "max_seq_length"}
    if told != {key: value for key, value in _TRANSFORMER_DEFAULTS.items() if key in told}:
        return None
    return mode


def stated_window(folder: Path) -> int | None:
    """Longest input, in tokens, that the transformer's part of a plain folder states."""
    length = read_json(folder / _FIRST_CONFIGS[0]).get("max_seq_length")
    return length if isinstance(length, int) else None


def _mode(config: Mapping[str, Any]) -> Pooling | None:
    """Of a pooling's configuration, as the library writes it now or wrote it before."""
    flags = {key for key in config if key.startswith("pooling_mode_")}
    others: Set[str] = config.keys() - flags - _SIZES - {"pooling_mode", "include_prompt"}
    if others or config.get("include_prompt", True) is not True:
        return None
    chosen = {key for key in flags if config[key]}
    if "pooling_mode" in config:
        mode = None if chosen else config["pooling_mode"]
    else:
        mode = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls"}.get(
            chosen.pop() if len(chosen) == 1 else ""
        )
    return cast("Pooling", mode) if mode in ("mean", "cls") else None
