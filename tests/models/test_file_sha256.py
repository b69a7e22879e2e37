"""A model's files are large, so each is read once in a process."""

from pathlib import Path

import pytest

from service.models import folder
from service.models.folder import file_sha256


def test_an_unchanged_file_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, read = tmp_path / "weights", []
    hashed = folder._sha256
    monkeypatch.setattr(folder, "_SETTLED_S", -1.0)
    monkeypatch.setattr(folder, "_sha256", lambda path: read.append(path) or hashed(path))
    file.write_bytes(b"one")
    first = [file_sha256(file), file_sha256(file)]
    other = tmp_path / "other"
    other.write_bytes(b"two")
    other.replace(file)
    assert first[0] == first[1] != file_sha256(file)
    assert len(read) == 2


def test_a_file_that_was_just_written_is_read_again(tmp_path: Path) -> None:
    file = tmp_path / "weights"
    found = set()
    for content in (b"one", b"two"):
        file.write_bytes(content)
        found.add(file_sha256(file))
    assert len(found) == 2
