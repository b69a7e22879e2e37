"""API keys: random secrets, of which the server knows only hashes."""

import hashlib
import hmac
from collections.abc import Collection


def hash_key(key: str) -> str:
    """SHA-256 of a key, in hexadecimal. Keys are long and random, so no salt is needed."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def is_known(key: str, hashes: Collection[str]) -> bool:
    """Is it one of these? All are compared, each in constant time: time tells nothing."""
    given = hash_key(key)
    return sum(hmac.compare_digest(given, known) for known in hashes) > 0
