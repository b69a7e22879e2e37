import json
import logging
import shutil
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from service import durable
from service.errors import IndexMismatchError, StoreError
from service.index.faiss_index import FaissIndex
from service.index.generation import Generation, open_or_build
from service.store.document_store import DocumentStore
from service.types import Candidate, EncodedDocument, EncoderIdentity
from tests.fixtures.stores import now

Encoded = Callable[..., EncodedDocument]
Open = Callable[..., Generation]

FILES = ["index.faiss", "passages.npy", "manifest.json"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "generations"
    folder.mkdir()
    return folder


@pytest.fixture
def open_index(
    store: DocumentStore, folder: Path, identity: EncoderIdentity, encoded: Encoded
) -> Open:
    store.put([encoded(f"d{i}", passages=3) for i in range(40)])

    def open_(wanted: EncoderIdentity = identity, hnsw_threshold: int = 1000) -> Generation:
        return open_or_build(store, folder, wanted, hnsw_threshold=hnsw_threshold, complete=True)

    return open_


def answers(generation: Generation) -> list[list[Candidate]]:
    return generation.index.search(np.eye(8, dtype=np.float32), 20)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_an_index_is_built_once_and_then_loaded(open_index: Open, folder: Path) -> None:
    built = open_index()
    assert built.rebuilt_because == "there is none yet"
    assert len(built.index) == 120
    loaded = open_index()
    assert loaded.rebuilt_because is None
    assert (loaded.name, len(loaded.index)) == (built.name, 120)
    assert answers(loaded) == answers(built)
    assert names(folder) == {built.name}


def test_the_manifest_says_what_the_index_was_made_from(
    open_index: Open, folder: Path, identity: EncoderIdentity, store: DocumentStore
) -> None:
    manifest = json.loads((folder / open_index().name / "manifest.json").read_text())
    assert manifest["encoder"]["model"] == identity.model
    assert manifest["encoder"]["weights_sha256"] == identity.weights_sha256
    assert manifest["encoder"]["query_prefix"] == "query: "
    assert manifest["encoder"]["normalizer_version"] == 1
    assert (manifest["documents"], manifest["passages"]) == (40, 120)
    assert manifest["kind"] == "flat"
    assert manifest["store_revision"] == now(store).revision
    assert manifest["created"].endswith("+00:00")


def test_an_empty_store_has_an_empty_index(
    store: DocumentStore, folder: Path, identity: EncoderIdentity
) -> None:
    for _ in range(2):
        generation = open_or_build(store, folder, identity, hnsw_threshold=10)
        assert answers(generation) == [[]] * 8
    assert generation.rebuilt_because is None


def test_changed_documents_make_a_new_generation_and_the_old_one_goes(
    open_index: Open, store: DocumentStore, encoded: Encoded, folder: Path
) -> None:
    old = open_index()
    row = encoded("new", passages=1)
    store.put([row])
    new = open_index()
    assert new.rebuilt_because == f"1 passages changed since it was built ({old.name})"
    (found,) = new.index.search(row.vectors, 1)[0]
    assert now(store).passages([found.passage_id])[found.passage_id].document_id == "new"
    assert names(folder) == {new.name}


def test_another_threshold_makes_an_index_of_the_other_kind(open_index: Open) -> None:
    assert open_index(hnsw_threshold=120).index.kind == "flat"
    graph = open_index(hnsw_threshold=119)
    assert graph.index.kind == "hnsw"
    assert "kind is flat" in str(graph.rebuilt_because)
    assert open_index(hnsw_threshold=119).rebuilt_because is None


def test_another_encoder_is_refused_and_the_index_stays(
    open_index: Open, identity: EncoderIdentity, folder: Path
) -> None:
    built = open_index()
    with pytest.raises(IndexMismatchError, match="secondpass reindex"):
        open_index(replace(identity, passage_prefix=""))
    assert names(folder) == {built.name}


@pytest.mark.parametrize("kind_threshold", [1000, 10], ids=["flat", "hnsw"])
@pytest.mark.parametrize("file", FILES)
def test_a_flipped_bit_is_found_and_the_index_built_again(
    open_index: Open,
    folder: Path,
    file: str,
    kind_threshold: int,
    caplog: pytest.LogCaptureFixture,
) -> None:
    built = open_index(hnsw_threshold=kind_threshold)
    rng = np.random.default_rng(0)
    for _ in range(4):
        current = open_index(hnsw_threshold=kind_threshold)
        assert current.rebuilt_because is None
        path = folder / current.name / file
        content = bytearray(path.read_bytes())
        content[rng.integers(len(content))] ^= 1 << rng.integers(8)
        path.write_bytes(content)

        caplog.clear()
        with caplog.at_level(logging.WARNING):
            rebuilt = open_index(hnsw_threshold=kind_threshold)
        assert f"{path} has SHA-256" in caplog.text
        assert str(path) in str(rebuilt.rebuilt_because)
        assert answers(rebuilt) == answers(built)
        assert names(folder) == {rebuilt.name}


@pytest.mark.parametrize("file", FILES)
def test_a_missing_or_cut_file_is_found_and_the_index_built_again(
    open_index: Open, folder: Path, file: str
) -> None:
    built = open_index()
    (folder / built.name / file).unlink()
    rebuilt = open_index()
    assert f"{file} cannot be read" in str(rebuilt.rebuilt_because)
    path = folder / rebuilt.name / file
    path.write_bytes(path.read_bytes()[:-1])
    again = open_index()
    assert f"{file} has SHA-256" in str(again.rebuilt_because)
    assert answers(again) == answers(built)


def test_a_missing_folder_is_found_and_the_index_built_again(
    open_index: Open, folder: Path
) -> None:
    built = open_index()
    shutil.rmtree(folder / built.name)
    rebuilt = open_index()
    assert "cannot be read" in str(rebuilt.rebuilt_because)
    assert answers(rebuilt) == answers(built)


def test_a_recorded_name_never_leads_out_of_the_folder(
    open_index: Open, folder: Path, tmp_path: Path
) -> None:
    built = open_index()
    shutil.copytree(folder / built.name, tmp_path / "elsewhere")
    connection = sqlite3.connect(tmp_path / "store.db")
    connection.execute("UPDATE generations SET name = '../elsewhere'")
    connection.execute("UPDATE generation_files SET generation = '../elsewhere'")
    connection.commit()
    connection.close()
    assert "record of the index '../elsewhere' is damaged" in str(open_index().rebuilt_because)
    assert (tmp_path / "elsewhere").is_dir()


def test_leftovers_go_but_nothing_of_others(open_index: Open, folder: Path) -> None:
    built = open_index()
    for leftover in (".g7-0123abcd.unfinished-7", "g7-0123abcd"):
        (folder / leftover).mkdir()
        (folder / leftover / "index.faiss").write_bytes(b"half")
    (folder / "notes").mkdir()
    (folder / "g7-0123abcd.bak").write_text("kept")
    assert open_index().name == built.name
    assert names(folder) == {built.name, "notes", "g7-0123abcd.bak"}


@pytest.mark.parametrize("step", ["save", "flush", "rename", "record"])
def test_a_build_that_fails_leaves_the_old_generation_current(
    open_index: Open,
    store: DocumentStore,
    encoded: Encoded,
    folder: Path,
    step: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    old = open_index()
    recorded = now(store).generation
    store.put([encoded("new")])

    def fail(*_: object) -> None:
        raise (StoreError if step == "record" else OSError)("No space left on device")

    with monkeypatch.context() as patched:
        targets = {
            "save": (FaissIndex, "save"),
            "flush": (durable, "flush"),
            "rename": (Path, "replace"),
            "record": (DocumentStore, "set_generation"),
        }
        patched.setattr(*targets[step], fail)
        with pytest.raises(StoreError, match="No space left on device"):
            open_index()
    assert now(store).generation == recorded
    assert (folder / old.name).is_dir()
    assert not any(".unfinished" in name for name in names(folder))
    new = open_index()
    assert len(new.index) == 122
    assert names(folder) == {new.name}


def test_documents_put_while_an_index_is_built_are_in_the_next_one(
    open_index: Open,
    store: DocumentStore,
    encoded: Encoded,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    build = FaissIndex.build

    def build_meanwhile(*args: object, **options: object) -> object:
        store.put([encoded("meanwhile", passages=1)])
        return build(*args, **options)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(FaissIndex, "build", build_meanwhile)
        first = open_index()
    assert len(first.index) == 120
    second = open_index()
    assert "1 passages changed" in str(second.rebuilt_because)
    assert len(second.index) == 121
