"""The API keys that a server knows: those of its settings, and those of the keys file."""

import hmac
import logging
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from math import ceil, inf

from service.errors import StoreError
from service.scheduling.rates import Rates
from service.settings import Settings
from service.store.key_file import SCOPES, KeyFile, KeyRecord, hash_key

log = logging.getLogger(__name__)

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
