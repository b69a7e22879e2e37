"""The kinds of model: a new kind is a module that opens it and a line of `KINDS`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from service.models.json_files import read_json


@dataclass(frozen=True, slots=True)
class ModelKind:
    """What the rest of the service has to know of a kind.

    - `opener`: the module that opens one from an `Opening`. A reranker's has `open_reranker`. An
      encoder's has `identity`, which loads no weights, and `open_encoder`; one whose token states
      rerankers read has `open_token_encoder`
    - `recognises`: whether a folder holds such a model; the first kind that says yes has it
    - `schemes`: how names begin that are no folder, such as `https://`; nothing is downloaded
    - `extra`: the extra of secondpass that its packages are in
    - `reads_states`: whether it reads token states of the encoder that its `config.json` names as
      `base` and `base_weights_sha256`
    - `measured`: whether `models prepare` times its backends
    """

    stage: Literal["encoder", "reranker"]
    opener: str
    recognises: Callable[[Path], bool] = lambda _folder: False
    schemes: tuple[str, ...] = ()
    extra: str | None = None
    reads_states: bool = False
    measured: bool = False


def _is_interaction(folder: Path) -> bool:
    return read_json(folder / "config.json").get("model_type") == "secondpass-interaction"


def _is_cross_encoder(folder: Path) -> bool:
    if (stated := stated_type(folder)) is not None:
        return stated == "CrossEncoder"
    architectures = read_json(folder / "config.json").get("architectures") or []
    has_head = any(str(name).endswith("ForSequenceClassification") for name in architectures)
    return has_head and not (folder / "modules.json").exists()


def _is_bi_encoder(folder: Path) -> bool:
    return stated_type(folder) in {None, "SentenceTransformer"}


def stated_type(folder: Path) -> str | None:
    """What sentence-transformers wrote that the folder holds."""
    stated = read_json(folder / "config_sentence_transformers.json").get("model_type")
    return None if stated is None else str(stated)


KINDS: Mapping[str, ModelKind] = {
    "interaction": ModelKind(
        "reranker", "service.reranker.open_interaction", _is_interaction, reads_states=True
    ),
    "cross-encoder": ModelKind(
        "reranker",
        "service.reranker.open_cross_encoder",
        _is_cross_encoder,
        extra="onnx",
        measured=True,
    ),
    "bi-encoder": ModelKind("encoder", "service.encoder.open_bi_encoder", _is_bi_encoder),
}

ON_THE_HUB: Mapping[str, str] = {"encoder": "bi-encoder", "reranker": "cross-encoder"}
"""The kind, by stage, of a model that only the hub knows."""


def kind_of(folder: Path) -> str:
    """What a folder with a model holds: a name of `KINDS`, or the words that it has for itself."""
    found = (name for name, kind in KINDS.items() if kind.recognises(folder))
    return next(found, "") or str(stated_type(folder))


def stated_base(folder: Path) -> tuple[str, str]:
    """Name and weights' SHA-256 of the encoder whose token states a reranker's folder names."""
    config = read_json(folder / "config.json")
    return str(config.get("base")), str(config.get("base_weights_sha256"))
