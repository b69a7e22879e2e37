"""Python's garbage collector beside loaded models.

It would walk through their objects, half a million, again and again, and stop every thread for some
tenths of a second.
"""

import gc


def freeze() -> None:
    """Leave what there is now out of later collections."""
    gc.collect()
    gc.freeze()


def collect_frozen() -> None:
    """Let go of what is no longer in use of all that was frozen. Nothing where nothing was."""
    if gc.get_freeze_count():
        gc.unfreeze()
        freeze()
