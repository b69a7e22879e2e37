"""Who asks: the one check of the API key, and whose share of the server a request takes.

Keys are random secrets; the server knows only their hashes.
"""

import hashlib
import hmac
from collections.abc import Collection
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address, ip_network

from starlette.datastructures import Headers
from starlette.types import Scope

_PREFIX_BITS = 64
"""Of an IPv6 address: one machine is given as many addresses as it likes behind these."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sent a request."""

    client: str | None
    """The API key's hash where the request has one that is known, else the peer's address.

    None where there is no peer, as in a test without a server.
    """
    may_enter: bool
    """Whether the request has a known key, or none is needed."""


def caller_of(scope: Scope, key_hashes: Collection[str]) -> Caller:
    """Check the key of a request, which may have none."""
    scheme, _, key = Headers(scope=scope).get("authorization", "").partition(" ")
    if key_hashes and scheme.lower() == "bearer":
        given = hash_key(key.strip())
        # All are compared, each in constant time, so that the time tells nothing.
        if sum(hmac.compare_digest(given, known) for known in key_hashes):
            return Caller(f"key {given}", may_enter=True)
    peer = scope.get("client")
    return Caller(_network(peer[0]) if peer else None, may_enter=not key_hashes)


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
