"""What `make image-check` needs, and when CI runs it. The check itself takes minutes."""

import configparser
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def tools(folder: Path, *names: str, **stand_ins: str) -> str:
    """A PATH with these programs of the machine, and with shell scripts of these contents."""
    folder.mkdir()
    for name in names:
        found = shutil.which(name)
        assert found
        (folder / name).symlink_to(found)
    for name, script in stand_ins.items():
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)
    return str(folder)


def test_without_its_tools_the_check_says_how_to_get_them(tmp_path: Path) -> None:
    path = tools(tmp_path / "bin", "bash", "dirname", "id", "mktemp", "rm")
    done = subprocess.run(
        [ROOT / "scripts" / "image_check.sh"],
        env={"PATH": path, "PYTHON": sys.executable, "TORCH_INDEX_URL": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "apt install buildah mmdebstrap" in done.stderr


@pytest.mark.parametrize(
    ("stand_ins", "made"),
    [
        ({}, ["test"]),
        ({"docker": "exit 1"}, ["test"]),
        ({"docker": "exit 0"}, ["image-check", "test"]),
        ({"buildah": "", "mmdebstrap": "", "id": "echo 0"}, ["image-check", "test"]),
        ({"buildah": "", "mmdebstrap": "", "id": "echo 1000"}, ["test"]),
        ({"buildah": "", "id": "echo 0"}, ["test"]),
    ],
)
def test_ci_builds_the_image_where_the_tools_are(
    tmp_path: Path, stand_ins: dict[str, str], made: list[str]
) -> None:
    calls = tmp_path / "calls"
    programs = {"id": "echo 0", "make": f'echo "$*" >>"{calls}"'} | stand_ins
    path = tools(tmp_path / "bin", "bash", "dirname", **programs)
    subprocess.run([ROOT / ".ci" / "run"], env={"PATH": path}, check=True)
    assert calls.read_text().splitlines() == made


def test_a_failed_image_fails_ci(tmp_path: Path) -> None:
    path = tools(tmp_path / "bin", "bash", "dirname", docker="exit 0", make="exit 2")
    done = subprocess.run([ROOT / ".ci" / "run"], env={"PATH": path}, check=False)
    assert done.returncode != 0


def test_pips_settings_are_written_with_the_paths_that_they_name(tmp_path: Path) -> None:
    for name in ["wheels", "index/simple"]:
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "certificates").touch()
    (tmp_path / "pip.conf").write_text(
        f"[global]\nextra-index-url =\n    file://{tmp_path}/index/simple\n"
        f"    https://index.example/simple\nfind-links = {tmp_path}/other\ntimeout = 20\n"
    )
    environment = {
        "PATH": os.environ["PATH"],
        "PIP_CONFIG_FILE": str(tmp_path / "pip.conf"),
        "PIP_FIND_LINKS": str(tmp_path / "wheels"),
        "PIP_CERT": str(tmp_path / "certificates"),
    }
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "pip_settings.py", tmp_path / "made.conf"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    named = {str(tmp_path / name) for name in ["certificates", "index", "wheels"]}
    assert named <= set(done.stdout.splitlines())
    assert str(tmp_path / "other") not in done.stdout
    made = configparser.ConfigParser(interpolation=None)
    made.read(tmp_path / "made.conf")
    assert made["global"]["find-links"] == str(tmp_path / "wheels")
    assert made["global"]["timeout"] == "20"
    assert made["global"]["extra-index-url"].split() == [
        f"file://{tmp_path}/index/simple",
        "https://index.example/simple",
    ]
