import os
import resource
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from service.errors import StoreError, StoreLockedError
from service.store import database
from service.store.database import Database


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


@pytest.fixture
def opened(path: Path) -> Iterator[Database]:
    opened = Database(path)
    yield opened
    opened.close()


def put(opened: Database, name: str, value: object = 1) -> None:
    with opened.writing() as connection:
        connection.execute("INSERT INTO meta VALUES (?, ?)", [name, value])


def names(opened: Database) -> set[str]:
    with opened.reading() as connection:
        found = {name for (name,) in connection.execute("SELECT name FROM meta")}
    return found - {"id", "revision", "documents", "passages"}


def test_writes_are_flushed_before_they_are_acknowledged(opened: Database) -> None:
    with opened.writing() as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL
        assert connection.execute("PRAGMA foreign_keys").fetchone() == (1,)


def test_an_error_undoes_the_whole_write(opened: Database) -> None:
    def interrupted() -> None:
        with opened.writing() as connection:
            connection.execute("INSERT INTO meta VALUES ('a', 1)")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    put(opened, "b")
    assert names(opened) == {"b"}


def test_a_full_disk_is_named_and_loses_nothing(opened: Database) -> None:
    put(opened, "before")
    with opened.writing() as connection:
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {pages + 2}")
    with pytest.raises(StoreError, match="disk is full"):
        put(opened, "large", b"x" * 100_000)
    assert names(opened) == {"before"}
    with opened.writing() as connection:
        connection.execute("PRAGMA max_page_count = 1000000")
    put(opened, "after", b"x" * 100_000)
    assert names(opened) == {"before", "after"}


def test_a_failing_disk_is_named_and_loses_nothing(opened: Database) -> None:
    put(opened, "before")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
    try:
        with pytest.raises(StoreError, match="disk or file system reports an error"):
            put(opened, "large", b"x" * 1_000_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    put(opened, "after", b"x" * 1_000_000)
    assert names(opened) == {"before", "after"}


def test_a_lock_held_elsewhere_is_named(
    opened: Database, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "_BUSY_TIMEOUT_S", 0.05)
    impatient = Database(path)
    with opened.writing():
        with pytest.raises(StoreLockedError, match=r"another process holds .*store\.db"):
            put(impatient, "x")
        assert names(impatient) == set()
    put(impatient, "x")
    impatient.close()
    assert names(opened) == {"x"}


def test_a_reader_never_waits_for_the_writer(opened: Database) -> None:
    put(opened, "a")
    with opened.writing() as connection:
        connection.execute("INSERT INTO meta VALUES ('b', 1)")
        assert names(opened) == {"a"}


def test_the_log_stays_short_though_somebody_reads_at_every_moment(
    opened: Database, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "_LOG_BYTES", 1 << 20)
    opened._log_limit = 1 << 20
    stop, overlapped = threading.Event(), threading.Barrier(2)

    def read() -> None:
        with suppress(threading.BrokenBarrierError):
            while not stop.is_set():
                with opened.reading():
                    overlapped.wait()  # now the other one reads as well, and may end
                    time.sleep(0.002)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    log = path.with_name("store.db-wal")
    longest = 0
    for i in range(60):
        put(opened, f"name {i}", b"x" * 200_000)
        longest = max(longest, log.stat().st_size)
    stop.set()
    overlapped.abort()
    for reader in readers:
        reader.join()
    assert longest < 4 << 20
    assert len(names(opened)) == 60


def test_a_read_that_takes_long_keeps_no_write_waiting_for_long(
    opened: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "_LOG_BYTES", 1 << 20)
    monkeypatch.setattr(database, "_LOG_WAIT_S", 0.05)
    opened._log_limit = 1 << 20
    with opened.reading() as connection:
        before = connection.execute("SELECT count(*) FROM meta").fetchone()
        began = time.monotonic()
        for i in range(20):
            put(opened, f"name {i}", b"x" * 200_000)
        assert time.monotonic() - began < 3.0  # four waits of 0.05 to 0.2 s
        assert connection.execute("SELECT count(*) FROM meta").fetchone() == before
    assert len(names(opened)) == 20


@pytest.mark.parametrize(
    "content", [b"no database at all " * 100, b"SQLite format 3\0" + b"x" * 999]
)
def test_a_file_that_is_no_database_is_refused_and_left_alone(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(StoreError, match=r"store\.db: it is not a database, or it is damaged"):
        Database(path)
    assert path.read_bytes() == content


def test_a_damaged_page_is_named(path: Path) -> None:
    opened = Database(path)
    for i in range(20):
        put(opened, f"name {i}", "x" * 3000)
    opened.close()
    content = bytearray(path.read_bytes())
    content[4096:] = os.urandom(len(content) - 4096)
    path.write_bytes(content)
    with pytest.raises(StoreError, match="damaged"):
        Database(path)


def test_another_schema_version_is_refused(path: Path) -> None:
    Database(path).close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(StoreError, match="version 99 and this program reads version 6") as raised:
        Database(path)
    assert str(raised.value).endswith(f": secondpass ingest FILE --data-dir {path.parent}")


def test_the_database_of_another_program_is_refused(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE theirs (x)")
    connection.close()
    with pytest.raises(StoreError, match="another program"):
        Database(path)


def test_a_folder_in_place_of_the_file_is_named(path: Path) -> None:
    path.mkdir()
    with pytest.raises(StoreError, match="it cannot be opened"):
        Database(path)


def test_after_close_everything_says_so(path: Path) -> None:
    opened = Database(path)
    with opened.reading() as connection:
        opened.close()
        # A read under way is not cut off.
        assert connection.execute("SELECT 1").fetchone() == (1,)
    # The last connection to close takes the log along, so none is left open.
    assert not path.with_name("store.db-wal").exists()
    with pytest.raises(StoreError, match="is closed"):
        names(opened)
    with pytest.raises(StoreError, match="is closed"):
        put(opened, "x")


def test_one_connection_serves_many_reads_and_threads_share_the_pool(opened: Database) -> None:
    used: set[int] = set()
    together = threading.Barrier(4)

    def read() -> None:
        with opened.reading() as connection:
            used.add(id(connection))
            together.wait()

    for _ in range(3):
        threads = [threading.Thread(target=read) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(used) == 4


def test_a_read_only_file_system_is_named(tmp_path: Path) -> None:
    # The kernel's own read-only folder: no permission of root's helps there.
    with pytest.raises(StoreError, match="cannot use /proc/"):
        Database(Path("/proc/self/store.db"))


def test_no_connection_is_left_open_at_exit(path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from service.store.database import Database\n"
        "d = Database(Path(sys.argv[1]))\nwith d.reading(): pass\nd.close()"
    )
    command = [sys.executable, "-X", "dev", "-W", "error", "-c", script, str(path)]
    finished = subprocess.run(command, capture_output=True, text=True, check=True)
    assert finished.stderr == ""
    assert not path.with_name("store.db-wal").exists()
