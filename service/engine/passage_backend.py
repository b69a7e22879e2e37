"""Which backend encoded a collection's passages: information, kept beside them.

Vectors of all backends are close enough to be searched together.
"""

from service.protocols import Encoder
from service.store_protocol import Store

_NOTE = "passage_backend"


def note_backend(store: Store, encoder: Encoder) -> None:
    """Keep what will encode the passages, in a store that has none yet.

    Of passages from a snapshot it is not known.
    """
    backend = encoder.backends.get("passages")
    with store.view() as view:
        known, empty = view.note(_NOTE), not view.counts.passages
    if backend and empty and known != backend:
        store.set_note(_NOTE, backend)


def other_backend(store: Store, encoder: Encoder) -> str | None:
    """A note for the operator where the first passages were encoded by another backend."""
    backend = encoder.backends.get("passages")
    with store.view() as view:
        known = view.note(_NOTE) if view.counts.passages else None
    if not backend or known in {None, backend}:
        return None
    return (
        f"passages were encoded by {known}, new ones are by {backend}: their vectors differ by "
        "rounding; secondpass reindex encodes all of them with the same"
    )
