"""Which names a server without keys answers to, and who can reach it."""

import ipaddress
import re
import socket
from contextlib import suppress

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import Scope

from service.errors import InvalidInputError
from service.settings import Settings

ANY = "*"
_HOST = re.compile(r"(?P<name>\[[^\]]*\]|[^:\[\]]*)(:\d*)?")


class HostCheck:
    """Refuses a request whose `Host` is a name that this server was not given.

    A page in a browser of this machine's network may come from a name that its owner points to this
    machine (DNS rebinding); the browser then takes the two for the same site and lets the page read
    answers. Such a page cannot have a key, and its `Host` is never an IP address.
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
        return (
            name in self._names
            or name == "localhost"
            or name.endswith(".localhost")
            or _is_address(name)
        )


def require_keys_or_loopback(settings: Settings) -> None:
    """Raise `InvalidInputError` where everyone in the network could use this server unasked."""
    if settings.api_key_hashes or settings.allow_anonymous or _is_loopback(settings.host):
        return
    raise InvalidInputError(
        f"{settings.host} can be reached from other machines, and without API keys everyone there "
        "may read, write and delete; set api_key_hashes (`secondpass key` makes one), or say "
        "--allow-anonymous (SECONDPASS_ALLOW_ANONYMOUS=1)",
        "host",
    )


def _is_loopback(host: str) -> bool:
    try:
        found = socket.getaddrinfo(host or None, 0, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError):
        return True  # it cannot be listened on: that error says more
    return all(ipaddress.ip_address(str(address[0])).is_loopback for *_, address in found)


def _is_address(name: str) -> bool:
    with suppress(ValueError):
        ipaddress.ip_address(name.removeprefix("[").removesuffix("]"))
        return True
    return False
