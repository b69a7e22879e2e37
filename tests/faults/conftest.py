"""A server on models that need no loading, and a disk of a few megabytes."""

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from service.api.app import create_app
from service.settings import Settings
from tests.fixtures.hash_models import hash_settings, open_hash_engine

Serve = Callable[..., Any]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return hash_settings(tmp_path / "data")


@contextmanager
def serving(settings: Settings) -> Iterator[TestClient]:
    """The application over a data folder, once it is ready."""
    with TestClient(create_app(settings, lambda: open_hash_engine(settings))) as client:
        end = time.monotonic() + 30
        while client.get("/readyz").status_code != 200:
            assert time.monotonic() < end
            assert not client.app.state.server.failed
            time.sleep(0.01)
        yield client


@pytest.fixture
def serve() -> Serve:
    return serving


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own with 4 MiB; skips where this process may not mount one."""
    path = tmp_path / "disk"
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(path)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("needs the right to mount a file system")
    yield path
    subprocess.run(["umount", "--lazy", str(path)], check=True)
