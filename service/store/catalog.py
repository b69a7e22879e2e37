"""Which collections exist, with which settings, and which aliases lead to them.

One small file that is replaced as a whole: whenever the process dies, the disk has the old catalog
or the new one. So an alias is switched completely or not at all.
"""

import hashlib
import re
import threading
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, ValidationError

from service.durable import FileMark, write_json
from service.errors import (
    ConflictError,
    InvalidInputError,
    NotFoundError,
    StoreError,
    StoreLostError,
)

MAIN = "main"
"""The collection whose settings are the server's own; always there."""

DEFAULT = "default"
"""The alias for requests that name no collection; always there, `main` at first."""

SettingValue = str | int | float | bool | None

MOST_COLLECTIONS = 100
MOST_ALIASES = 100
NAME_PATTERN = r"[a-z0-9][a-z0-9_-]{0,63}"
_NAME = re.compile(NAME_PATTERN)


class CollectionRecord(BaseModel):
    """A collection: when it was made, and what it has other than the server's settings."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    created: datetime
    settings: dict[str, SettingValue] = {}


class _Content(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    format_version: int = 1
    collections: dict[str, CollectionRecord]
    aliases: dict[str, str]
    sha256: str = ""
    """Of the rest. What the catalog does not name is removed at the start: see `DataFolder`."""

    def checksum(self) -> str:
        return hashlib.sha256(self.model_dump_json(exclude={"sha256"}).encode()).hexdigest()


class Catalog:
    """The catalog of one data folder. Safe to use from several threads."""

    def __init__(self, path: Path, content: _Content, mark: FileMark | None = None) -> None:
        self._path, self._content, self._mark = path, content, mark
        self._lock = threading.Lock()

    @classmethod
    def read(cls, path: Path) -> Self:
        """The catalog at `path`; without a file, `main` alone. Raises `StoreError`."""
        try:
            mark = FileMark.of(path)
            content = _Content.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            main = CollectionRecord(created=datetime.now(UTC))
            return cls(path, _Content(collections={MAIN: main}, aliases={DEFAULT: MAIN}))
        except (OSError, ValidationError) as error:
            raise StoreError(f"{path} cannot be read: {error}") from error
        if content.format_version != 1:
            raise StoreError(
                f"{path} has format {content.format_version} and this program reads format 1: open "
                f"it with the version of the program that wrote it, or move {path.parent} away and "
                f"make it again: secondpass ingest FILE --data-dir {path.parent}"
            )
        _require_sound(content, path)
        return cls(path, content, mark)

    @property
    def collections(self) -> Mapping[str, CollectionRecord]:
        return self._content.collections

    @property
    def aliases(self) -> Mapping[str, str]:
        return self._content.aliases

    def resolve(self, name: str) -> str:
        """The collection that a name, its own or an alias, leads to. Raises `NotFoundError`."""
        content = self._content  # one moment's, whatever is switched meanwhile
        name = content.aliases.get(name, name)
        if name not in content.collections:
            raise NotFoundError(f"there is no collection {name!r}")
        return name

    def require_free(self, name: str) -> None:
        """Raise `InvalidInputError` for a bad name and `ConflictError` for one that is taken."""
        check_name(name)
        if name in self.collections or name in self.aliases:
            raise ConflictError(f"the name {name!r} is taken")
        if len(self.collections) >= MOST_COLLECTIONS:
            raise ConflictError(f"there are {MOST_COLLECTIONS} collections, the most")

    def add(self, name: str, settings: Mapping[str, SettingValue]) -> None:
        """A new collection. Raises as `require_free`, and `StoreError`."""
        with self._lock:
            self.require_free(name)
            record = CollectionRecord(created=datetime.now(UTC), settings=dict(settings))
            self._write(collections={**self.collections, name: record})

    def remove(self, name: str) -> None:
        """Raises `NotFoundError`, and `ConflictError` where an alias leads to it."""
        with self._lock:
            if name not in self.collections:
                raise NotFoundError(f"there is no collection {name!r}")
            if leading := sorted(a for a, c in self.aliases.items() if c == name):
                raise ConflictError(f"the alias {leading[0]!r} leads to the collection {name!r}")
            self._write(collections={n: r for n, r in self.collections.items() if n != name})

    def set_alias(self, alias: str, name: str) -> None:
        """Let `alias` lead to the collection `name`, at once. Raises as `add`."""
        check_name(alias)
        with self._lock:
            if name not in self.collections:
                raise NotFoundError(f"there is no collection {name!r}")
            if alias in self.collections:
                raise ConflictError(f"{alias!r} is a collection")
            if alias not in self.aliases and len(self.aliases) >= MOST_ALIASES:
                raise ConflictError(f"there are {MOST_ALIASES} aliases, the most")
            self._write(aliases={**self.aliases, alias: name})

    def remove_alias(self, alias: str) -> None:
        """Raises `NotFoundError`; `default` stays (`ConflictError`)."""
        with self._lock:
            if alias == DEFAULT:
                raise ConflictError(f"the alias {DEFAULT!r} cannot be removed, only switched")
            if alias not in self.aliases:
                raise NotFoundError(f"there is no alias {alias!r}")
            self._write(aliases={a: c for a, c in self.aliases.items() if a != alias})

    def check(self) -> None:
        """Raise `StoreLostError` where the file is gone, or is another one than was written."""
        mark = self._mark
        if mark:
            mark.require_same()
        elif self._path.exists():
            raise StoreLostError(f"{self._path} came from elsewhere while the catalog was in use")

    def keep(self) -> None:
        """Write the file where there is none yet. Raises `StoreError`."""
        with self._lock:
            if not self._path.exists():
                self._write()

    def _write(self, **changed: object) -> None:
        content = self._content.model_copy(update=changed)
        if self._path.exists():  # if it is gone, it is written again, with everything in it
            self.check()
        try:
            self._replace_file(content)
        except StoreError:
            # The new file may be in place already, and the caller undoes what it names.
            with suppress(StoreError):
                self._replace_file(self._content)
            raise
        self._content = content

    def _replace_file(self, content: _Content) -> None:
        written = content.model_copy(update={"sha256": content.checksum()})
        try:
            write_json(self._path, written.model_dump(mode="json"))
        finally:  # even where that failed the new file may be in its place
            with suppress(OSError):
                self._mark = FileMark.of(self._path)


def _require_sound(content: _Content, path: Path) -> None:
    """Names become folders, so a catalog that was changed by hand is refused."""
    collections, aliases = content.collections, content.aliases
    odd = [name for name in (*collections, *aliases) if not _NAME.fullmatch(name)]
    astray = [alias for alias, name in aliases.items() if name not in collections]
    twice = collections.keys() & aliases.keys()
    sound = content.sha256 == content.checksum()
    if not sound or odd or astray or twice or MAIN not in collections or DEFAULT not in aliases:
        raise StoreError(f"{path} is damaged: restore it from a backup")


def check_name(name: str) -> None:
    """Raise `InvalidInputError` for what may not name a collection or an alias."""
    if not _NAME.fullmatch(name):
        raise InvalidInputError(
            "a name has 1 to 64 of a-z, 0-9, _ and -, and begins with a letter or digit", "name"
        )
