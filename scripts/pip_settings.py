"""Writes pip's settings of this machine into one file, and prints the paths that they name:
`pip_settings.py FILE`.

A build that mounts both has what pip has here: its indexes, certificates and folders of wheels.
"""

import ast
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit


def settings() -> dict[str, str]:
    """pip's settings by the name of the option: those of its files, then the environment's."""
    command = [sys.executable, "-m", "pip", "config", "list"]
    listed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    pairs = (line.split("=", 1) for line in sorted(listed.splitlines(), key=_is_environment))
    return {name.rpartition(".")[2]: str(ast.literal_eval(value)) for name, value in pairs}


def _is_environment(line: str) -> bool:
    return line.startswith(":env:")


def paths(value: str) -> list[str]:
    """The paths in a setting that exist; of a local index its parent, where its files are."""
    found = [
        Path(urlsplit(word).path).parent if word.startswith("file://") else Path(word)
        for word in value.split()
    ]
    return [str(path) for path in found if path.is_absolute() and path.exists()]


if __name__ == "__main__":
    every = settings()
    lines = [f"{name} = {' '.join(value.split())}" for name, value in every.items()]
    Path(sys.argv[1]).write_text("\n".join(["[global]", *lines]) + "\n", encoding="utf-8")
    print(*sorted({path for value in every.values() for path in paths(value)}), sep="\n")
