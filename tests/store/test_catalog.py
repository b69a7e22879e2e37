"""Which collections there are and which name leads where: whole on the disk at every moment."""

import errno
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from service.errors import (
    ConflictError,
    InvalidInputError,
    NotFoundError,
    StoreError,
    StoreFullError,
)
from service.store.catalog import MOST_ALIASES, MOST_COLLECTIONS, Catalog

BAD_NAMES = ["", ".", "..", "../x", "a/b", "a\\b", "/x", "x\0", "Ä", "A", "-a", "_a", "a b", "a.b"]
BAD_NAMES += ["a" * 65, "a\n", "%2e%2e", "~", "con:", "ａ"]


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    return Catalog.read(tmp_path / "catalog.json")


def reread(tmp_path: Path) -> tuple[set[str], dict[str, str]]:
    found = Catalog.read(tmp_path / "catalog.json")
    return set(found.collections), dict(found.aliases)


def test_it_begins_with_main_under_the_name_default(catalog: Catalog) -> None:
    assert set(catalog.collections) == {"main"}
    assert catalog.resolve("default") == catalog.resolve("main") == "main"


def test_what_it_says_it_says_again_after_a_restart(catalog: Catalog, tmp_path: Path) -> None:
    catalog.add("articles-2", {"encoder": "minilm", "rerank_depth": 20})
    catalog.set_alias("default", "articles-2")
    catalog.set_alias("old", "main")
    again = Catalog.read(tmp_path / "catalog.json")
    assert again.collections == catalog.collections
    assert again.collections["articles-2"].settings == {"encoder": "minilm", "rerank_depth": 20}
    assert again.aliases == {"default": "articles-2", "old": "main"}
    again.remove_alias("old")
    again.set_alias("default", "main")
    again.remove("articles-2")
    assert reread(tmp_path) == ({"main"}, {"default": "main"})


@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_name_that_could_be_a_path_is_refused(catalog: Catalog, name: str) -> None:
    for change in (lambda: catalog.add(name, {}), lambda: catalog.set_alias(name, "main")):
        with pytest.raises(InvalidInputError, match="a-z, 0-9"):
            change()
    for ask in (lambda: catalog.resolve(name), lambda: catalog.remove(name)):
        with pytest.raises(NotFoundError):
            ask()


def test_names_are_taken_once(catalog: Catalog) -> None:
    catalog.add("a", {})
    catalog.set_alias("b", "a")
    for taken in ("a", "b", "main", "default"):
        with pytest.raises(ConflictError, match="is taken"):
            catalog.add(taken, {})
    with pytest.raises(ConflictError, match="is a collection"):
        catalog.set_alias("main", "a")
    with pytest.raises(NotFoundError):
        catalog.set_alias("c", "b")  # an alias leads to no alias


def test_what_an_alias_leads_to_stays(catalog: Catalog) -> None:
    catalog.add("a", {})
    catalog.set_alias("live", "a")
    with pytest.raises(ConflictError, match="the alias 'live' leads"):
        catalog.remove("a")
    with pytest.raises(ConflictError, match="only switched"):
        catalog.remove_alias("default")
    catalog.remove_alias("live")
    catalog.remove("a")
    for gone in (lambda: catalog.remove("a"), lambda: catalog.remove_alias("live")):
        with pytest.raises(NotFoundError):
            gone()


def test_there_are_only_so_many(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.durable.flush", lambda _path: None)
    for i in range(MOST_COLLECTIONS - 1):
        catalog.add(f"c{i}", {})
    with pytest.raises(ConflictError, match="the most"):
        catalog.add("one-more", {})
    for i in range(MOST_ALIASES - 1):
        catalog.set_alias(f"a{i}", "main")
    with pytest.raises(ConflictError, match="the most"):
        catalog.set_alias("one-more", "main")
    catalog.set_alias("a0", "c0")  # one that is there may still be switched


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        '{"collections": {}, "aliases": {}}',
        '{"collections": {"main": {"created": "2026-01-01T00:00:00Z"}, '
        '"../up": {"created": "2026-01-01T00:00:00Z"}}, "aliases": {"default": "main"}}',
        '{"collections": {"main": {"created": "2026-01-01T00:00:00Z"}}, '
        '"aliases": {"default": "gone"}}',
        '{"collections": {"main": {"created": "2026-01-01T00:00:00Z"}}, "aliases": {}}',
    ],
)
def test_a_file_that_is_not_sound_is_not_believed(tmp_path: Path, content: str) -> None:
    (tmp_path / "catalog.json").write_text(content)
    with pytest.raises(StoreError, match="catalog"):
        Catalog.read(tmp_path / "catalog.json")


def test_a_file_of_another_format_is_refused_with_the_command_that_makes_it_again(
    catalog: Catalog, tmp_path: Path
) -> None:
    catalog.add("a", {})
    path = tmp_path / "catalog.json"
    path.write_text(path.read_text().replace('"format_version": 1', '"format_version": 2'))
    with pytest.raises(StoreError, match=r"catalog.json has format 2 and .* format 1") as raised:
        Catalog.read(path)
    assert str(raised.value).endswith(f": secondpass ingest FILE --data-dir {tmp_path}")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_a_write_that_fails_changes_nothing(
    catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    catalog.add("a", {})

    def fail(_path: Path) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as broken:
        broken.setattr("service.durable.flush", fail)
        kind = StoreError if number == errno.EIO else StoreFullError
        for change in (
            lambda: catalog.add("b", {}),
            lambda: catalog.set_alias("default", "a"),
            lambda: catalog.remove("a"),
        ):
            with pytest.raises(kind):
                change()
    assert (set(catalog.collections), dict(catalog.aliases)) == reread(tmp_path)
    assert reread(tmp_path) == ({"main", "a"}, {"default": "main"})
    assert [path.name for path in tmp_path.iterdir()] == ["catalog.json"]


def test_threads_lose_no_change_of_one_another(catalog: Catalog, tmp_path: Path) -> None:
    def add(part: int) -> None:
        for i in range(5):
            catalog.add(f"c{part}-{i}", {})
            catalog.set_alias(f"a{part}-{i}", f"c{part}-{i}")

    threads = [threading.Thread(target=add, args=(part,)) for part in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(reread(tmp_path)[0]) == len(reread(tmp_path)[1]) == 31


SWITCH = """
import sys
from pathlib import Path
from service.store.catalog import Catalog
catalog = Catalog.read(Path(sys.argv[1]))
if "a" not in catalog.collections:
    catalog.add("a", {})
n = int(catalog.aliases.get("n0", "main") == "a")
while True:
    to = "a" if n % 2 == 0 else "main"
    catalog.set_alias("n0", to)
    print(to, flush=True)
    n += 1
"""


def test_killed_at_any_moment_an_alias_leads_where_it_was_said_last_or_to_the_next(
    tmp_path: Path,
) -> None:
    path = tmp_path / "catalog.json"
    draw = random.Random(4)
    for _ in range(8):
        command = [sys.executable, "-c", SWITCH, str(path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            said = [child.stdout.readline().strip()]
            time.sleep(draw.uniform(0, 0.1))
            child.send_signal(signal.SIGKILL)
            said += child.stdout.read().split()
        found = Catalog.read(path).aliases["n0"]
        # The last one that was said, or the one after it that was not said any more.
        assert found in {"a", "main"}
        assert json.loads(path.read_bytes())["aliases"]["n0"] == found
        if found != said[-1]:
            assert found == ("main" if said[-1] == "a" else "a")


def test_no_flipped_bit_is_believed(tmp_path: Path) -> None:
    """A name that changed would have the start remove the collection's folder."""
    path = tmp_path / "catalog.json"
    catalog = Catalog.read(path)
    catalog.add("other", {"encoder": "e5-large", "passage_overlap": 7})
    catalog.set_alias("news", "other")
    sound = path.read_bytes()
    believed = 0
    for place in range(len(sound)):
        for bit in (0, 3, 5):
            flipped = bytearray(sound)
            flipped[place] ^= 1 << bit
            path.write_bytes(flipped)
            try:
                found = Catalog.read(path)
            except StoreError:
                continue
            believed += 1  # white space became other white space
            assert (found.collections, found.aliases) == (catalog.collections, catalog.aliases)
    assert believed < len(sound) / 10


def test_a_switch_that_is_not_on_the_disk_for_sure_is_taken_back(
    catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog.add("a", {})
    calls: list[Path] = []

    def fail_once(path: Path) -> None:
        calls.append(path)
        if len(calls) == 2:  # the first one is of the new file, this one of its name
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as broken:
        broken.setattr("service.durable.flush", fail_once)
        with pytest.raises(StoreError):
            catalog.set_alias("default", "a")
    assert catalog.resolve("default") == "main"
    assert Catalog.read(tmp_path / "catalog.json").resolve("default") == "main"
    assert [path.name for path in tmp_path.iterdir()] == ["catalog.json"]
