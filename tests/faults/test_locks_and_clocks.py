"""Locks that other processes hold, a second server, a clock that goes backwards."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from service.errors import StoreLockedError
from service.index import generation
from service.settings import Settings
from service.store import catalog, database
from service.store.data_folder import DataFolder
from tests.faults.ferries import TEXTS, Serve, answers, fill, only_generation, put
from tests.fixtures.hash_models import open_hash_engine
from tests.fixtures.stores import now

HOLD = (
    "import sqlite3, sys\n"
    "c = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
    "c.execute('BEGIN ' + sys.argv[2])\n"
    "print('held', flush=True)\n"
    "input()"
)


@contextmanager
def held(path: Path, how: str = "IMMEDIATE") -> Iterator[None]:
    """Another process has the file in a transaction."""
    command = [sys.executable, "-c", HOLD, str(path), how]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        yield
        holder.communicate(b"\n")


def test_a_store_locked_by_another_process_stops_writes_and_no_search(
    settings: Settings, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "_BUSY_TIMEOUT_S", 0.05)
    with serve(settings) as client:
        fill(client)
        right = answers(client)
        with held(settings.data_dir / "store.db"):
            assert put(client, "new") == 503
            assert answers(client) == right
            assert client.get("/documents/d1").status_code == 200
            assert client.get("/readyz").status_code == 200
            store = client.app.state.server.engine.collection().folder.store
            with pytest.raises(StoreLockedError, match="another process holds"):
                store.delete(["d1"])
        assert put(client, "new") == 201


def test_a_start_on_a_locked_store_says_so(
    settings: Settings, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "_BUSY_TIMEOUT_S", 0.05)
    with serve(settings) as client:
        fill(client)
    with (
        held(settings.data_dir / "store.db", "EXCLUSIVE"),
        pytest.raises(StoreLockedError, match=r"another process holds .*store\.db"),
    ):
        open_hash_engine(settings)
    with serve(settings) as client:  # the refused one has left no lock behind
        answers(client)


def test_a_second_server_on_the_folder_is_refused_at_once(settings: Settings, serve: Serve) -> None:
    second = (
        "import sys, time; from pathlib import Path\n"
        "from service.errors import StoreLockedError\n"
        "from tests.fixtures.hash_models import hash_settings, open_hash_engine\n"
        "began = time.monotonic()\n"
        "try: open_hash_engine(hash_settings(Path(sys.argv[1])))\n"
        "except StoreLockedError as error: print(time.monotonic() - began, error)"
    )
    with serve(settings) as client:
        fill(client)
        right = answers(client)
        command = [sys.executable, "-c", second, str(settings.data_dir)]
        told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        seconds, message = told.split(" ", 1)
        assert f"another process uses the data folder {settings.data_dir}" in message
        assert float(seconds) < 2
        assert answers(client) == right
        assert put(client, "new") == 201
    with serve(settings) as client:
        assert put(client, "new") == 200


def test_a_clock_that_goes_backwards_harms_nothing(
    settings: Settings, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each time that anybody looks at the clock, it is an hour earlier."""
    hours = iter(range(1, 10**6))
    began = datetime.now(UTC)

    class Clock(datetime):
        @classmethod
        def now(cls, tz: object = None) -> datetime:  # type: ignore[override]
            return began - timedelta(hours=next(hours))

    monkeypatch.setattr(time, "time", lambda: began.timestamp() - 3600 * next(hours))
    for module in (catalog, generation):
        monkeypatch.setattr(module, "datetime", Clock)
    versions: list[int] = []
    for round_ in range(4):
        with serve(settings) as client:
            if not round_:
                fill(client)
                right = answers(client)
            collection = client.app.state.server.engine.collection()
            for text in ("an early ferry", "a late ferry"):
                answer = client.put("/documents/d0?wait=true", json={"text": f"{text} {round_}"})
                versions.append(answer.json()["version"])
                named = collection.indexer.compact().name
            client.put("/documents/d0?wait=true", json={"text": TEXTS["d0"]})
            assert answers(client) == right
        assert only_generation(settings).name == named
    assert versions == sorted(set(versions))
    with DataFolder.open(settings.data_dir) as folder:
        record = now(folder.store).generation
        assert record is not None
        assert record.name == named
        assert record.created < began
