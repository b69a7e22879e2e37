"""API keys, as an operator makes, reads and revokes them."""

from pathlib import Path

import pytest

from service.store.key_file import KeyFile, hash_key
from tests.cli.test_commands import Done, secondpass


@pytest.fixture
def file(tmp_path: Path) -> KeyFile:
    return KeyFile(tmp_path / "keys.json")


def keys(file: KeyFile, *arguments: object) -> Done:
    return secondpass("keys", *arguments, "--data-dir", file.path.parent)


def test_a_key_is_all_that_create_prints_and_no_list_has_it(file: KeyFile) -> None:
    rights = (
        "--scope", "search", "--scope", "write", "--collection", "articles",
        "--filter", '{"tenant": "a"}', "--expires", "90d", "--rate", "5", "--share", "0.5",
    )  # fmt: skip
    done = keys(file, "create", "web", *rights)
    assert done.returncode == 0
    key = done.stdout.strip()
    (record,) = file.read()
    assert record.sha256 == hash_key(key)
    assert record.expires is not None
    assert record.created is not None
    assert (record.expires - record.created).days in {89, 90}
    listed = keys(file, "list").stdout
    for word in (record.id, "web", "search, write", "articles", "tenant", "rate 5", "share 0.5"):
        assert word in listed
    assert key not in listed
    assert hash_key(key) not in listed


def test_revoke_names_what_is_gone(file: KeyFile) -> None:
    for _ in range(2):
        keys(file, "create", "web", "--scope", "search")
    first, second = file.read()
    assert keys(file, "revoke", first.id).stdout == f"web {first.id} is revoked\n"
    assert keys(file, "revoke", "web").stdout == f"web {second.id} is revoked\n"
    done = keys(file, "revoke", "web")
    assert (done.returncode, done.stderr) == (1, "secondpass: no key has the name or id 'web'\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["web", "--scope", "root"], "scopes.0"),
        (["10.0.0.1", "--scope", "search"], "name"),
        (["web", "--scope", "search", "--filter", "{}"], "filters"),
        (["web", "--scope", "search", "--filter", '{"a": {"like": 1}}'], "filters.a.like"),
        (["web", "--scope", "search", "--expires", "2020-01-01"], "not in the future"),
        (["web", "--scope", "search", "--expires", "tomorrow"], "ISO 8601"),
        (["web", "--scope", "search", "--expires", "0d"], "not in the future"),
        (["web", "--scope", "search", "--burst", "3"], "--burst needs --rate"),
        (["web", "--scope", "search", "--rate", "0"], "limits.rate"),
        (["web", "--scope", "search", "--rate", "nan"], "limits.rate"),
        (["web", "--scope", "search", "--share", "1.5"], "limits.share"),
    ],
)
def test_a_mistake_makes_no_key(file: KeyFile, arguments: list[str], said: str) -> None:
    done = keys(file, "create", *arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stdout == ""
    assert file.read() == ()
