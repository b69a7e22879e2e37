"""Models that are made on this machine, from a data file or from another model."""

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from service.errors import ModelSourceError
from service.models.e5_folder import write_e5_folder
from service.models.folder import file_sha256
from service.models.json_files import read_json
from service.models.q4 import read_q4
from service.models.registry import Making

SHIPPED = Path(__file__).parent / "weights" / "minilm-l6-v0" / "model.safetensors"
_TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.txt",
)


@dataclass(frozen=True, slots=True)
class Maker:
    """Writes a model into an empty folder from the weights' file of its source.

    `folder` is the folder's name in the cache; `version` rises when `write` would write something
    else than before.
    """

    folder: str
    version: int
    write: Callable[[Path, Path], None]

    def key(self, source_sha256: str) -> str:
        """Changes whenever the made folder would."""
        own = file_sha256(SHIPPED) if self.write is write_shipped_cross_encoder else "none"
        return f"version {self.version}, source {source_sha256}, shipped {own}"


def write_shipped_cross_encoder(weights: Path, folder: Path) -> None:
    """A `BertForSequenceClassification`: the base's embeddings; our encoder, pooler and head."""
    base = weights.parent
    tensors = {
        f"bert.{name}": tensor
        for name, tensor in _load(weights).items()
        # The position ids are a plain count that no model loads any more.
        if name.startswith("embeddings.") and name != "embeddings.position_ids"
    }
    tensors |= {name: tensor.astype(np.float32) for name, tensor in _load(SHIPPED).items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    config = read_json(base / "config.json")
    config.pop("_name_or_path", None)
    config |= {
        "architectures": ["BertForSequenceClassification"],
        "id2label": {"0": "LABEL_0"},
        "label2id": {"LABEL_0": 0},
        "dtype": "float32",
        "sentence_transformers": {"activation_fn": "torch.nn.modules.linear.Identity"},
    }
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    for name in _TOKENIZER_FILES:
        shutil.copyfile(base / name, folder / name)


def _load(file: Path) -> dict[str, NDArray[np.float32]]:
    try:
        return load_file(file)
    except (OSError, SafetensorError) as error:
        raise ModelSourceError(f"{file} cannot be read: {error}") from error


MAKERS: Mapping[Making, Maker] = {
    "decode e5": Maker("e5-small", 1, lambda data, made: write_e5_folder(read_q4(data), made)),
    "shipped cross-encoder": Maker("minilm-l6-v0", 1, write_shipped_cross_encoder),
}
