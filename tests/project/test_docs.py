"""The pages say nothing that the project does not have."""

import re
from pathlib import Path

import pytest

from service import __version__
from service.environment import FILE, OTHER_VARIABLES
from service.settings import Settings, environment_variables

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("clients/*/*.md")])
NAMES_OF_PAGES = [str(page.relative_to(ROOT)) for page in PAGES]


@pytest.mark.parametrize("name", NAMES_OF_PAGES)
def test_links_within_the_project_lead_somewhere(name: str) -> None:
    page = ROOT / name
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8")):
        if "://" not in target and not target.startswith("mailto:"):
            assert (page.parent / target).exists(), f"{name} links to {target}"


@pytest.mark.parametrize("name", NAMES_OF_PAGES)
def test_commands_of_make_exist(name: str) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    text = (ROOT / name).read_text(encoding="utf-8")
    code = re.findall(r"`make ([a-z-]+)|^make ([a-z-]+)", text, re.MULTILINE)
    assert {first or second for first, second in code} <= targets


@pytest.mark.parametrize(
    "name", [*NAMES_OF_PAGES, "Dockerfile", "docker-compose.yml", "Makefile", "scripts/setup.sh"]
)
def test_variables_that_are_named_exist(name: str) -> None:
    known = set(OTHER_VARIABLES).union(
        *(environment_variables(setting, field) for setting, field in Settings.model_fields.items())
    )
    text = (ROOT / name).read_text(encoding="utf-8")
    named = set(re.findall(r"\bSECONDPASS_[A-Z_]*[A-Z]\b", text))
    assert {name.removesuffix(FILE) for name in named - known} <= known


def test_the_changelog_has_a_place_for_the_next_change_and_dated_releases() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    heads = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert heads[0] == "[Unreleased]"
    assert all(re.fullmatch(r"\[\d+\.\d+\.\d+\] - \d{4}-\d\d-\d\d", head) for head in heads[1:])
    assert heads[1].startswith(f"[{__version__}]")
