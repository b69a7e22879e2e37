import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from service.errors import InvalidInputError, NotFoundError, StoreError
from service.store.key_file import PREFIX, KeyFile, hash_key


@pytest.fixture
def file(tmp_path: Path) -> KeyFile:
    return KeyFile(tmp_path / "data" / "keys.json")


def test_a_key_is_long_recognisable_and_not_in_the_file(file: KeyFile) -> None:
    one, other = (file.create("web", scopes=("search",)) for _ in range(2))
    assert one.startswith(PREFIX)
    assert len(one) == len(PREFIX) + 43  # 256 bits
    assert one != other
    content = file.path.read_text(encoding="utf-8")
    assert one not in content
    assert hash_key(one) in content
    assert [key.name for key in file.read()] == ["web", "web"]


def test_a_key_is_revoked_by_its_id_and_all_of_a_name_by_the_name(file: KeyFile) -> None:
    for name in ("web", "web", "web", "other"):
        file.create(name, scopes=("search",))
    first = file.read()[0]
    assert file.revoke(first.id) == [first]
    assert first not in file.read()
    assert len(file.revoke("web")) == 2
    assert [key.name for key in file.read()] == ["other"]
    with pytest.raises(NotFoundError):
        file.revoke("web")


def test_an_expired_key_is_no_longer_live(file: KeyFile) -> None:
    now = datetime.now(UTC)
    file.create("web", scopes=("search",), expires=now + timedelta(hours=1))
    (key,) = file.read()
    assert key.is_live(now)
    assert not key.is_live(now + timedelta(hours=1))


@pytest.mark.parametrize(
    "rights",
    [
        {"scopes": ()},
        {"scopes": ("root",)},
        {"scopes": ("search",), "collections": ()},
        {"scopes": ("search",), "filters": {}},
        {"scopes": ("search",), "filters": {"a": {"like": "b"}}},
        {"scopes": ("search",), "limits": {"rate": 0}},
        {"scopes": ("search",), "limits": {"rate": float("nan")}},
        {"scopes": ("search",), "limits": {"share": 1.5}},
        {"scopes": ("search",), "expires": datetime(2100, 1, 1)},  # of which zone?
    ],
)
def test_rights_that_would_mean_something_else_are_refused(
    file: KeyFile, rights: dict[str, Any]
) -> None:
    with pytest.raises(InvalidInputError):
        file.create("web", **rights)
    assert not file.path.exists()


@pytest.mark.parametrize("name", ["", "10.0.0.1", "a b", "a/b", "böse", "x" * 65, "a\n"])
def test_a_name_is_no_address_and_fits_a_log_line(file: KeyFile, name: str) -> None:
    with pytest.raises(InvalidInputError, match="name"):
        file.create(name, scopes=("search",))


@pytest.mark.parametrize(
    "change",
    [
        {"scope": ["search"]},
        {"sha256": "sp_" + "a" * 43},
        {"sha256": "A" * 64},
        {"filters": {"tenant": None}},
        {"scopes": []},
    ],
)
def test_a_file_with_a_mistake_is_refused_and_not_quoted(
    file: KeyFile, change: dict[str, Any]
) -> None:
    file.create("web", scopes=("search",))
    content = json.loads(file.path.read_bytes())
    content["keys"][0] |= change
    file.path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(StoreError, match="is not a keys file") as caught:
        file.read()
    assert "sp_a" not in str(caught.value)


def test_processes_that_make_keys_at_once_lose_none(file: KeyFile) -> None:
    code = (
        "import sys; from pathlib import Path; from service.store.key_file import KeyFile\n"
        "for n in range(10): KeyFile(Path(sys.argv[1])).create(sys.argv[2], scopes=('search',))"
    )
    running = [
        subprocess.Popen([sys.executable, "-c", code, str(file.path), name]) for name in "abc"
    ]
    assert [process.wait() for process in running] == [0, 0, 0]
    names = [key.name for key in file.read()]
    assert sorted(names) == sorted("abc" * 10)
