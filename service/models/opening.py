"""What the engine hands to the module that opens a model of some kind."""

import threading
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar
from weakref import WeakValueDictionary

from service.memory import give_back_freed_memory
from service.models.sources import PreparedModel
from service.protocols import TokenEncoder
from service.settings import Settings

T = TypeVar("T")


class Shared:
    """What is in memory, by key; freed once nothing else holds it. Any thread may use it."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._held: WeakValueDictionary[Hashable, Any] = WeakValueDictionary()

    def get(self, key: Hashable, load: Callable[[], T]) -> T:
        """What is held under the key, else what `load` returns, which is held from now on."""
        with self._lock:
            held: T | None = self._held.get(key)
            if held is None:
                held = self._held[key] = load()
                give_back_freed_memory()
            return held


@dataclass(frozen=True, slots=True)
class Opening:
    """A model's name, the settings, and what is made only where a kind asks for it.

    - `prepare`: the folder of the model, downloaded if need be
    - `shared`: where weights are kept that several models use
    - `normalizer_version`: of what cleans the texts that an encoder gets
    - `base`: the encoder whose token states a prepared reranker reads, with the given layers
    """

    name: str
    settings: Settings
    prepare: Callable[[], PreparedModel]
    shared: Shared
    normalizer_version: int
    base: Callable[[PreparedModel, Sequence[int]], tuple[PreparedModel, TokenEncoder]]
