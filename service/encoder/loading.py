"""Loading a sentence-transformers folder without running code that the folder names."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Normalize
from sentence_transformers.base.modules import Transformer as TransformerModule
from sentence_transformers.sentence_transformer.modules import Pooling
from sentence_transformers.util import import_module_class
from torch import nn
from transformers.utils import logging as transformers_logging

import service.encoder.moe  # noqa: F401 - makes its architectures known to transformers
from service.encoder.library_model import padded
from service.encoder.sentence_model import SentenceModel
from service.encoder.sse import SSE
from service.encoder.static_model import StaticModel
from service.encoder.transformer import Transformer
from service.encoder.transformer_backends import Opened

OWN_MODULES: Mapping[str, type[nn.Module]] = {f"{SSE.__module__}.{SSE.__qualname__}": SSE}
"""Modules of this package, as `modules.json` names them.

Of the modules outside of its own package, sentence-transformers loads none without
`trust_remote_code`, by which a folder could name any class at all. These here are named by us.
"""


def load_sentence_transformer(
    folder: Path, *, device: str | None = None, **settings: Any
) -> SentenceTransformer:
    """A model from a folder on this disk, whose modules are the library's or `OWN_MODULES`.

    `settings` go to `SentenceTransformer`. Raises `ValueError` for any other module.
    """
    parts = _parts(folder / "modules.json")
    if not any(part["type"] in OWN_MODULES for part in parts):
        return SentenceTransformer(
            str(folder), device=device, trust_remote_code=False, local_files_only=True, **settings
        )
    settings.pop("model_kwargs", None)  # meant for a transformer
    modules = [_module(folder, part) for part in parts]
    stated = _stated(folder / "config_sentence_transformers.json")
    return SentenceTransformer(modules=modules, device=device, **(stated | settings))


def load_by_library(
    folder: Path, *, batch_tokens: int, device: str
) -> Transformer | StaticModel | SentenceModel:
    """A model of any make, in float32; the library is let go of where there is no more to it.

    `device` as for `BiEncoder`. Raises whatever the library raises.
    """
    # A server's log is no place for it.
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    model = load_sentence_transformer(
        folder,
        device=None if device == "auto" else device,
        model_kwargs={"dtype": torch.float32, "use_safetensors": True},
    )
    model.eval()
    if len(model) == 1 and isinstance(model[0], SSE):
        return StaticModel(model[0])
    return plain_transformer(model, batch_tokens=batch_tokens) or SentenceModel(
        model, batch_tokens=batch_tokens
    )


def plain_transformer(model: SentenceTransformer, *, batch_tokens: int) -> Transformer | None:
    """The model without the library around it; None where there is more to it than pooling.

    `model` has no use afterwards: its tokenizer is the other's.
    """
    parts = list(model)
    if [type(part) for part in parts[:2]] != [TransformerModule, Pooling]:
        return None
    read, pooling, *rest = cast("list[Any]", parts)
    if any(type(part) is not Normalize for part in rest) or not pooling.include_prompt:
        return None
    if read.transformer_task != "feature-extraction" or pooling.pooling_mode not in {"mean", "cls"}:
        return None
    tokenizer = getattr(model.tokenizer, "backend_tokenizer", None)
    if tokenizer is None or model.max_seq_length is None:
        return None
    config, longest = read.model.config, model.max_seq_length
    run = padded(read.model, longest)
    sizes = int(config.hidden_size), int(config.num_hidden_layers), longest
    opened = Opened({"torch": run}, *sizes)
    return Transformer(opened, tokenizer, batch_tokens=batch_tokens, pooling=pooling.pooling_mode)


def _module(folder: Path, part: Mapping[str, Any]) -> nn.Module:
    name = str(part["type"])
    found: Any = OWN_MODULES.get(name) or import_module_class(name, str(folder))
    module: nn.Module = found.load(
        str(folder), subfolder=str(part["path"]), local_files_only=True, trust_remote_code=False
    )
    return module


def _parts(path: Path) -> list[Mapping[str, Any]]:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else []


def _stated(path: Path) -> dict[str, Any]:
    keys = ("prompts", "default_prompt_name", "similarity_fn_name")
    stated = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return {key: stated[key] for key in keys if stated.get(key)}
