"""Checks the API key and the `Host` header, and names the client of a request.

Keys are random secrets; the server knows only their hashes.
"""

import hashlib
import hmac
import re
import socket
from collections.abc import Collection
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address, ip_network

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import Scope

from service.errors import InvalidInputError
from service.settings import Settings

ANY = "*"
_HOST = re.compile(r"(?P<name>\[[^\]]*\]|[^:\[\]]*)(:\d*)?")
_PREFIX_BITS = 64
"""The part of an IPv6 address that names a client: one machine may use any address behind it."""


@dataclass(frozen=True, slots=True)
class ApiCaller:
    """Who sent a request."""

    client: str | None
    """The known API key's hash, else the peer's address; None without a peer, as in a test."""
    may_enter: bool
    """Whether the request has a known key, or needs none."""


def caller_of(scope: Scope, key_hashes: Collection[str]) -> ApiCaller:
    """Check the API key of a request, which may have none."""
    scheme, _, key = Headers(scope=scope).get("authorization", "").partition(" ")
    if key_hashes and scheme.lower() == "bearer":
        given = hash_key(key.strip())
        # Compare all of them, each in constant time, so that the time reveals nothing.
        if sum(hmac.compare_digest(given, known) for known in key_hashes):
            return ApiCaller(f"key {given}", may_enter=True)
    peer = scope.get("client")
    return ApiCaller(_network(peer[0]) if peer else None, may_enter=not key_hashes)


def hash_key(key: str) -> str:
    """SHA-256 of a key, in hexadecimal. Keys are long and random, so no salt is needed."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


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

    def __init__(self, settings: Settings) -> None:
        self._names = {name.lower() for name in settings.allowed_hosts | {settings.host}}
        self._any = bool(settings.api_key_hashes) or ANY in self._names

    def check(self, scope: Scope) -> None:
        """Raise `HTTPException` 421 for another name."""
        host = Headers(scope=scope).get("host", "")
        if host and not (self._any or self._is_own(host)):
            raise HTTPException(
                421,
                "this server has no keys and does not know the name in the Host header; "
                "SECONDPASS_ALLOWED_HOSTS takes more names",
            )

    def _is_own(self, host: str) -> bool:
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
    """Raise `InvalidInputError` if other machines could use this server without a key."""
    if settings.api_key_hashes or settings.allow_anonymous or _is_loopback(settings.host):
        return
    raise InvalidInputError(
        f"{settings.host} can be reached from other machines, and without API keys everyone there "
        "may read, write and delete; set api_key_hashes (`secondpass key` makes one), or use "
        "--allow-anonymous (SECONDPASS_ALLOW_ANONYMOUS=1)",
        "host",
    )


def _is_loopback(host: str) -> bool:
    try:
        found = socket.getaddrinfo(host or None, 0, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError):
        return True  # the server cannot listen there either, and that error says more
    return all(ip_address(str(address[0])).is_loopback for *_, address in found)
