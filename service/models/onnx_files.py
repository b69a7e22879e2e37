"""Graphs of ONNX Runtime: the files that a model was exported to, and sessions over them.

onnx, onnxruntime and onnxscript are the extra `secondpass[onnx]`.
"""

import platform
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from service.errors import ModelSourceError
from service.models.prepared import Recipe, prepared_folder, sound_folder

Precision = Literal["fp32", "int8"]

_PACKAGES = ("onnx", "onnxruntime", "onnxscript")
_FILE = "model.onnx"


def onnx_is_installed() -> bool:
    """Whether the extra's packages are there; nothing is imported."""
    return all(find_spec(package) for package in _PACKAGES)


def require_onnx() -> None:
    """Raise `ModuleNotFoundError` where a package is missing."""
    missing = [package for package in _PACKAGES if find_spec(package) is None]
    if missing:
        raise ModuleNotFoundError(f"the backends onnx and onnx-int8 need {', '.join(missing)}")


def onnx_session(file: Path, threads: int) -> Any:
    """Open a graph; `threads` 0 for all cores. Raises `ModelSourceError`."""
    require_onnx()
    try:
        import onnxruntime  # noqa: PLC0415

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        # Waiting threads that spin take the core from those that compute.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        return onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the library raises whatever its parts raise
        raise ModelSourceError(
            f"onnxruntime cannot open {file}: {type(error).__name__}: {error}"
        ) from error


def onnx_file(
    cache_dir: Path,
    weights_sha256: str,
    kind: str,
    version: int,
    write: Callable[[Path], None] | None,
) -> Path:
    """The file of a kind for these weights, made by `write` unless it is there and undamaged.

    It lies in `cache_dir/models`, with its SHA-256 beside it. `version` rises when the file would
    become another than before. Without `write` nothing is made. Raises `ModelSourceError` where it
    cannot be made, and where it may not.
    """
    place = cache_dir / "models" / f"onnx-{weights_sha256[:16]}-{kind}"
    key = f"version {version}, weights {weights_sha256}, {kind}"
    if write is None:
        if sound_folder(place, key) is None:
            raise ModelSourceError(f"{place} is missing or damaged")
        return place / _FILE
    recipe = Recipe(key, lambda unfinished: write(unfinished / _FILE))
    return prepared_folder(place.parent, place.name, recipe).path / _FILE


def saturates() -> bool:
    """Whether int8 products overflow 16 bits on this CPU, so that weights get 7 bits.

    They do on x86 without VNNI.
    """
    if platform.machine() not in {"x86_64", "AMD64"}:
        return False
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return True
    return "avx512_vnni" not in flags and "avx_vnni" not in flags
