"""The data folder: one process writes it, its collections, and which name leads to which.

```
.lock           held by the process that has the folder open
.reserve        takes up the space that deletes need on a full disk
catalog.json    the other collections and the aliases
keys.json       API keys; commands may write it while a server owns the folder
store.db, generations/            the collection `main`
labels.db, calibration.json       its labels, and the calibrations fitted to them
collections/NAME/store.db, ...    the others
```
"""

import secrets
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self

from filelock import FileLock, Timeout

from service.durable import FileMark, explained, flush
from service.errors import ConflictError, StoreError, StoreLockedError
from service.store.catalog import DEFAULT, MAIN, Catalog
from service.store.database import files_of
from service.store.document_store import DocumentStore
from service.store.label_store import LabelStore
from service.store.reserve import Reserve
from service.store_protocol import Store

CALIBRATION_FILE = "calibration.json"
"""In a collection's folder: the calibrations that were fitted to its labels."""

_DROPPED = ".dropped-"
_OURS = {
    *(
        file.name
        for name in ("labels.db", "states.db", "store.db")
        for file in files_of(Path(name))
    ),
    "generations",
    CALIBRATION_FILE,
    ".lock",  # there once somebody opened a collection's folder as a data folder
}
"""What a collection's folder may hold."""


class CollectionFolder:
    """A store, the folder of its generations, and the labels beside them."""

    def __init__(self, path: Path, reindex: str, reserve: Reserve | None = None) -> None:
        """Make the folder if there is none. Raises `StoreError`."""
        self.path = path
        self.generations = path / "generations"
        with explained(f"cannot use the folder {path}"):
            self.generations.mkdir(parents=True, exist_ok=True)
            self.store: Store = DocumentStore(path / "store.db", reindex, reserve)
            flush(path)
        self._reserve = reserve
        self._labels: LabelStore | None = None
        self._lock = threading.Lock()

    @property
    def labels(self) -> LabelStore:
        """Judgements and clicks; opened at the first use. Raises `StoreError`."""
        with self._lock:
            if self._labels is None:
                self._labels = LabelStore(self.path / "labels.db", self._reserve)
            return self._labels

    def close(self) -> None:
        """Let the files go."""
        self.store.close()
        with self._lock:
            if self._labels is not None:
                self._labels.close()


class DataFolder:
    """Owns the folder and knows its collections. Make one with `open`."""

    def __init__(self, path: Path, lock: FileLock, catalog: Catalog) -> None:
        self.path, self.catalog = path, catalog
        self.reserve = Reserve(path / ".reserve")
        self._lock = lock
        self._lock_mark = FileMark.of(path / ".lock")
        self._opened: dict[str, CollectionFolder] = {}
        self._making: set[str] = set()
        self._making_lock = threading.Lock()

    @classmethod
    def open(cls, path: Path) -> Self:
        """Make the folder if there is none, and own it until `close`.

        Raises `StoreLockedError` at once if another process owns it, `StoreError` if it cannot be
        made, written or read.
        """
        # Not of one thread: a server opens and closes it from different ones.
        lock = FileLock(path / ".lock", thread_local=False)
        try:
            path.mkdir(parents=True, exist_ok=True)
            lock.acquire(blocking=False)
        except Timeout as error:
            raise StoreLockedError(
                f"another process uses the data folder {path}; stop it, choose another folder, "
                "or, where it is a server, ask it with --url"
            ) from error
        except OSError as error:
            raise StoreError(f"cannot use the data folder {path}: {error}") from error
        try:
            folder = cls(path, lock, Catalog.read(path / "catalog.json"))
            folder._require_catalog()
            folder._open_main()
        except BaseException:
            lock.release()
            raise
        folder._remove_dropped()
        return folder

    def _open_main(self) -> None:
        """Raises `StoreError`; where `default` leads elsewhere only if the store is locked."""
        try:
            self.collection(MAIN)
        except StoreLockedError:
            raise
        except StoreError:  # said when it is opened to be searched
            if self.catalog.resolve(DEFAULT) == MAIN:
                raise

    @property
    def main(self) -> CollectionFolder:
        return self.collection(MAIN)

    @property
    def store(self) -> Store:
        return self.main.store

    @property
    def generations(self) -> Path:
        return self.main.generations

    def collection(self, name: str) -> CollectionFolder:
        """The collection of this name, opened on the first call; the catalog has to know it.

        Raises `StoreError`, also if its store is gone: an empty one would hide the loss.
        """
        if name not in self._opened:
            path = self._path_of(name)
            if not (path / "store.db").is_file() and (name != MAIN or _had_store(path)):
                raise StoreError(
                    f"the collection {name!r} has no store in {path}: restore store.db from a "
                    "backup, or move what is left of it away"
                )
            self._opened[name] = CollectionFolder(path, self._reindex(name), self.reserve)
        return self._opened[name]

    @contextmanager
    def making(self, name: str) -> Iterator[CollectionFolder]:
        """A new, empty collection, which is removed again if the block raises.

        The block adds it to the catalog as the last thing that can fail. Raises as
        `Catalog.require_free`, and `StoreError`.
        """
        with self._making_lock:
            self.catalog.require_free(name)
            if name in self._making:
                raise ConflictError(f"the collection {name!r} is being made or removed")
            self._making.add(name)
        try:
            # First: collections without a catalog mean that it was lost.
            self.catalog.keep()
            self._remove_files(name)
            self._opened[name] = CollectionFolder(
                self._path_of(name), self._reindex(name), self.reserve
            )
            flush(self.path / "collections")
            flush(self.path)
            yield self._opened[name]
        except BaseException:
            self.close_collection(name)
            self._remove_files(name)
            raise
        finally:
            self._making.discard(name)

    def close_collection(self, name: str) -> None:
        if name in self._opened:
            self._opened.pop(name).close()

    def drop(self, name: str, let_go: Callable[[], None] = lambda: None) -> None:
        """Remove a collection for good; `let_go` ends its use once no request can find it.

        Raises `NotFoundError`, and `ConflictError` if an alias leads to it.
        """
        if name == MAIN:
            raise ConflictError(f"the collection {MAIN!r} cannot be removed")
        with self._making_lock:
            self.reserve.spend(lambda: self.catalog.remove(name))  # from here on it is gone
            self._making.add(name)  # the name is taken until its files are gone as well
        try:
            let_go()
            self.close_collection(name)
            self._remove_files(name)
        finally:
            self._making.discard(name)

    def check(self) -> str:
        """`ok`. Raises `StoreError` where the lock or the catalog was removed or replaced."""
        self._lock_mark.require_same()
        self.catalog.check()
        return "ok"

    def close(self) -> None:
        """Close the stores and let another process have the folder."""
        try:
            for name in list(self._opened):
                self.close_collection(name)
        finally:
            self._lock.release()

    def _path_of(self, name: str) -> Path:
        return self.path if name == MAIN else self.path / "collections" / name

    def _reindex(self, name: str) -> str:
        command = f"secondpass reindex --data-dir {self.path}"
        return command if name == MAIN else f"{command} --collection {name}"

    def _remove_files(self, name: str) -> None:
        """Rename the collection's folder, if there is one, then remove it."""
        path = self._path_of(name)
        if path.exists() and not _is_ours(path):
            raise StoreError(f"{path} is no collection's folder; move it out of the way")
        dropped = path.with_name(f"{_DROPPED}{secrets.token_hex(8)}")
        with explained(f"cannot remove {path}"), suppress(FileNotFoundError):
            path.rename(dropped)
            shutil.rmtree(dropped, ignore_errors=True)

    def _require_catalog(self) -> None:
        catalog, parent = self.path / "catalog.json", self.path / "collections"
        if not catalog.exists() and parent.is_dir() and any(map(_is_ours, parent.iterdir())):
            raise StoreError(
                f"{catalog} is missing and {parent} holds collections: restore the file from a "
                "backup, or move that folder away"
            )

    def _remove_dropped(self) -> None:
        """Remove what a process left that died while it dropped or made a collection."""
        parent = self.path / "collections"
        for path in parent.iterdir() if parent.is_dir() else ():
            if path.name not in self.catalog.collections and _is_ours(path):
                shutil.rmtree(path, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _had_store(path: Path) -> bool:
    """Whether there is an index, which nothing but a store makes."""
    generations = path / "generations"
    return generations.is_dir() and any(generations.iterdir())


def _is_ours(path: Path) -> bool:
    """Whether a folder has nothing in it but what a collection has."""
    if path.is_symlink() or not path.is_dir():
        return False
    return {inner.name for inner in path.iterdir()} <= _OURS
