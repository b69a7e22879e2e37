"""The data folder: one process at a time, one store, its generations."""

from pathlib import Path
from types import TracebackType

from filelock import FileLock, Timeout

from service.errors import StoreError, StoreLockedError
from service.index.document_store import DocumentStore
from service.index.durable import flush


class DataFolder:
    """`store.db`, `generations/` and `.lock` in one folder. Make one with `open`."""

    def __init__(self, path: Path, lock: FileLock, store: DocumentStore) -> None:
        self.path = path
        self.store = store
        self.generations = path / "generations"
        self._lock = lock

    @classmethod
    def open(cls, path: Path) -> "DataFolder":
        """Make the folder where there is none, and own it until `close`.

        Raises `StoreLockedError` at once when another process owns it, `StoreError` when it cannot
        be made, written or read.
        """
        # Of any thread, since a server opens and closes it from different ones.
        lock = FileLock(path / ".lock", thread_local=False)
        try:
            (path / "generations").mkdir(parents=True, exist_ok=True)
            lock.acquire(blocking=False)
        except Timeout as error:
            raise StoreLockedError(
                f"another process uses the data folder {path}; stop it, or choose another folder"
            ) from error
        except OSError as error:
            raise StoreError(f"cannot use the data folder {path}: {error}") from error
        try:
            store = DocumentStore(path / "store.db")
            flush(path)
        except BaseException:
            lock.release()
            raise
        return cls(path, lock, store)

    def close(self) -> None:
        """Close the store and let another process have the folder."""
        try:
            self.store.close()
        finally:
            self._lock.release()

    def __enter__(self) -> "DataFolder":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
