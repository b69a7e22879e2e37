import ast
import re
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
RUN = ("files", "train", "onnx", "mcp", "otel")
"""The extras that `service` imports from."""

WANTED = [
    Requirement(line)
    for part in (PROJECT["dependencies"], *map(EXTRAS.get, (*RUN, "dev")))
    for line in part
    if not line.startswith("secondpass")
]


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    found = (Requirement(line) for line in lines if not line.startswith("#"))
    return {
        canonicalize_name(one.name): next(iter(one.specifier)).version
        for one in found
        if one.marker is None or one.marker.evaluate()
    }


def needed(requirement: Requirement, extras: frozenset[str] = frozenset()) -> set[str]:
    """The names of the packages that a requirement brings, as far as they are installed."""
    found: set[str] = set()
    waiting = [(requirement.name, frozenset(requirement.extras) | extras)]
    while waiting:
        name, wanted = waiting.pop()
        if canonicalize_name(name) in found:
            continue
        try:
            package = distribution(name)
        except PackageNotFoundError:
            continue
        found.add(canonicalize_name(name))
        for line in package.requires or []:
            one = Requirement(line)
            markers = [{"extra": extra} for extra in wanted | {""}]
            if one.marker is None or any(one.marker.evaluate(marker) for marker in markers):
                waiting.append((one.name, frozenset(one.extras)))
    return found


def test_every_package_and_what_it_brings_is_pinned() -> None:
    for requirement in WANTED:
        assert needed(requirement) - pins().keys() == set()


@pytest.mark.parametrize("requirement", WANTED, ids=str)
def test_a_pin_is_within_what_the_project_asks_for(requirement: Requirement) -> None:
    assert requirement.specifier.contains(pins()[canonicalize_name(requirement.name)])


def test_pins_are_versions_alone() -> None:
    for version in pins().values():
        assert re.fullmatch(r"[0-9][0-9a-z.]*", version)


def test_every_package_that_the_service_imports_is_asked_for() -> None:
    asked = PROJECT["dependencies"] + [line for extra in RUN for line in EXTRAS[extra]]
    named = {canonicalize_name(Requirement(line).name) for line in asked}
    called = {"bs4": "beautifulsoup4", "faiss": "faiss-cpu", "sklearn": "scikit-learn"}
    called["yaml"] = "pyyaml"
    # Parts of a package that is asked for, and used with it.
    parts = {
        "opentelemetry": "opentelemetry-sdk",
        "starlette": "fastapi",
        "pydantic_core": "pydantic",
        "transformers": "sentence-transformers",
    }
    import_names = called | parts
    for path in (ROOT / "service").rglob("*.py"):
        for name in third_party(path):
            assert canonicalize_name(import_names.get(name, name)) in named, f"{path}: {name}"


def third_party(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
    return found - sys.stdlib_module_names - {"service"}


def test_the_licence_is_the_whole_apache_2_text() -> None:
    text = (ROOT / "LICENSE").read_text()
    assert PROJECT["license"] == "Apache-2.0"
    assert "TERMS AND CONDITIONS FOR USE, REPRODUCTION, AND DISTRIBUTION" in text
    assert [f"   {number}. " in text for number in range(1, 10)] == [True] * 9
    assert "END OF TERMS AND CONDITIONS" in text


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="needs a clone")
def test_no_file_of_the_project_names_a_package_index() -> None:
    tracked = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    index = re.compile(r"(?<!extra-)index-url[ =]+\S*://|find-links[ =]+\"?/")
    for name in filter(None, tracked.split("\0")):
        path = ROOT / name
        if path.suffix in {".md", ".toml", ".txt", ".yml", ".sh", ""} and path.is_file():
            assert not index.search(path.read_text(encoding="utf-8")), name
