"""Folders of collections: made, dropped, found again, and never somebody else's."""

import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from service.errors import (
    ConflictError,
    IndexMismatchError,
    NotFoundError,
    StoreError,
    StoreLockedError,
)
from service.store.catalog import Catalog
from service.store.data_folder import DataFolder
from service.types import Document
from tests.fixtures.doubles import HashEncoder
from tests.fixtures.stores import now

DOCUMENT = Document("tide", "The tide turns twice a day.")


def make(folder: DataFolder, name: str, as_name: str | None = None) -> None:
    with folder.making(name) as made:
        made.store.set_identity(HashEncoder.identity)
        made.store.stage([DOCUMENT])
        folder.catalog.add(as_name or name, {})


def folders(path: Path) -> list[str]:
    return sorted(p.name for p in (path / "collections").iterdir())


def test_a_collection_is_there_after_a_restart(tmp_path: Path) -> None:
    with DataFolder.open(tmp_path) as folder:
        make(folder, "a")
    with DataFolder.open(tmp_path) as folder, folder.collection("a").store.view() as view:
        assert view.document("tide").document == DOCUMENT


def test_one_that_fails_in_the_making_leaves_nothing(tmp_path: Path) -> None:
    with DataFolder.open(tmp_path) as folder:
        with pytest.raises(ConflictError, match="is taken"):
            make(folder, "a", "main")  # the last step fails
        assert folders(tmp_path) == []
        make(folder, "a")  # the name is free again


def test_two_cannot_make_the_same_one(tmp_path: Path) -> None:
    with DataFolder.open(tmp_path) as folder:
        with folder.making("a"), pytest.raises(ConflictError, match="being made"):
            make(folder, "a")
        make(folder, "b")
        with pytest.raises(ConflictError, match="taken"):
            make(folder, "b")


def test_a_dropped_one_is_gone_and_its_name_is_free_once_its_files_are(tmp_path: Path) -> None:
    with DataFolder.open(tmp_path) as folder:
        make(folder, "a")
        going, may_end = threading.Event(), threading.Event()

        def let_go() -> None:
            going.set()
            may_end.wait(10)

        dropping = threading.Thread(target=folder.drop, args=("a", let_go))
        dropping.start()
        going.wait(10)
        with pytest.raises(NotFoundError):
            folder.catalog.resolve("a")
        with pytest.raises(ConflictError, match="being made or removed"):
            make(folder, "a")
        may_end.set()
        dropping.join()
        assert folders(tmp_path) == []
        make(folder, "a")
        assert now(folder.collection("a").store).counts == (0, 0)
        for name in ("main", "gone"):
            with pytest.raises((ConflictError, NotFoundError)):
                folder.drop(name)


def test_what_a_dead_process_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    with DataFolder.open(tmp_path) as folder:
        make(folder, "kept")
        make(folder, "half")
    catalog = Catalog.read(tmp_path / "catalog.json")
    catalog.remove("half")  # as if the process had died before it removed the files
    parent = tmp_path / "collections"
    (parent / "empty").mkdir()
    (parent / ".dropped-0123" / "generations").mkdir(parents=True)
    (parent / "mine").mkdir()
    (parent / "mine" / "store.db").write_text("")
    (parent / "mine" / "photo.png").write_text("")
    (parent / "link").symlink_to(tmp_path, target_is_directory=True)
    (parent / "notes.txt").write_text("mine")
    DataFolder.open(tmp_path).close()
    assert folders(tmp_path) == ["kept", "link", "mine", "notes.txt"]
    assert (tmp_path / "store.db").exists()


def test_a_foreign_folder_is_never_taken_for_a_collection(tmp_path: Path) -> None:
    foreign = tmp_path / "collections" / "photos"
    foreign.mkdir(parents=True)
    (foreign / "sea.png").write_text("mine")
    with DataFolder.open(tmp_path) as folder:
        with pytest.raises(StoreError, match="no collection's folder"):
            make(folder, "photos")
        assert (foreign / "sea.png").read_text() == "mine"


def test_a_collection_without_its_store_is_an_error_and_not_empty(tmp_path: Path) -> None:
    with DataFolder.open(tmp_path) as folder:
        make(folder, "a")
    (tmp_path / "collections" / "a" / "store.db").unlink()
    with DataFolder.open(tmp_path) as folder:
        with pytest.raises(StoreError, match="has no store"):
            folder.collection("a")
        folder.drop("a")  # it can still be removed
        assert folders(tmp_path) == []


def test_a_damaged_catalog_stops_the_start_and_lets_the_folder_go(tmp_path: Path) -> None:
    DataFolder.open(tmp_path).close()
    (tmp_path / "catalog.json").write_text("{")
    for _ in range(2):
        with pytest.raises(StoreError, match=r"catalog\.json"):
            DataFolder.open(tmp_path)
    (tmp_path / "catalog.json").unlink()
    DataFolder.open(tmp_path).close()


def test_a_second_process_is_refused_while_one_makes_collections(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from service.store.data_folder import DataFolder\n"
        "DataFolder.open(Path(sys.argv[1]))"
    )
    with DataFolder.open(tmp_path) as folder, folder.making("a"):
        second = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False
        )
        assert second.returncode == 1
        assert StoreLockedError.__name__ in second.stderr
        assert folders(tmp_path) == ["a"]  # and it cleaned nothing away


def test_a_lost_catalog_costs_no_collection(tmp_path: Path) -> None:
    with DataFolder.open(tmp_path) as folder, folder.making("notes"):
        folder.catalog.add("notes", {})
    catalog = tmp_path / "catalog.json"
    kept = catalog.read_bytes()
    catalog.unlink()
    with pytest.raises(StoreError, match=r"catalog\.json is missing"):
        DataFolder.open(tmp_path)
    assert (tmp_path / "collections" / "notes" / "store.db").is_file()
    catalog.write_bytes(kept)
    with DataFolder.open(tmp_path) as folder:
        assert "notes" in folder.catalog.collections


def test_another_encoder_is_told_which_command_to_run(tmp_path: Path) -> None:
    identity = HashEncoder.identity
    with DataFolder.open(tmp_path) as folder:
        make(folder, "next")
        for name, more in (("main", ""), ("next", " --collection next")):
            store = folder.collection(name).store
            store.set_identity(identity)
            with pytest.raises(IndexMismatchError) as raised:
                store.set_identity(replace(identity, max_length=32))
            assert str(raised.value).endswith(f": secondpass reindex --data-dir {tmp_path}{more}")


def test_a_collection_that_was_opened_as_a_data_folder_can_be_removed(tmp_path: Path) -> None:
    with DataFolder.open(tmp_path) as folder:
        make(folder, "next")
    DataFolder.open(tmp_path / "collections" / "next").close()
    with DataFolder.open(tmp_path) as folder:
        folder.drop("next")
        assert folders(tmp_path) == []
