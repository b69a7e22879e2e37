import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from service.errors import ModelSourceError
from service.models.prepared import Recipe, prepared_folder


class Counting:
    """A recipe that counts how often it was followed."""

    def __init__(self, content: str = "weights") -> None:
        self.made = 0
        self.content = content

    def write(self, folder: Path) -> None:
        self.made += 1
        (folder / "part").mkdir()
        (folder / "model.safetensors").write_text(self.content)
        (folder / "part" / "config.json").write_text("{}")

    def recipe(self, key: str = "1") -> Recipe:
        return Recipe(key, self.write)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_folder_is_made_once(tmp_path: Path) -> None:
    counting = Counting()
    first = prepared_folder(tmp_path / "cache", "m", counting.recipe())
    again = prepared_folder(tmp_path / "cache", "m", counting.recipe())
    assert counting.made == 1
    assert first.sha256 == again.sha256
    assert (first.path / "model.safetensors").read_text() == "weights"
    assert names(tmp_path / "cache") == {"m", "m.lock", "m.sha256.json"}


def _flip(folder: Path) -> None:
    (folder / "model.safetensors").write_text("Weights")


def _cut(folder: Path) -> None:
    (folder / "model.safetensors").write_text("w")


def _remove(folder: Path) -> None:
    (folder / "part" / "config.json").unlink()


def _add(folder: Path) -> None:
    (folder / "adapter.safetensors").write_text("more")


def _forget(folder: Path) -> None:
    folder.with_name("m.sha256.json").unlink()


def _scribble(folder: Path) -> None:
    folder.with_name("m.sha256.json").write_text("[1, 2")


def _leave_unfinished(folder: Path) -> None:
    left = folder.rename(folder.with_name(".m.unfinished-7-0123abcd"))
    for path in (left, *left.rglob("*")):
        os.utime(path, (0, 0))


@pytest.mark.parametrize(
    "damage", [_flip, _cut, _remove, _add, _forget, _scribble, _leave_unfinished]
)
def test_a_damaged_folder_is_made_again(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    counting = Counting()
    folder = prepared_folder(tmp_path, "m", counting.recipe())
    damage(folder.path)
    again = prepared_folder(tmp_path, "m", counting.recipe())
    assert counting.made == 2
    assert again.checksums == folder.checksums
    assert names(tmp_path) == {"m", "m.lock", "m.sha256.json"}
    assert names(again.path) == {"model.safetensors", "part"}


def test_another_recipe_makes_it_again(tmp_path: Path) -> None:
    prepared_folder(tmp_path, "m", Counting("old").recipe("1"))
    folder = prepared_folder(tmp_path, "m", Counting("new").recipe("2"))
    assert (folder.path / "model.safetensors").read_text() == "new"


def test_the_hash_is_of_names_and_contents_alone(tmp_path: Path) -> None:
    one = prepared_folder(tmp_path / "a", "m", Counting().recipe())
    other = prepared_folder(tmp_path / "b", "n", Counting().recipe("2"))
    assert one.sha256 == other.sha256
    assert one.sha256 != prepared_folder(tmp_path, "o", Counting("x").recipe()).sha256


def test_a_full_disk_is_named_and_leaves_nothing_behind(tmp_path: Path) -> None:
    def write(folder: Path) -> None:
        (folder / "model.safetensors").write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(ModelSourceError, match="the disk is full"):
        prepared_folder(tmp_path, "m", Recipe("1", write))
    assert names(tmp_path) == {"m.lock"}


FILL = """
import resource, signal, sys
from pathlib import Path
import numpy as np
from safetensors.numpy import save_file
from service.errors import ModelSourceError
from service.models.prepared import Recipe, prepared_folder

def write(folder):
    (folder / "config.json").write_text("{}")
    save_file({"w": np.ones(10**6, np.float32)}, folder / "model.safetensors")

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (10**6, 10**6))
try:
    prepared_folder(Path(sys.argv[1]), "m", Recipe("1", write))
except ModelSourceError as error:
    print(error)
"""


def test_a_write_that_the_system_stops_leaves_nothing_behind(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FILL, tmp_path], capture_output=True, text=True, check=True
    )
    assert "File too large" in done.stdout
    assert names(tmp_path) == {"m.lock"}


SLOW = """
import sys, time
from pathlib import Path
from service.models.prepared import Recipe, prepared_folder

def write(folder):
    with Path(sys.argv[1], "log").open("a") as log:
        log.write("made\\n")
    time.sleep(1)
    (folder / "model.safetensors").write_text("weights")

print(prepared_folder(Path(sys.argv[1], "cache"), "m", Recipe("1", write)).sha256)
"""


def test_of_several_processes_one_makes_it(tmp_path: Path) -> None:
    command = [sys.executable, "-c", SLOW, str(tmp_path)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    said = {process.communicate(timeout=60)[0] for process in running}
    assert len(said) == 1
    assert all(process.returncode == 0 for process in running)
    assert (tmp_path / "log").read_text() == "made\n"


def test_a_kill_while_it_is_made_leaves_nothing_that_looks_finished(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", SLOW, tmp_path]) as process:
        while not (tmp_path / "log").exists():
            assert process.poll() is None
        process.kill()
    assert not (tmp_path / "cache" / "m").exists()
    counting = Counting()
    prepared_folder(tmp_path / "cache", "m", counting.recipe())
    assert counting.made == 1


def test_a_sound_folder_needs_no_writing_so_a_cache_may_be_read_only(tmp_path: Path) -> None:
    counting = Counting()
    prepared_folder(tmp_path, "m", counting.recipe())
    (tmp_path / "m.lock").unlink()
    tmp_path.chmod(0o555)
    try:
        prepared_folder(tmp_path, "m", counting.recipe())
    finally:
        tmp_path.chmod(0o755)
    assert names(tmp_path) == {"m", "m.sha256.json"}  # root may write there all the same
    assert counting.made == 1
