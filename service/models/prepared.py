"""The cache of prepared models: folders that are whole, or not there at all."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock
from safetensors import SafetensorError

from service.durable import is_full, new_folder, write_json
from service.errors import ModelSourceError, StoreError
from service.models.folder import ModelFolder, file_checksums


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a folder is made: `write` fills an empty one, `key` changes whenever its result would."""

    key: str
    write: Callable[[Path], None]


def prepared_folder(cache_dir: Path, name: str, recipe: Recipe) -> ModelFolder:
    """The folder `cache_dir/name`, made by the recipe unless it is there and undamaged.

    It is written under another name, flushed to the disk and renamed, so that a kill leaves nothing
    that looks finished. Its checksums lie beside it, in `name.sha256.json`. Of several processes
    one does the work. Where a sound folder is there nothing is written, so the cache may be
    read-only. Raises `ModelSourceError` when the folder cannot be written.
    """
    folder = cache_dir / name
    sound = sound_folder(folder, recipe.key)
    if sound:
        return sound
    with _cache_errors(cache_dir):
        cache_dir.mkdir(parents=True, exist_ok=True)
        with FileLock(cache_dir / f"{name}.lock"):
            # Another process may have made it while this one waited.
            return sound_folder(folder, recipe.key) or _make(folder, recipe)


def sound_folder(folder: Path, key: str) -> ModelFolder | None:
    """What a recipe of this key made, where it is there and undamaged; writes nothing."""
    try:
        record = json.loads(_record(folder).read_text(encoding="utf-8"))
        # A file cut short is the common damage, and found without reading half a gigabyte.
        sizes = {name: (folder / name).stat().st_size for name in record["sizes"]}
        if record["recipe"] != key or sizes != record["sizes"]:
            return None
        checksums = file_checksums(folder)
        return ModelFolder(folder, checksums) if checksums == record["sha256"] else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _make(folder: Path, recipe: Recipe) -> ModelFolder:
    with new_folder(folder, replace=True) as unfinished:
        recipe.write(unfinished)
        for path in unfinished.rglob("*"):
            if path.is_file():
                path.chmod(0o644)  # safetensors writes files that only their owner may read
        checksums = file_checksums(unfinished)
        sizes = {name: (unfinished / name).stat().st_size for name in checksums}
        # Without its record a folder is not taken for a sound one, whatever happens from here on.
        _record(folder).unlink(missing_ok=True)
    write_json(_record(folder), {"recipe": recipe.key, "sizes": sizes, "sha256": checksums})
    return ModelFolder(folder, checksums)


def _record(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.sha256.json")


@contextmanager
def _cache_errors(cache_dir: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, SafetensorError, StoreError) as error:
        hint = "; the disk is full: the default models need about 600 MB" if is_full(error) else ""
        raise ModelSourceError(f"cannot prepare a model in {cache_dir}: {error}{hint}") from error
