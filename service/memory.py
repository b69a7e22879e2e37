"""Memory beside loaded models: the garbage collector, and the C library's allocator."""

import ctypes
import gc
import logging
import sys
from contextlib import suppress

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_ARENAS = 2
"""Of each thread its own would keep what that thread once needed: a tenth of a server's memory."""
_LARGE = 1 << 30
_MOST_BEFORE = 32 << 20
"""What older versions of glibc take at most."""

_log = logging.getLogger(__name__)


def freeze_objects() -> None:
    """Leave the objects there are now out of later garbage collections.

    The models have half a million objects. A collection that walks through them stops every thread
    for some tenths of a second.
    """
    gc.collect()
    gc.freeze()


def collect_frozen_objects() -> None:
    """Free what is no longer used, frozen or not, and give its memory back to the system."""
    if gc.get_freeze_count():
        gc.unfreeze()
        freeze_objects()
    give_back_freed_memory()


def give_back_freed_memory() -> None:
    """Let the system have what is free by now, after something that takes much and keeps little.

    What is allocated in one piece later may find no gap between what is in use.
    """
    if sys.platform.startswith("linux"):
        with suppress(AttributeError, OSError):  # musl has none
            ctypes.CDLL(None).malloc_trim(0)


def keep_freed_memory() -> None:
    """Let the allocator keep what is freed, for the next tensor, instead of giving it back.

    By default glibc gives each large block back as soon as it is freed and gets another one for
    the next layer, whose every page the kernel then has to clear: with a small transformer on a
    CPU that is half of the time. On another C library this does nothing.
    """
    if not sys.platform.startswith("linux"):
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):  # musl has none
        return
    mallopt(_M_ARENA_MAX, _ARENAS)
    mallopt(_M_TRIM_THRESHOLD, _LARGE)
    if not mallopt(_M_MMAP_THRESHOLD, _LARGE) and not mallopt(_M_MMAP_THRESHOLD, _MOST_BEFORE):
        _log.warning("the allocator takes no advice: models may run at half of their speed")
