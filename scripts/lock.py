"""Resolves pyproject.toml for every promised Python and writes the lock: `lock.py [uv's options]`.

    constraints.txt         one version of each package, to read and for `pip install -c`
    requirements/run.txt    what the service needs besides torch, with hashes
    requirements/dev.txt    the same and the development tools
    requirements/torch.txt  torch: the builds of the package index and of PyTorch's CPU index
    requirements/cuda.txt   what torch's CUDA build needs besides

Versions in constraints.txt stay as they are unless the options say otherwise (`--upgrade`,
`--upgrade-package NAME`) or pyproject.toml no longer allows them.
"""

import re
import subprocess
import sys
import tomllib
import urllib.request
from collections.abc import Iterable, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
CUDA = re.compile(r"nvidia-|cuda-|triton$")
"""Names of the packages that only torch's CUDA build needs."""
CLIENT = "secondpass-client"
"""Installed from clients/python: no lock can hold the hash of a folder."""

_DIGEST = re.compile(r"sha256[:=]([0-9a-f]{64})")
_TORCH = re.compile(r"^torch==([\w.]+)", re.MULTILINE)


def main(options: Sequence[str]) -> None:
    """Write all five files."""
    resolve("constraints.txt", "--extra", "dev", "--no-annotate", *options)
    every = set(re.findall(r"^([\w.-]+)==", read("constraints.txt"), re.MULTILINE))
    cuda = {name for name in every if CUDA.match(name)}
    hashed = ("--constraint", "constraints.txt", "--generate-hashes", "--no-annotate")
    resolve("requirements/run.txt", *hashed, *without(cuda | {"torch"}))
    hashed += ("--extra", "dev")
    resolve("requirements/dev.txt", *hashed, *without(cuda | {"torch"}))
    resolve("requirements/cuda.txt", *hashed, *without(every - cuda))
    before = read("requirements/torch.txt")
    (ROOT / "requirements/torch.txt").unlink(missing_ok=True)  # uv would keep the hashes it has
    resolve("requirements/torch.txt", *hashed, *without(every - {"torch"}))
    locked = read("requirements/torch.txt")
    more = cpu_digests(locked, before, cpu_page())
    (ROOT / "requirements/torch.txt").write_text(with_digests(locked, more), encoding="utf-8")


def resolve(output: str, *options: str) -> None:
    """Have uv write the packages of the project into this file, for every Python and system."""
    project = tomllib.loads(read("pyproject.toml"))["project"]
    lowest = project["requires-python"].removeprefix(">=")
    command = [str(Path(sys.executable).with_name("uv")), "pip", "compile", "pyproject.toml"]
    command += ["--universal", "--python-version", lowest, "--fork-strategy", "fewest"]
    command += ["--custom-compile-command", "make lock", "--quiet", "-o", output]
    command += [*without({CLIENT}), *options]
    (ROOT / output).parent.mkdir(exist_ok=True)
    subprocess.run(command, cwd=ROOT, check=True)


def read(name: str) -> str:
    """A file of the project; nothing where there is none."""
    path = ROOT / name
    return path.read_text(encoding="utf-8") if path.exists() else ""


def without(packages: Iterable[str]) -> list[str]:
    """The options that keep these packages out of what uv writes."""
    return [option for name in sorted(packages) for option in ("--no-emit-package", name)]


def cpu_page() -> str:
    """What PyTorch's index says of its CPU builds; nothing where it does not answer."""
    try:
        with urllib.request.urlopen(f"{CPU_INDEX}/torch/", timeout=10) as answer:
            return str(answer.read().decode("utf-8"))
    except OSError as error:
        print(f"{CPU_INDEX} does not answer ({error}): the hashes of its builds stay as they are")
        return ""


def cpu_digests(locked: str, before: str, page: str) -> list[str]:
    """The SHA-256 of torch's CPU builds for Linux: from PyTorch's page, else from the lock before.

    Exits when neither knows the locked version. On other systems the package index has the same
    builds as PyTorch's.
    """
    version = _TORCH.findall(locked)[0]
    wheel = rf"torch-{re.escape(version)}(?:\+|%2B)cpu-cp\d+-cp\d+t?-manylinux\w+\.whl"
    found = re.findall(rf"{wheel}#(sha256=[0-9a-f]{{64}})", page)
    if not found and version in _TORCH.findall(before):
        found = [before]
    if not found:
        sys.exit(f"error: the hashes of torch {version}'s CPU builds are not known")
    return _DIGEST.findall("".join(found))


def with_digests(locked: str, more: Iterable[str]) -> str:
    """A file with one hashed requirement, which these SHA-256 satisfy as well."""
    head = locked[: locked.index(" \\\n")]
    digests = sorted({*_DIGEST.findall(locked), *more})
    return " \\\n".join([head, *(f"    --hash=sha256:{digest}" for digest in digests)]) + "\n"


if __name__ == "__main__":
    main(sys.argv[1:])
