"""What the engine hands to the module that opens a reranker of some kind."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from service.models.sources import PreparedModel
from service.protocols import TokenEncoder
from service.settings import Settings


@dataclass(frozen=True, slots=True)
class Opening:
    """The settings, and what is made only where a kind asks for it.

    - `prepare`: the folder of the reranker that the settings name, downloaded if need be
    - `base`: the encoder whose token states a prepared reranker reads, with the given layers;
      shared with the engine where that has it in memory
    """

    settings: Settings
    prepare: Callable[[], PreparedModel]
    base: Callable[[PreparedModel, Sequence[int]], tuple[PreparedModel, TokenEncoder]]
