"""`secondpass collections` and `secondpass snapshot`, on a data folder and on a server."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.api.app import create_app
from service.cli import folder_collections
from service.engine import ingestion
from service.engine.build import index_identity
from service.store.data_folder import DataFolder
from service.write.ingestor import Ingestor
from tests.cli.test_commands import Done, secondpass
from tests.fixtures.hash_models import HashPool, NamedEncoder, hash_settings, open_hash_engine
from tests.fixtures.library import DOCUMENTS
from tests.fixtures.loopback import serving
from tests.fixtures.stores import now


@pytest.fixture(autouse=True)
def hash_models(monkeypatch: pytest.MonkeyPatch) -> None:
    """No model is prepared: its name says who it is."""
    monkeypatch.setattr(folder_collections, "encoder_identity", HashPool().identity)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "data"
    settings = hash_settings(path)
    encoder = NamedEncoder(HashPool().identity(settings))
    with DataFolder.open(path) as opened:
        opened.store.set_identity(index_identity(settings, encoder.identity))
        Ingestor(opened.store, encoder, overlap=0).ingest(DOCUMENTS)
    return path


@pytest.fixture(params=["folder", "server"])
def where(request: pytest.FixtureRequest, folder: Path) -> Iterator[list[str]]:
    if request.param == "folder":
        yield ["--data-dir", str(folder)]
        return
    settings = hash_settings(folder)
    with serving(create_app(settings, lambda: open_hash_engine(settings))) as url:
        yield ["--url", url]


def run(*arguments: object) -> Done:
    done = secondpass(*arguments)
    assert done.returncode == 0, done.stderr
    return done


def test_an_archive_that_cannot_be_written_is_told_in_a_line(
    where: list[str], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "none" / "a.tar", tmp_path / "file" / "a.tar", tmp_path / "data"):
        done = secondpass("snapshot", "create", path, *where)
        assert done.returncode == 1
        assert "Traceback" not in done.stderr
        assert str(path.name) in done.stderr


def test_one_collection_is_encoded_anew(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingestion, "ModelPool", HashPool)
    run("collections", "create", "next", "--set", "passage_overlap=3", "--data-dir", folder)
    with DataFolder.open(folder) as opened:
        store, main = opened.collection("next").store, now(opened.store).identity
        encoder = NamedEncoder(HashPool().identity(hash_settings(folder)))
        Ingestor(store, encoder, overlap=0).ingest(DOCUMENTS[:3])
    window = ("--passage-tokens", "40", "--data-dir", folder)
    done = run("reindex", "--collection", "next", *window)
    assert "3 documents encoded again" in done.stdout
    assert "0 documents encoded again" in run("reindex", "--collection", "next", *window).stdout
    with DataFolder.open(folder) as opened:
        identity = now(opened.collection("next").store).identity
        assert identity is not None
        assert identity.max_length == 40
        assert now(opened.store).identity == main
    gone = secondpass("reindex", "--collection", "gone", *window)
    assert gone.returncode != 0
    assert "gone" in gone.stderr


def test_collections_come_are_switched_and_go(where: list[str]) -> None:
    own = {"encoder": "minilm-l6", "hybrid_weight": 0.3, "rerank_depth": 7}
    pairs = [word for name, value in own.items() for word in ("--set", f"{name}={value}")]
    run("collections", "create", "next", *pairs, *where)
    run("collections", "alias", "default", "next", *where)
    listed = run("collections", "list", *where).stdout
    assert all(json.dumps({name: value})[1:-1] in listed for name, value in own.items())
    assert [line.split()[1] for line in listed.splitlines() if "│ next" in line] == ["next"]
    refused = secondpass("collections", "delete", "next", *where)
    assert refused.returncode == 1
    assert "the alias 'default' leads to the collection 'next'" in refused.stderr
    run("collections", "alias", "default", "main", *where)
    run("collections", "alias", "other", "next", *where)
    for both_or_none in ([], ["main", "--remove"]):
        unclear = secondpass("collections", "alias", "other", *both_or_none, *where)
        assert (unclear.returncode, "--remove" in unclear.stderr) == (2, True)
    assert "other" in run("collections", "list", *where).stdout
    run("collections", "alias", "other", "--remove", *where)
    run("collections", "delete", "next", *where)
    assert "next" not in run("collections", "list", *where).stdout


def test_a_setting_that_is_no_number_is_refused_in_a_line(where: list[str]) -> None:
    for value in ("nan", "inf", "-inf"):
        pair = f"hybrid_weight={value}"
        done = secondpass("collections", "create", "next", "--set", pair, *where)
        assert done.returncode in {1, 2}
        assert done.stderr.count("hybrid_weight: ") == 1
        assert "Traceback" not in done.stderr


def test_an_archive_is_written_checked_and_restored(where: list[str], tmp_path: Path) -> None:
    out = tmp_path / "main.tar"
    assert f"{out}: " in run("snapshot", "create", out, *where).stdout
    shown = run("snapshot", "check", out).stdout
    assert f"documents   {len(DOCUMENTS)}" in shown
    run("snapshot", "restore", out, "again", *where)
    assert f" {len(DOCUMENTS)} " in run("collections", "list", *where).stdout.split("again")[1]
    taken = secondpass("snapshot", "restore", out, "again", *where)
    assert (taken.returncode, "'again' is taken" in taken.stderr) == (1, True)
    assert (
        "encoded by the server"
        in run("snapshot", "restore", out, "anew", "--re-embed", *where).stdout
    )


def test_what_is_wrong_is_told_in_one_line(folder: Path, tmp_path: Path) -> None:
    out, there = tmp_path / "main.tar", ["--data-dir", str(folder)]
    run("snapshot", "create", out, *there)
    content = bytearray(out.read_bytes())
    content[2000] ^= 1
    out.write_bytes(content)
    other = tmp_path / "other.tar"
    other.write_bytes(b"no archive")
    for arguments, said in (
        (["snapshot", "check", out], "documents-00001.jsonl is not what manifest.json says"),
        (["snapshot", "restore", out, "again", *there], "it is damaged"),
        (["snapshot", "check", other], "cut off, or it is none"),
        (["snapshot", "check", tmp_path / "none"], "there is no file"),
        (["snapshot", "restore", other, "A", *there], "a name has 1 to 64"),
        (["collections", "create", "x", "--set", "encoder", *there], "takes NAME=VALUE"),
        (["collections", "create", "x", *2 * ["--set", "encoder=e"], *there], "encoder twice"),
        (["collections", "create", "x", "--set", "device=cpu", *there], "no setting 'device'"),
        (["collections", "delete", "main", *there], "cannot be removed"),
        (["collections", "alias", "default", "none", *there], "no collection 'none'"),
        (["snapshot", "create", folder / "no" / "x.tar", *there], "No such file"),
        (["collections", "list", "--url", "nothing"], "--url or --api-key"),
    ):
        done = secondpass(*arguments)
        assert done.returncode in (1, 2)
        assert said in done.stderr
        assert len(done.stderr.splitlines()) == 1
    with DataFolder.open(folder) as opened:
        assert set(opened.catalog.collections) == {"main"}
