import errno
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from safetensors import SafetensorError

from service import durable
from service.durable import explained, intended_name, is_full, new_file, new_folder, put, write_json
from service.errors import InvalidInputError, StoreError, StoreFullError


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def is_unfinished(found: str, name: str) -> bool:
    return re.fullmatch(rf"\.{name}\.unfinished-{os.getpid()}-[0-9a-f]{{8}}", found) is not None


def make_old(path: Path) -> None:
    """As if all of it had been written two hours ago."""
    for each in (path, *path.rglob("*")):
        os.utime(each, (time.time() - 7200,) * 2)


@pytest.fixture
def flushed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was flushed and renamed, in order."""
    done: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def record_flush(descriptor: int) -> None:
        done.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        fsync(descriptor)

    def record_replace(self: Path, target: Path) -> Path:
        done.append(f"-> {target.name}")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", record_flush)
    monkeypatch.setattr(Path, "replace", record_replace)
    return done


def test_a_file_is_flushed_before_it_gets_its_name_and_the_folder_after(
    tmp_path: Path, flushed: list[str]
) -> None:
    write_json(tmp_path / "part" / "a.json", {"a": "ä"})
    assert (tmp_path / "part" / "a.json").read_bytes() == '{\n  "a": "ä"\n}\n'.encode()
    assert is_unfinished(flushed[0], "a.json")
    assert flushed[1:] == ["-> a.json", "part"]


def test_every_file_and_folder_of_a_folder_is_flushed(tmp_path: Path, flushed: list[str]) -> None:
    with new_folder(tmp_path / "a") as folder:
        (folder / "inner").mkdir()
        (folder / "inner" / "one").write_text("1")
        (folder / "two").write_text("2")
    *content, itself, renamed, above = flushed
    assert set(content) == {"inner", "one", "two"}
    assert is_unfinished(itself, "a")
    assert (renamed, above) == ("-> a", tmp_path.name)


def test_put_flushes_what_another_program_wrote(tmp_path: Path, flushed: list[str]) -> None:
    (tmp_path / "a").write_text("all of it")
    put(tmp_path / "a", tmp_path / "b")
    assert flushed == ["a", "-> b", tmp_path.name]
    assert names(tmp_path) == {"b"}


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError(), OSError(errno.EIO, "bad")])
def test_a_failure_while_a_file_is_written_leaves_the_old_one(
    tmp_path: Path, error: BaseException
) -> None:
    path = tmp_path / "a"
    path.write_text("old")
    kind = StoreError if isinstance(error, OSError) else type(error)
    with pytest.raises(kind), new_file(path) as file:  # noqa: PT012
        file.write(b"half")
        raise error
    assert path.read_text() == "old"
    assert names(tmp_path) == {"a"}


@pytest.mark.parametrize("step", ["flush", "_clear_leftovers"])
def test_a_disk_that_fails_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    (tmp_path / "a").write_text("old")

    def fail(_path: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(durable, step, fail)
    with pytest.raises(StoreFullError, match=r"cannot write .*/a: No space left on device"):
        write_json(tmp_path / "a", "new")
    assert (tmp_path / "a").read_text() == "old"
    assert names(tmp_path) == {"a"}


@pytest.mark.parametrize("replace", [True, False])
def test_a_failure_while_a_folder_is_written_leaves_what_was_there(
    tmp_path: Path, replace: bool
) -> None:
    if replace:
        (tmp_path / "a").mkdir()
        (tmp_path / "a" / "old").touch()
    with (  # noqa: PT012
        pytest.raises(ValueError, match="half"),
        new_folder(tmp_path / "a", replace=replace) as folder,
    ):
        (folder / "new").touch()
        raise ValueError("half")
    assert names(tmp_path) == ({"a"} if replace else set())
    assert not replace or names(tmp_path / "a") == {"old"}


def test_a_folder_takes_the_place_of_an_empty_one_or_of_any_when_asked(tmp_path: Path) -> None:
    for content in ("first", "second"):
        with new_folder(tmp_path / "a", replace=content == "second") as folder:
            (folder / content).touch()
        assert names(tmp_path / "a") == {content}
        with pytest.raises(InvalidInputError, match="is there already"), new_folder(tmp_path / "a"):
            pass
    (tmp_path / "empty").mkdir()
    with new_folder(tmp_path / "empty") as folder:
        (folder / "there").touch()
    assert names(tmp_path / "empty") == {"there"}


def test_a_folder_that_cannot_be_replaced_is_put_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "old").touch()
    replace = Path.replace

    def fail(self: Path, target: Path) -> Path:
        if is_unfinished(self.name, "a"):
            raise OSError(errno.EIO, "bad")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(StoreError), new_folder(tmp_path / "a", replace=True) as folder:
        (folder / "new").touch()
    assert names(tmp_path) == {"a"}
    assert names(tmp_path / "a") == {"old"}


def test_a_folder_that_a_crash_left_moved_aside_is_put_back(tmp_path: Path) -> None:
    (tmp_path / ".a.unfinished-7-0123abcd-old").mkdir()
    (tmp_path / ".a.unfinished-7-0123abcd-old" / "old").touch()
    make_old(tmp_path)
    with (
        pytest.raises(ValueError, match="this one fails too"),
        new_folder(tmp_path / "a", replace=True),
    ):
        raise ValueError("this one fails too")
    assert names(tmp_path) == {"a"}
    assert names(tmp_path / "a") == {"old"}


def test_only_what_was_left_long_ago_of_the_same_name_is_removed(tmp_path: Path) -> None:
    others = {".a.unfinished-7-0123abcd", ".b.unfinished-7", ".a.unfinished-x", ".a.unfinished-8"}
    for name in {".a.unfinished-7", ".a.unfinished-7-0123abce", ".a.unfinished-9-old", *others}:
        (tmp_path / name).mkdir()
        (tmp_path / name / "part").touch()
        make_old(tmp_path / name)
    (tmp_path / "a").touch()
    # One is still written to, though no entry of its folder is new; one is new.
    os.utime(tmp_path / ".a.unfinished-7-0123abcd" / "part")
    os.utime(tmp_path / ".a.unfinished-8")
    write_json(tmp_path / "a", "new")
    assert names(tmp_path) == {"a", *others}


def test_threads_that_write_one_file_at_a_time_do_not_disturb_each_other(tmp_path: Path) -> None:
    together = threading.Barrier(4)

    def write(text: str) -> None:
        with new_file(tmp_path / "a") as file:
            together.wait(20)
            file.write(text.encode() * 1000)
            together.wait(20)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, "abcd"))
    assert set((tmp_path / "a").read_text()) in [{"a"}, {"b"}, {"c"}, {"d"}]
    assert names(tmp_path) == {"a"}


def test_the_intended_name() -> None:
    assert intended_name(".a.json.unfinished-12-0123abcd-old") == "a.json"
    assert {intended_name(name) for name in ("a", ".a", ".unfinished-12")} == {
        "a",
        ".a",
        ".unfinished-12",
    }


@pytest.mark.parametrize(
    ("error", "full"),
    [
        (OSError(errno.ENOSPC, "x"), True),
        (OSError(errno.EDQUOT, "x"), True),
        (OSError(errno.EFBIG, "x"), True),
        (OSError(errno.EIO, "x"), False),
        (SafetensorError("IoError: No space left on device (os error 28)"), True),
        (SafetensorError("IoError: Input/output error (os error 5)"), False),
        (StoreFullError("x"), True),
        (StoreError("x"), False),
    ],
)
def test_a_full_disk_is_told_from_a_broken_one(error: Exception, full: bool) -> None:
    assert is_full(error) == full
    if isinstance(error, OSError):
        with pytest.raises(StoreError) as raised, explained("cannot do it"):
            raise error
        assert isinstance(raised.value, StoreFullError) == full
        assert str(raised.value) == "cannot do it: x"


WRITE_FILE = """
import itertools, sys
from pathlib import Path
from service.durable import new_file
for number in itertools.count():
    with new_file(Path(sys.argv[1]) / "a") as file:
        for _ in range(64):
            file.write(f"{number:04d}\\n".encode() * 100)
    print(number, flush=True)
"""

WRITE_FOLDER = """
import itertools, sys
from pathlib import Path
from service.durable import new_folder
for number in itertools.count():
    with new_folder(Path(sys.argv[1]) / "a", replace=True) as folder:
        for part in range(8):
            (folder / str(part)).write_text(f"{number:04d}")
    print(number, flush=True)
"""


def whole_file(path: Path) -> int:
    lines = path.read_text().splitlines()
    assert len(lines) == 6400
    assert len(set(lines)) == 1
    return int(lines[0])


def whole_folder(path: Path) -> int:
    if not path.exists():  # between the two renames
        (path,) = path.parent.glob(".a.unfinished-*-old")
    assert names(path) == set(map(str, range(8)))
    (number,) = {inner.read_text() for inner in path.iterdir()}
    return int(number)


@pytest.mark.parametrize(
    ("script", "whole"), [(WRITE_FILE, whole_file), (WRITE_FOLDER, whole_folder)]
)
def test_killed_at_any_moment_the_old_or_the_new_one_is_there(
    tmp_path: Path, script: str, whole: Callable[[Path], int]
) -> None:
    draw = random.Random(7)
    for _ in range(8):
        command = [sys.executable, "-c", script, str(tmp_path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            said = [child.stdout.readline()]
            time.sleep(draw.uniform(0, 0.05))
            child.send_signal(signal.SIGKILL)
            said += child.stdout.read().splitlines()
        assert whole(tmp_path / "a") in {int(said[-1]), int(said[-1]) + 1}
        make_old(tmp_path)
    assert len(names(tmp_path)) <= 3, "each one removes what the one before it left"


def test_no_other_module_flushes_or_replaces_files() -> None:
    root = Path(durable.__file__).parent
    own = re.compile(r"fsync|os\.replace|os\.rename|NamedTemporaryFile|errno\.(ENOSPC|EDQUOT)")
    found = {
        str(path.relative_to(root))
        for path in root.rglob("*.py")
        if own.search(path.read_text(encoding="utf-8"))
    }
    assert {name for name in found if not name.startswith("client/")} == {"durable.py"}
