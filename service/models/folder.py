"""What a model's folder says of itself: its files, sizes and prompts. Nothing is loaded."""

import hashlib
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from service.errors import ModelSourceError
from service.models.json_files import read_json
from service.models.model_kinds import kind_of

WEIGHTS = "*.safetensors"
_SETTLED_S = 2.0
"""A file written more recently may change again while its times stay the same."""

_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
_OTHER_ENGINES = {"onnx", "openvino"}
_RECORDS = {"training.json", "figures.json", "pair_threshold.json"}
"""Files in which a training keeps what it did; see `service.training`."""


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """A folder and the SHA-256 of each of its files that decides what the model computes."""

    path: Path
    checksums: Mapping[str, str]

    @property
    def sha256(self) -> str:
        """One hash for the model, over the names and contents of its files: the same anywhere."""
        total = hashlib.sha256()
        for name, digest in sorted(self.checksums.items()):
            total.update(f"{name}\0{digest}\n".encode())
        return total.hexdigest()


def file_checksums(folder: Path) -> dict[str, str]:
    """Relative path -> SHA-256 for weights, configuration and tokenizer.

    Not for what tells of the model and decides nothing: its card, pictures, figures and logs.
    """
    return {
        path.relative_to(folder).as_posix(): file_sha256(path)
        for path in _files(folder)
        if not _only_tells(path.relative_to(folder))
    }


def _only_tells(path: Path) -> bool:
    return path.suffix in {".md", ".png"} or path.name in _RECORDS or path.parts[0] == "logs"


def open_folder(path: Path, kind: str) -> ModelFolder:
    """A folder that is used in place.

    Raises `ModelSourceError` when it cannot be read, holds no safetensors weights, has parts that
    only a pickle holds (which runs code when it is loaded), or is a model of the other kind.
    """
    try:
        _check_weights(path)
        # As the other kind it would load all the same, with a random head or without one.
        if (actual := kind_of(path)) != kind:
            raise ModelSourceError(f"{path} is a {actual}; a {kind} is needed")
        return ModelFolder(path, file_checksums(path))
    except OSError as error:
        raise ModelSourceError(f"{path} cannot be read: {error}") from error


def has_weights(path: Path) -> bool:
    """Whether safetensors weights are there, all parts of them."""
    files = list(_files(path))
    parts = (
        index.parent / str(part)
        for index in files
        if index.name.endswith(".safetensors.index.json")
        for part in (read_json(index).get("weight_map") or {}).values()
    )
    return any(file.match(WEIGHTS) for file in files) and all(map(Path.exists, parts))


def prompts(path: Path) -> tuple[str, str]:
    """The model's own prefixes for query and passage; "" where it names none."""
    stated = read_json(path / "config_sentence_transformers.json").get("prompts") or {}
    passage = stated.get("passage") or stated.get("document")
    return str(stated.get("query") or ""), str(passage or "")


def needs_no_prefix(path: Path) -> bool:
    """Whether the model says that it was trained without any; empty prompts do not say so."""
    return read_json(path / "config.json").get("needs_prefix") is False


def dimension(path: Path) -> int | None:
    """Of a bi-encoder's vectors: what the last part that changes it says."""
    config = read_json(path / "config.json")
    sizes: list[Any] = [config.get("hidden_size")]
    for module in _modules(path):
        part = read_json(path / module / "config.json")
        keys = ("out_features", "word_embedding_dimension", "embedding_dimension")
        sizes += [part[key] for key in keys if key in part and module]
    known = [size for size in sizes if isinstance(size, int)]
    return known[-1] if known else None


def matryoshka(path: Path) -> tuple[int, ...]:
    """Sizes to which a bi-encoder's vectors may be cut, where its folder says so."""
    sizes = read_json(path / "config.json").get("matryoshka_dims") or []
    return tuple(size for size in sizes if isinstance(size, int))


def max_length(path: Path) -> int | None:
    """Longest input in tokens that the model states, special tokens counted."""
    config = read_json(path / "config.json")
    positions = config.get("max_position_embeddings")
    if isinstance(positions, int) and "roberta" in str(config.get("model_type")):
        positions -= 2  # it numbers its positions from 2
    stated = [
        read_json(path / "sentence_bert_config.json").get("max_seq_length"),
        read_json(path / "tokenizer_config.json").get("model_max_length"),
        positions,
    ]
    # A tokenizer without a limit states a huge one.
    limits = [value for value in stated if isinstance(value, int) and 0 < value < 1_000_000]
    return min(limits, default=None)


def _check_weights(path: Path) -> None:
    if not has_weights(path):
        raise ModelSourceError(
            f"{path} holds no complete safetensors weights, and no other kind is read: save the "
            "model as safetensors and give that folder"
        )
    for file in _files(path):
        if any(map(file.match, _PICKLES)) and not any(file.parent.glob(WEIGHTS)):
            raise ModelSourceError(f"{file} is a pickle, which is not read: save it as safetensors")


def _modules(path: Path) -> list[str]:
    """Folders of a model's parts in the order in which a text goes through them."""
    file = path / "modules.json"
    if not file.exists():
        return []
    try:
        return [str(part["path"]) for part in json.loads(file.read_text(encoding="utf-8"))]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelSourceError(f"{file} is not readable: {error}") from error


def _files(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*"):
        inner = path.relative_to(folder).parts
        hidden = any(part.startswith(".") for part in inner)
        if path.is_file() and not hidden and not _OTHER_ENGINES.intersection(inner[:-1]):
            yield path


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal. A file that has not changed since is not read again."""
    seen = path.stat()
    if time.time() - max(seen.st_mtime, seen.st_ctime) < _SETTLED_S:
        return _sha256(path)
    return _remembered_sha256(
        path, seen.st_dev, seen.st_ino, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns
    )


@lru_cache(maxsize=256)
def _remembered_sha256(path: Path, *_state: int) -> str:
    return _sha256(path)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
