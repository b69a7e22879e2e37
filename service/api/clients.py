"""Which client a request is of: each has its share of what the server can do."""

from collections.abc import Collection
from ipaddress import IPv6Address, ip_address, ip_network

from starlette.datastructures import Headers
from starlette.types import Scope

from service.api.keys import hash_key, is_known

_PREFIX_BITS = 64
"""Of an IPv6 address: one machine is given as many addresses as it likes behind these."""


def client_of(scope: Scope, key_hashes: Collection[str]) -> str | None:
    """The API key's hash where the request has one that is known, else the peer's address.

    None where there is no peer, as in a test without a server.
    """
    scheme, _, key = Headers(scope=scope).get("authorization", "").partition(" ")
    if key_hashes and scheme.lower() == "bearer" and is_known(key.strip(), key_hashes):
        return f"key {hash_key(key.strip())}"
    peer = scope.get("client")
    return _network(peer[0]) if peer else None


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
