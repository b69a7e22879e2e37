"""How the packages of an extra are installed into the environment that runs this."""

import shlex
import sys
from pathlib import Path

_CODE = Path(__file__).resolve().parent


def install_command(extra: str) -> str:
    """The command line, which works in a shell, wherever it is and whichever pip is its own."""
    checkout = _CODE.parent
    is_checkout = (checkout / "pyproject.toml").is_file()
    package = ["-e", f"{checkout}[{extra}]"] if is_checkout else [f"secondpass[{extra}]"]
    return shlex.join([sys.executable, "-m", "pip", "install", *package])
