"""Says whether a server can listen on HOST and PORT: `check_port.py HOST PORT`.

Run before the long work of a first start, by any Python 3, so it uses the standard library alone.
"""

import errno
import ipaddress
import os
import socket
import sys


def problem(host: str, port: str) -> str | None:
    """What keeps a server from listening there, or None."""
    if not (port.isdecimal() and int(port) <= 65535):
        return f"PORT={port} is not a port: give a number from 0 to 65535"
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (OSError, UnicodeError):
        return f"HOST={host} is not an address of this machine: try HOST=127.0.0.1"
    with socket.socket(family, kind, protocol) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(address)
            listener.listen()
        except OSError as error:
            return _in_words(error, host, port)
    if not ipaddress.ip_address(str(address[0])).is_loopback and not _is_guarded():
        return (
            f"{host} can be reached from other machines, and without API keys everyone there may "
            "read, write and delete: set SECONDPASS_API_KEY_HASHES (`make setup`, then "
            "`.venv/bin/secondpass key` makes one), or SECONDPASS_ALLOW_ANONYMOUS=1"
        )
    return None


def _is_guarded() -> bool:
    """Whether the environment sets keys, or allows to do without; the server looks closer."""
    names = ("SECONDPASS_API_KEY_HASHES", "SECONDPASS_ALLOW_ANONYMOUS")
    return any(os.environ.get(name) for name in names)


def _in_words(error: OSError, host: str, port: str) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"port {port} on {host} is taken by another program: stop it, or choose another one "
            f"with `make serve PORT={int(port) + 1}`"
        )
    if error.errno == errno.EACCES:
        return f"this user may not listen on port {port}: choose one from 1024 upwards with PORT="
    return f"cannot listen on {host}, port {port}: {error.strerror}"


if __name__ == "__main__":
    said = problem(*sys.argv[1:3])
    if said is not None:
        sys.exit(f"error: {said}")
