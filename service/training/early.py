"""Training a cross-encoder's early head together with the rest."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sentence_transformers import CrossEncoder
from torch import Tensor

from service.errors import InvalidInputError
from service.reranker.early_head import carry, early_head_of, load_head, new_head, save_head


class EarlyCrossEncoder(CrossEncoder):
    """A cross-encoder that is loaded and saved with its early head, if it has one."""

    def __init__(self, folder: str, **options: Any) -> None:
        super().__init__(folder, **options)
        classifier = self.transformers_model
        if classifier is not None:
            carry(classifier, load_head(Path(folder), classifier))

    def save_pretrained(self, path: str, *arguments: Any, **options: Any) -> None:
        """As any cross-encoder, and the early head beside it."""
        super().save_pretrained(path, *arguments, **options)
        save_head(self.transformers_model, Path(path))


def fit_early_head(model: CrossEncoder, layer: int) -> None:
    """Give a cross-encoder an early head behind `layer` layers, or none where that is 0.

    The one that it carries stays where it stands there. Raises `InvalidInputError` where there are
    not more layers than that.
    """
    classifier: Any = model.transformers_model
    if not layer:
        carry(classifier, None)
        return
    layers = len(classifier.base_model.encoder.layer)
    if layer >= layers:
        raise InvalidInputError(
            f"options.early_layer: {layer} is to be less than the model's {layers} layers",
            "options.early_layer",
        )
    head = early_head_of(classifier)
    if head is None or head.layer != layer:
        carry(classifier, new_head(classifier, layer, model.tokenizer.sep_token_id))


@contextmanager
def early_logits(model: Any) -> Iterator[list[Tensor]]:
    """A list to which each pass of a cross-encoder adds its early head's logits (n,).

    It stays empty where the model carries none.
    """
    classifier = getattr(model, "transformers_model", None)
    head = early_head_of(classifier)
    seen: list[Tensor] = []
    if classifier is None or head is None:
        yield seen
        return
    ids: list[Tensor] = []
    layer = classifier.base_model.encoder.layer[head.layer - 1]
    hooks = (
        classifier.get_input_embeddings().register_forward_pre_hook(
            lambda _embeddings, inputs: ids.append(inputs[0])
        ),
        layer.register_forward_hook(
            lambda _layer, _inputs, states: seen.append(head(states, ids.pop()))
        ),
    )
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()
