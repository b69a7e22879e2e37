"""Model folders that are prepared but never loaded."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

CONFIG = {"architectures": ["BertModel"], "hidden_size": 8, "max_position_embeddings": 64}


def write_model(folder: Path, *, config: dict[str, Any] | None = None, **files: Any) -> Path:
    """Write a folder with weights; `files` maps a JSON file's stem to its content."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file({"weight": np.ones(4, np.float32)}, folder / "model.safetensors")
    contents = {"config": CONFIG | (config or {}), "tokenizer": {}, **files}
    for stem, content in contents.items():
        (folder / f"{stem}.json").write_text(json.dumps(content))
    return folder


def write_hub_cache(cache: Path, repository: str, **files: Any) -> Path:
    """A model in the layout of the hub's cache folder; gives its snapshot's folder."""
    model = cache / f"models--{repository.replace('/', '--')}"
    revision = "0123456789abcdef0123456789abcdef01234567"
    (model / "refs").mkdir(parents=True)
    (model / "refs" / "main").write_text(revision)
    return write_model(model / "snapshots" / revision, **files)
