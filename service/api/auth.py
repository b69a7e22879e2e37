"""API keys and their rights, the `Host` header, and the client of a request."""

import hmac
import logging
import re
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import IPv6Address, ip_address, ip_network
from math import ceil, inf
from typing import get_args

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import Scope

from service.errors import ForbiddenError, InvalidInputError, NotFoundError, StoreError
from service.scheduling.rates import Rates
from service.scheduling.shares import USUAL_SHARE
from service.settings import Settings
from service.store import key_file
from service.store.catalog import Catalog
from service.store.key_file import SCOPES, KeyFile, KeyRecord, Reach, hash_key
from service.types import Filters

log = logging.getLogger(__name__)

ANY = "*"
KEY_HEADER = "X-API-Key"
_HOST = re.compile(r"(?P<name>\[[^\]]*\]|[^:\[\]]*)(:\d*)?")
_PREFIX_BITS = 64
"""The part of an IPv6 address that names a client: one machine may use any address behind it."""

_REACHES: tuple[Reach, ...] = get_args(Reach)
_WANTED = f"a valid API key is needed, as Authorization: Bearer <key> or as {KEY_HEADER}: <key>"

LOOK_EVERY_S = 1.0
"""Between two looks at the keys file, at least: a revoked key works this long at most."""


class Keys:
    """Finds the record of a key. For one event loop.

    A server that has had a keys file stays closed: to remove the file opens it to none. A file that
    cannot be read leaves the keys as they were.
    """

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        """Raises `StoreError` where the file cannot be read."""
        self._clock = clock
        self._file = KeyFile.of(settings)
        self._of_settings = tuple(
            KeyRecord(name=f"key-{sha256[:8]}", sha256=sha256, scopes=SCOPES)
            for sha256 in sorted(settings.api_key_hashes)
        )
        self._required = bool(self._of_settings)
        self._rates = Rates(clock)
        self._looked = -inf
        self._mark: object = None
        self._problem = ""
        self._records: Sequence[KeyRecord] = self._of_settings
        self._read()

    @property
    def required(self) -> bool:
        """Whether callers need a key."""
        self._look()
        return self._required

    def find(self, key: str) -> KeyRecord | None:
        """The record of a key that is known and has not expired."""
        self._look()
        given, found = hash_key(key), None
        # Compare all of them, each in constant time, so that the time reveals nothing.
        for record in self._records:
            if hmac.compare_digest(given, record.sha256):
                found = record
        return found if found and found.is_live(datetime.now(UTC)) else None

    def may_stay(self, record: KeyRecord | None) -> bool:
        """Whether a long request may go on: its key, if it has one, is still good."""
        self._look()
        if record is None:
            return True
        return record in self._records and record.is_live(datetime.now(UTC))

    def admit(self, record: KeyRecord) -> None:
        """Count a request of the key. Raises `OverloadedError` where they come too fast."""
        if rate := record.limits.rate:
            self._rates.take(record.name, rate, record.limits.burst or max(1, ceil(rate)))

    def charge(self, record: KeyRecord | None, requests: int) -> None:
        """Count what an admitted request holds beyond one."""
        if record and record.limits.rate and requests:
            self._rates.charge(record.name, requests)

    def _look(self) -> None:
        if self._clock() - self._looked < LOOK_EVERY_S:
            return
        try:
            self._read()
            self._problem = ""
        except StoreError as error:
            if str(error) != self._problem:  # log once, not every second
                log.error("the API keys stay as they were: %s", error)
            self._problem = str(error)

    def _read(self) -> None:
        self._looked = self._clock()
        mark = self._file.mark()
        if mark == self._mark:
            return
        self._records = (*self._of_settings, *self._file.read())
        self._mark = mark  # only now, so that a read that fails is tried again
        self._required |= mark is not None
        log.info("%d API keys are known", len(self._records))


@dataclass(frozen=True, slots=True)
class ApiCaller:
    """Who sent a request."""

    client: str | None
    """The name of the API key, else the peer's address; None without a peer, as in a test."""
    key: KeyRecord | None
    needs_key: bool
    sent_key: bool

    def require_key(self) -> None:
        """Raise `HTTPException` 401 without a known key."""
        if self.key is None:
            why = "the one that was sent is unknown, revoked or expired" if self.sent_key else ""
            wanted = f"{_WANTED}; {why}" if why else _WANTED
            raise HTTPException(401, wanted, {"WWW-Authenticate": "Bearer"})

    def require(self, scope: key_file.Scope | None, narrowest: Reach) -> None:
        """Raise `ForbiddenError` for a key without the scope, or for a narrower one."""
        if self.key is None:
            return
        if scope is not None and scope not in self.key.scopes:
            raise ForbiddenError(f"this API key has no scope {scope}")
        if _REACHES.index(self.key.reach) > _REACHES.index(narrowest):
            raise ForbiddenError(
                f"this API key may see some {self.key.reach} only, this needs more"
            )

    @property
    def sees_all(self) -> bool:
        """Whether no document of the server is closed to the caller."""
        return self.key.reach == "server" if self.key else not self.needs_key

    def may_use(self, name: str, catalog: Catalog) -> bool:
        """Whether the key allows the collection of this name or alias, which need not exist yet."""
        if self.key is None or self.key.collections is None or name in self.key.collections:
            return True
        own = {_resolved(each, catalog) for each in self.key.collections} - {None}
        return _resolved(name, catalog) in own

    def require_collection(self, name: str, catalog: Catalog) -> None:
        """Raise `ForbiddenError` for a collection that the key does not allow.

        Whether there is such a collection makes no difference.
        """
        if not self.may_use(name, catalog):
            raise ForbiddenError(f"this API key may not use the collection {name!r}")

    def require_name(self, name: str) -> None:
        """Raise `ForbiddenError` if the key does not list a name that is to be set or removed."""
        if self.key and self.key.collections is not None and name not in self.key.collections:
            raise ForbiddenError(f"this API key may not use the name {name!r}")

    @property
    def share(self) -> float:
        """The part of each queue that the client may fill."""
        return (self.key and self.key.limits.share) or USUAL_SHARE

    @property
    def within(self) -> Filters:
        """The filter that limits which documents the caller may see and write."""
        return (self.key and self.key.filters) or {}


def caller_of(scope: Scope, keys: Keys) -> ApiCaller:
    """Check the API key of a request, which may have none."""
    given = _key_in(Headers(scope=scope))
    if given is not None and (found := keys.find(given)):
        return ApiCaller(found.name, found, needs_key=True, sent_key=True)
    peer = scope.get("client")
    client = _network(peer[0]) if peer else None
    return ApiCaller(client, None, keys.required, sent_key=given is not None)


def _key_in(headers: Headers) -> str | None:
    """The key of a request. One of two is not taken: a proxy may have looked at the other."""
    keys = headers.getlist(KEY_HEADER) or [
        value.partition(" ")[2]
        for value in headers.getlist("authorization")
        if value.partition(" ")[0].lower() == "bearer"
    ]
    return keys[0].strip() if len(keys) == 1 else None


def _resolved(name: str, catalog: Catalog) -> str | None:
    try:
        return catalog.resolve(name)
    except NotFoundError:
        return None


def _network(host: str) -> str:
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:  # a name, as test clients have
        return host
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped:
            return str(address.ipv4_mapped)
        return str(ip_network((address, _PREFIX_BITS), strict=False))
    return str(address)


class HostCheck:
    """Refuses a request whose `Host` is not a name of this server, if the server has no keys.

    A web page may come from a name that its owner points to this machine (DNS rebinding). The
    browser then lets the page read answers. Such a page has no key, and its `Host` is never an IP
    address.
    """

    def __init__(self, settings: Settings, keys: Keys) -> None:
        self._names = {name.lower() for name in settings.allowed_hosts | {settings.host}}
        self._keys = keys

    def check(self, scope: Scope) -> None:
        """Raise `HTTPException` 421 for another name."""
        host = Headers(scope=scope).get("host", "")
        if host and not (self._is_own(host) or self._keys.required):
            raise HTTPException(
                421,
                "this server has no keys and does not know the name in the Host header; "
                "SECONDPASS_ALLOWED_HOSTS takes more names",
            )

    def _is_own(self, host: str) -> bool:
        if ANY in self._names:
            return True
        found = _HOST.fullmatch(host)
        name = found["name"].lower().rstrip(".") if found else ""
        if name in self._names or name == "localhost" or name.endswith(".localhost"):
            return True
        try:
            ip_address(name.removeprefix("[").removesuffix("]"))
        except ValueError:
            return False
        return True


def require_keys_or_loopback(settings: Settings) -> None:
    """Raise `InvalidInputError` if other machines could use this server without a key.

    Raises `StoreError` where the keys file cannot be read.
    """
    if Keys(settings).required or settings.allow_anonymous or _is_loopback(settings.host):
        return
    raise InvalidInputError(
        f"{settings.host} can be reached from other machines, and without API keys everyone there "
        "may read, write and delete; make a key (`secondpass keys create NAME --scope search`), or "
        "use --allow-anonymous (SECONDPASS_ALLOW_ANONYMOUS=1)",
        "host",
    )


def _is_loopback(host: str) -> bool:
    try:
        found = socket.getaddrinfo(host or None, 0, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError):
        return True  # the server cannot listen there either, and that error says more
    return all(ip_address(str(address[0])).is_loopback for *_, address in found)
