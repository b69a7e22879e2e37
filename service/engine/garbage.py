"""Memory beside loaded models: Python's garbage collector, and what the allocator keeps.

The collector would walk through the models' objects, half a million, again and again, and stop
every thread for some tenths of a second.
"""

import gc

from service.memory import give_back_freed_memory


def freeze() -> None:
    """Leave what there is now out of later collections."""
    gc.collect()
    gc.freeze()


def collect_frozen() -> None:
    """Let go of what is no longer in use, of all that was frozen too, and give its memory back."""
    if gc.get_freeze_count():
        gc.unfreeze()
        freeze()
    give_back_freed_memory()
