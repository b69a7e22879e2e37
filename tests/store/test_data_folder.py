import subprocess
import sys
import threading
from pathlib import Path

import pytest

from service.errors import StoreError, StoreLockedError
from service.store.data_folder import DataFolder
from tests.fixtures.stores import now

HOLD = (
    "import sys; from pathlib import Path; from service.store.data_folder import DataFolder\n"
    "with DataFolder.open(Path(sys.argv[1])):\n    print('open', flush=True)\n    input()"
)


def test_a_folder_is_made_with_its_parents_and_opened_again(tmp_path: Path) -> None:
    path = tmp_path / "new" / "data"
    for _ in range(2):
        with DataFolder.open(path) as data:
            assert data.path == path
            assert data.generations.is_dir()
            assert now(data.store).counts == (0, 0)
    assert (path / "store.db").is_file()


def test_a_second_process_is_refused_until_the_first_ends(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"open\n"
        with pytest.raises(StoreLockedError, match=f"another process uses .*{tmp_path.name}"):
            DataFolder.open(tmp_path)
        holder.kill()
    DataFolder.open(tmp_path).close()


def test_the_same_process_cannot_open_a_folder_twice(tmp_path: Path) -> None:
    with DataFolder.open(tmp_path), pytest.raises(StoreLockedError):
        DataFolder.open(tmp_path)
    DataFolder.open(tmp_path).close()


def test_a_folder_may_be_closed_by_another_thread(tmp_path: Path) -> None:
    data = DataFolder.open(tmp_path)
    closer = threading.Thread(target=data.close)
    closer.start()
    closer.join()
    DataFolder.open(tmp_path).close()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "data", Path("/proc/self/data")):
        with pytest.raises(StoreError, match=f"cannot use the data folder {path}"):
            DataFolder.open(path)


def test_a_store_that_cannot_be_read_does_not_keep_the_folder_locked(tmp_path: Path) -> None:
    (tmp_path / "store.db").write_bytes(b"no database at all " * 100)
    kept = []  # and with it all that the failed call had in hand
    for _ in range(2):
        with pytest.raises(StoreError, match="not a database") as caught:
            DataFolder.open(tmp_path)
        kept.append(caught)
    (tmp_path / "store.db").unlink()
    DataFolder.open(tmp_path).close()
