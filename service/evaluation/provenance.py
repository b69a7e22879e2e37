"""Where a figure comes from: commit, versions, seed."""

import platform
import shutil
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import service
from service import __version__

_PACKAGES = (
    "faiss-cpu", "ir-measures", "numpy", "scikit-learn", "scipy", "sentence-transformers",
    "tokenizers", "torch", "transformers",
)  # fmt: skip

_CODE = Path(service.__file__).resolve().parent


def provenance(seed: int) -> dict[str, Any]:
    """`version`, `commit`, `seed` and `versions`, for the head of a file with figures."""
    return {"version": __version__, "commit": commit(), "seed": seed, "versions": versions()}


def versions(packages: Sequence[str] = _PACKAGES) -> dict[str, str]:
    """Versions of Python and of the packages, by default those that a figure may depend on."""
    found = {"python": platform.python_version()}
    for name in packages:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def commit(code: Path = _CODE) -> str | None:
    """The commit of the package in `code`, with `+dirty` if tracked files differ.

    None outside a checkout of it.
    """
    top = _git(code, "rev-parse", "--show-toplevel")
    # An installed package may lie within another repository.
    if top is None or Path(top) != code.parent or not _git(code, "ls-files", "__init__.py"):
        return None
    short = _git(code, "rev-parse", "--short", "HEAD")
    dirty = _git(code.parent, "status", "--porcelain", "--untracked-files=no")
    return f"{short}+dirty" if short and dirty else short


def _git(folder: Path, *arguments: str) -> str | None:
    git = shutil.which("git")
    if git is None:
        return None
    try:
        done = subprocess.run(  # noqa: S603 - a fixed command
            [git, "-C", str(folder), *arguments],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (subprocess.SubprocessError, OSError):
        return None
    return done.stdout.strip()
