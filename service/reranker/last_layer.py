"""A cross-encoder's last layer, of which nothing but the first token's state is read."""

from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from service.forward_pass import Part


class FirstTokenLayer(nn.Module):
    """A layer of BERT's make that gives the first token's state alone, of one text without padding.

    The other tokens' queries and feed-forward passes would be arithmetic for nothing: of a model of
    six layers, an eighth of all.
    """

    def __init__(self, layer: Any) -> None:
        """Take the parts of a `BertLayer`, or one like it; raises `AttributeError` for another."""
        super().__init__()
        attention = layer.attention.self
        self._heads = int(attention.num_attention_heads)
        self._query, self._key, self._value = attention.query, attention.key, attention.value
        self._attended, self._inner, self._output = (
            layer.attention.output,
            layer.intermediate,
            layer.output,
        )

    def forward(self, states: Tensor, *_args: object, **_more: object) -> Tensor:
        """(1, tokens, hidden) -> (1, 1, hidden)."""
        first = states[:, :1]
        context = scaled_dot_product_attention(
            self._split(self._query(first)),
            self._split(self._key(states)),
            self._split(self._value(states)),
        )
        attended = self._attended(context.transpose(1, 2).flatten(2), first)
        last: Tensor = self._output(self._inner(attended), attended)
        return last

    def _split(self, states: Tensor) -> Tensor:
        return states.view(*states.shape[:2], self._heads, -1).transpose(1, 2)


def first_token_only(model: nn.Module) -> Iterator[Part]:
    """What is to take the last layer's place in a sequence classifier of transformers."""
    layers: Any = model.base_model.encoder.layer  # type: ignore[union-attr]
    yield layers, str(len(layers) - 1), FirstTokenLayer(layers[-1])
