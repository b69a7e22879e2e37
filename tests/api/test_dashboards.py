"""The alert rules and the dashboard: every metric and label that they name is in `/metrics`."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families

ROOT = Path(__file__).parents[2]
ALERTS = yaml.safe_load((ROOT / "docker" / "alerts.yml").read_text())
RULES: list[dict[str, Any]] = [rule for group in ALERTS["groups"] for rule in group["rules"]]
DASHBOARD = json.loads((ROOT / "docker" / "grafana.json").read_text())
EXPRESSIONS = [rule["expr"] for rule in RULES] + [
    target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]
]

_WORDS = {"absent", "and", "by", "delta", "group_left", "histogram_quantile", "ignoring"}
_WORDS |= {"min_over_time", "rate", "sum"}


@pytest.fixture(scope="module")
def metrics(client: TestClient) -> dict[str, set[str]]:
    """Each metric's labels, of those that have a sample or only a description."""
    client.post("/search", json={"query": "tides"})
    client.delete("/documents/none")
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(client.get("/metrics").text):
        found.setdefault(family.name + ("_total" if family.type == "counter" else ""), set())
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_every_metric_and_label_exists(expression: str, metrics: dict[str, set[str]]) -> None:
    names = set(re.findall(r"\bsecondpass_\w+", expression))
    assert names
    assert names <= metrics.keys()
    bare = re.sub(r'"[^"]*"|\[[^\]]*\]|\bsecondpass_\w+', "", expression)
    labels = set(re.findall(r"\b[a-z_]+\b", bare)) - _WORDS
    known = set().union(*(metrics[name] for name in names))
    if any(metrics[name] for name in names):
        assert labels <= known


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_brackets_are_closed(expression: str) -> None:
    closing, open_ones = {")": "(", "}": "{", "]": "["}, []
    for sign in re.sub(r'"[^"]*"', "", expression):
        if sign in closing.values():
            open_ones.append(sign)
        elif sign in closing:
            assert open_ones.pop() == closing[sign]
    assert not open_ones


@pytest.mark.parametrize("expression", [e for e in EXPRESSIONS if " and " in e])
def test_both_sides_of_an_and_have_equal_labels(expression: str) -> None:
    left, right = (
        dict(re.findall(r'(\w+)="(\w+)"', side)) for side in re.split(r"\band\b", expression)
    )
    ignored = set(re.findall(r"ignoring \((\w+)\)", expression))
    assert {name for name in left if left[name] != right.get(name)} <= ignored


def test_every_alert_says_what_is_wrong_and_for_how_long() -> None:
    assert len({rule["alert"] for rule in RULES}) == len(RULES)
    for rule in RULES:
        assert re.fullmatch(r"\d+m", rule["for"])
        assert rule["labels"]["severity"] in {"critical", "warning"}
        assert rule["annotations"]["summary"]


def test_every_panel_has_its_own_place() -> None:
    places = [tuple(panel["gridPos"].values()) for panel in DASHBOARD["panels"]]
    assert len(set(places)) == len(places) == len({p["id"] for p in DASHBOARD["panels"]})


def test_the_page_describes_every_metric(client: TestClient) -> None:
    page = (ROOT / "docs" / "operations.md").read_text()
    told = set(re.findall(r"^\| `(secondpass_\w+)`", page, re.MULTILINE))
    there = set(re.findall(r"^# HELP (secondpass_\w+)", client.get("/metrics").text, re.MULTILINE))
    assert told == {name for name in there if not name.endswith("_created")}
