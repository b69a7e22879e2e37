"""API keys in one small file. Commands write it, and any number of servers read it.

A key is shown once, when it is made. The file has its SHA-256: a key is long and random, so its
hash needs no salt and cannot be reversed.
"""

import hashlib
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from filelock import FileLock
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from service.durable import explained, make_parents, write_json
from service.errors import ConflictError, InvalidInputError, NotFoundError, StoreError
from service.settings import Settings
from service.store.filter_grammar import parse

PREFIX = "sp_"
"""How every key begins, so that secret scanners and people recognise one."""

MOST_KEYS = 1000

Scope = Literal["search", "write", "admin", "metrics"]
SCOPES: tuple[Scope, ...] = get_args(Scope)

Reach = Literal["server", "collections", "documents"]
"""What a key may see: everything, some collections, or some documents."""

_FORBID = ConfigDict(extra="forbid", frozen=True)
_ID_DIGITS = 8
_LOCK_S = 30.0


def hash_key(key: str) -> str:
    """SHA-256 of a key, in hexadecimal."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def _checked(filters: dict[str, Any]) -> dict[str, Any]:
    try:
        parse(filters)
    except InvalidInputError as error:
        raise ValueError(f"{error.field} {error}") from error
    return filters


class KeyLimits(BaseModel):
    """How much a key may ask for.

    `rate` is in requests a second and `burst` the most at once; without a rate there is no limit.
    `share` is the part of each queue that the key may fill, in place of a quarter.
    """

    model_config = _FORBID

    rate: float | None = Field(None, ge=0.001, le=1e6, allow_inf_nan=False)
    burst: int | None = Field(None, ge=1, le=1_000_000)
    share: float | None = Field(None, gt=0.0, le=1.0)


class KeyRecord(BaseModel):
    """A key and its rights. Several keys may have one name, which is the client's name."""

    model_config = _FORBID

    name: str = Field(pattern=r"^[A-Za-z][A-Za-z0-9_.-]{0,63}$")
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    scopes: tuple[Scope, ...] = Field(min_length=1)
    collections: tuple[str, ...] | None = Field(None, min_length=1)
    """Collections or aliases; None for all."""
    filters: Annotated[dict[str, Any], AfterValidator(_checked)] | None = Field(None, min_length=1)
    """Joined to the filters of every request; None for no filter."""
    created: AwareDatetime | None = None
    expires: AwareDatetime | None = None
    limits: KeyLimits = KeyLimits()

    @property
    def id(self) -> str:
        """Tells keys of one name apart."""
        return self.sha256[:_ID_DIGITS]

    @property
    def reach(self) -> Reach:
        if self.filters is not None:
            return "documents"
        return "server" if self.collections is None else "collections"

    def is_live(self, now: datetime) -> bool:
        return self.expires is None or now < self.expires


class _Content(BaseModel):
    model_config = _FORBID

    format_version: Literal[1] = 1
    keys: tuple[KeyRecord, ...] = Field(max_length=MOST_KEYS)

    @model_validator(mode="after")
    def _check_hashes(self) -> Self:
        if len({key.sha256 for key in self.keys}) < len(self.keys):
            raise ValueError("two keys have one hash")
        return self


class KeyFile:
    """The keys file at a path. Writers wait for each other; readers see the old or the new file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def of(cls, settings: Settings) -> Self:
        return cls(settings.keys_file or settings.data_dir / "keys.json")

    def mark(self) -> tuple[int, int, int] | None:
        """Differs for any two versions of the file; None without one. Raises `StoreError`."""
        with explained(f"cannot look at {self.path}"):
            try:
                found = self.path.stat()
            except FileNotFoundError:
                return None
            return found.st_ino, found.st_size, found.st_mtime_ns

    def read(self) -> Sequence[KeyRecord]:
        """All keys; none without a file. Raises `StoreError`."""
        try:
            return _Content.model_validate_json(self.path.read_bytes()).keys
        except FileNotFoundError:
            return ()
        except OSError as error:
            raise StoreError(f"cannot read {self.path}: {error.strerror}") from error
        except ValidationError as error:
            raise StoreError(
                f"{self.path} is not a keys file: {_first(error)}; mend it, or move it away and "
                "make the keys again: secondpass keys create NAME"
            ) from error

    def create(self, name: str, **rights: Any) -> str:
        """Make a key with these fields of a `KeyRecord` and return it.

        Raises `InvalidInputError`, `ConflictError` where there are too many, and `StoreError`.
        """
        key, created = PREFIX + secrets.token_urlsafe(32), datetime.now(UTC).replace(microsecond=0)
        try:
            record = KeyRecord(name=name, sha256=hash_key(key), created=created, **rights)
        except ValidationError as error:
            raise InvalidInputError(_first(error)) from error
        with self._writing() as keys:
            if len(keys) >= MOST_KEYS:
                raise ConflictError(f"there are {MOST_KEYS} keys, the most; revoke some")
            self._write([*keys, record])
        return key

    def revoke(self, name_or_id: str) -> list[KeyRecord]:
        """Remove the key of this id, or all keys of this name. Raises `NotFoundError`."""
        with self._writing() as keys:
            gone = [key for key in keys if name_or_id in (key.name, key.id)]
            if not gone:
                raise NotFoundError(f"no key has the name or id {name_or_id!r}")
            self._write([key for key in keys if key not in gone])
        return gone

    @contextmanager
    def _writing(self) -> Iterator[Sequence[KeyRecord]]:
        """The keys now, while no other process writes."""
        make_parents(self.path)
        with (
            explained(f"cannot lock {self.path}"),
            FileLock(self.path.with_name(f".{self.path.name}.lock"), timeout=_LOCK_S),
        ):
            yield self.read()

    def _write(self, keys: Sequence[KeyRecord]) -> None:
        content = _Content(keys=tuple(keys))
        write_json(self.path, content.model_dump(mode="json", exclude_none=True))


def _first(error: ValidationError) -> str:
    """The first fault, without the input: it may be a key."""
    fault = error.errors(include_input=False, include_url=False)[0]
    where = ".".join(map(str, fault["loc"]))
    return f"{where}: {fault['msg']}" if where else fault["msg"]
