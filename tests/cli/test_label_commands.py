"""The commands on a collection's own labels, in a data folder and at a server."""

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from service.api.app import create_app
from service.datasets import open_collection
from service.store.data_folder import DataFolder
from service.store.label_store import Judged
from tests.cli.test_commands import secondpass
from tests.fixtures.hash_models import hash_settings, open_hash_engine
from tests.fixtures.hash_server import ROWS
from tests.fixtures.loopback import serving

FIRST, SECOND = (row["id"] for row in ROWS[:2])


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data folder with documents and two labels."""
    settings = hash_settings(tmp_path / "data")
    with serving(create_app(settings, lambda: open_hash_engine(settings))) as url:
        httpx.post(f"{url}/documents?wait=true", json={"documents": ROWS})
    with DataFolder.open(settings.data_dir) as folder:
        folder.main.labels.add("labels", "tides", [Judged(FIRST, 2), Judged(SECOND, 0)])
        folder.main.labels.add("feedback", "tides", [Judged(FIRST, None, 1)])
    return settings.data_dir


@pytest.fixture
def url(data: Path) -> Iterator[str]:
    settings = hash_settings(data)
    with serving(create_app(settings, lambda: open_hash_engine(settings))) as url:
        yield url


def test_a_folders_labels_are_counted_exported_and_deleted(data: Path, tmp_path: Path) -> None:
    where = ("--data-dir", data)
    shown = secondpass("labels", "show", *where)
    assert shown.stdout == "1 queries, 2 judged hits: 1 relevant, 1 not\n", shown.stderr
    done = secondpass("labels", "export", tmp_path / "beir", *where)
    assert done.returncode == 0, done.stderr
    found = open_collection(tmp_path / "beir")
    assert (found.queries, found.qrels) == ({"q1": "tides"}, {"q1": {FIRST: 2, SECOND: 0}})
    done = secondpass("labels", "delete", "--set", "feedback", *where)
    assert done.stdout == "deleted 1 judged hits\n"
    assert secondpass("labels", "show", *where).stdout.startswith("1 queries")


def test_a_servers_labels_are_exported_evaluated_and_too_few(url: str, tmp_path: Path) -> None:
    done = secondpass("labels", "export", tmp_path / "beir", "--url", url)
    assert done.returncode == 0, done.stderr
    assert open_collection(tmp_path / "beir").qrels == {"q1": {FIRST: 2, SECOND: 0}}
    figures = tmp_path / "figures.json"
    done = secondpass("labels", "evaluate", "--url", url, "--json", figures)
    assert done.returncode == 0, done.stderr
    assert "2 judged hits of 1 queries" in done.stdout
    assert "to calibrate, label 8 more judged hits" in done.stderr
    assert json.loads(figures.read_text())["measures"]["reranked"]["recall@100"]["value"] == 1.0
    done = secondpass("labels", "calibrate", "--url", url)
    assert done.returncode == 1
    assert "the calibration is failed" in done.stderr
