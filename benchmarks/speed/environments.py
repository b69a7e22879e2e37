"""Virtual environments of other packages, made once and kept under the work folder."""

import hashlib
import json
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from benchmarks.speed.processes import BenchError, run

REQUIREMENTS = Path(__file__).parent / "requirements"
SHOWN = frozenset(
    (
        "fastembed", "infinity-emb", "numpy", "onnxruntime", "sentence-transformers",
        "tokenizers", "torch", "transformers",
    )
)  # fmt: skip


def environment(work: Path, name: str, *extra: str) -> Path:
    """The Python of an environment with `requirements/<name>.txt` and `extra` installed.

    Raises `BenchError` with pip's reason. One that is complete is used again.
    """
    wanted = "\n".join([(REQUIREMENTS / f"{name}.txt").read_text(encoding="utf-8"), *extra])
    digest = hashlib.sha256(wanted.encode()).hexdigest()
    folder = work / name
    python, done = folder / "bin" / "python", folder / "complete"
    if done.exists() and done.read_text(encoding="utf-8") == digest:
        return python
    shutil.rmtree(folder, ignore_errors=True)
    log = work / "logs" / f"install-{name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    run([sys.executable, "-m", "venv", str(folder)], log)
    file = str(REQUIREMENTS / f"{name}.txt")
    install = [
        str(python),
        "-m",
        "pip",
        "install",
        "--prefer-binary",
        *torch_index(Path(sys.prefix)),
    ]
    run([*install, "-r", file, *extra], log)
    done.write_text(digest, encoding="utf-8")
    return python


def torch_index(own: Path) -> list[str]:
    """pip's options that find torch where the environment `own` has it from."""
    stamp = own / ".torch"  # by scripts/install.sh
    said = stamp.read_text(encoding="utf-8") if stamp.exists() else ""
    index = said.strip().partition(" ")[2]
    return ["--extra-index-url", index] if index else []


def same_torch() -> str:
    """The requirement of the torch that this project runs on, without a build's suffix."""
    return f"torch=={version('torch').partition('+')[0]}"


def versions_in(python: Path) -> dict[str, str]:
    """Versions of what matters in another environment."""
    listing = subprocess.run(  # noqa: S603 - an environment made above
        [str(python), "-m", "pip", "list", "--format", "json", "--disable-pip-version-check"],
        capture_output=True,
        text=True,
        check=False,
    )
    if listing.returncode:
        raise BenchError("pip could not list the environment")
    found = {
        row["name"].lower().replace("_", "-"): row["version"] for row in json.loads(listing.stdout)
    }
    return {name: found[name] for name in sorted(SHOWN & found.keys())}
