"""docs/architecture.md names what there is, and the import rules that are checked."""

import re
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
SERVICE = ROOT / "service"


def contracts() -> list[dict[str, Any]]:
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return list(pyproject["tool"]["importlinter"]["contracts"])


def between(name: str) -> list[str]:
    found = re.search(rf"<!-- {name} -->\n(.*?)<!-- /{name} -->", PAGE, re.DOTALL)
    assert found, f"the page has no place for {name}"
    return [line for line in found[1].splitlines() if line and not line.startswith("```")]


def test_the_drawing_has_every_folder_and_no_other() -> None:
    drawn = set(re.findall(r"^  (\w+)/ ", PAGE, re.MULTILINE))
    there = {path.parent.name for path in SERVICE.glob("*/__init__.py")}
    assert drawn == there


def test_every_file_and_folder_that_is_named_exists() -> None:
    names = set(re.findall(r"`((?:[a-z_]+/)*[a-z_]+\.py|(?:[a-z_]+/)+)`", PAGE))
    assert len(names) > 20
    missing = {n for n in names if not (SERVICE / n).exists() and not (ROOT / n).exists()}
    assert not missing


def test_the_layers_are_those_that_import_linter_checks() -> None:
    layers = next(c["layers"] for c in contracts() if c["type"] == "layers")
    assert between("layers") == [re.sub(r"[()]", "", layer) for layer in layers]


def test_the_other_rules_are_those_that_import_linter_checks() -> None:
    names = [c["name"] for c in contracts() if c["type"] != "layers"]
    assert between("contracts") == [f"- {name}" for name in names]


def test_no_two_modules_have_one_name() -> None:
    names = [path.name for path in SERVICE.rglob("*.py") if path.name != "__init__.py"]
    assert sorted({name for name in names if names.count(name) > 1}) == []


def test_no_line_is_longer_than_100_columns() -> None:
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *SERVICE.rglob("*.md")]
    long = [
        f"{page.relative_to(ROOT)}:{number}"
        for page in (*pages, *SERVICE.rglob("*.py"))
        for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1)
        if len(line) > 100
    ]
    assert not long


def test_the_words_that_the_english_guide_bans_are_gone() -> None:
    banned = re.compile(r"\b(stands|anew|so many|nobody|whoever|lest|parted by)\b", re.IGNORECASE)
    found = [
        f"{page.relative_to(ROOT)}:{number}"
        for page in (*SERVICE.rglob("*.py"), *ROOT.glob("docs/**/*.md"), ROOT / "README.md")
        for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1)
        if banned.search(line)
    ]
    assert not found
