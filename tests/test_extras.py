"""The command that installs an extra, as error messages have it."""

import shlex
import sys
from pathlib import Path

import pytest

from service import extras


def test_an_extra_is_installed_into_this_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkout = tmp_path / "a checkout"
    monkeypatch.setattr(extras, "_CODE", checkout / "service")
    pip = [sys.executable, "-m", "pip", "install"]
    assert shlex.split(extras.install_command("train")) == [*pip, "secondpass[train]"]
    checkout.mkdir()
    (checkout / "pyproject.toml").touch()
    assert shlex.split(extras.install_command("train")) == [*pip, "-e", f"{checkout}[train]"]
