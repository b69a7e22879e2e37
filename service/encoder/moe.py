"""Mixture of experts in a transformer's feed-forward layers.

In every transformer layer the *intermediate* dense layer becomes several copies of itself behind a
linear gate without bias. Each token goes to its `top_k` best experts; what they give is added up,
weighted by a softmax over the chosen gate values. Before any training the copies are equal and the
weights sum to 1, so the model gives what it gave before.

With `top_k` 1 the softmax is over one value and therefore always 1: no gradient reaches the gate,
which stays the fixed random division of the tokens that it starts as. With 2 it learns.

Method: Jeongsu Yu, "Efficient fine-tuning methodology of text embedding models for information
retrieval: contrastive learning penalty (CLP)", https://arxiv.org/abs/2412.17364.

Such a model is an architecture of its own, `bert-moe` or `xlm-roberta-moe`, which importing this
module makes known to transformers. So sentence-transformers saves and loads its folder like any
other, without code from the folder.
"""

from collections.abc import Iterator, Mapping
from copy import deepcopy
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModel,
    BertConfig,
    BertModel,
    XLMRobertaConfig,
    XLMRobertaModel,
)

from service.errors import ModelError

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

GATE_SCALE = 0.02
"""Standard deviation of a fresh gate's weights, as of the transformer's own dense layers."""


class MixtureOfExperts(nn.Module):
    """Copies of a dense layer behind a gate; takes and gives what that layer does."""

    def __init__(self, dense: nn.Linear, experts: int, top_k: int) -> None:
        """`experts` copies of `dense`; `top_k` of them, at least 1, see each token."""
        super().__init__()
        if not 1 <= top_k <= experts:
            raise ModelError(f"top_k must be from 1 to {experts} experts, not {top_k}")
        self.top_k = top_k
        weight = dense.weight
        self.gate = nn.Linear(
            dense.in_features, experts, bias=False, device=weight.device, dtype=weight.dtype
        )
        self.experts = nn.ModuleList([deepcopy(dense) for _ in range(experts)])
        nn.init.normal_(self.gate.weight, std=GATE_SCALE)

    def forward(self, hidden: Tensor) -> Tensor:
        """(..., in_features) -> (..., out_features). Each expert computes only its own tokens."""
        tokens = hidden.reshape(-1, hidden.shape[-1])
        values, chosen = self.gate(tokens).topk(self.top_k, dim=-1)
        weights = values.softmax(dim=-1)
        parts, places = [], []
        for number, expert in enumerate(self.experts):
            rows, slots = torch.nonzero(chosen == number, as_tuple=True)
            given = expert(tokens[rows])
            parts.append(given * weights[rows, slots, None].to(given.dtype))
            places.append(rows)
        given = torch.cat(parts)
        total = given.new_zeros(len(tokens), given.shape[-1])
        total = total.index_add(0, torch.cat(places), given)
        return total.reshape(*hidden.shape[:-1], -1)


class MoeBertConfig(BertConfig):  # type: ignore[no-untyped-call]
    """BERT's, and how many experts there are and see a token."""

    model_type = "bert-moe"
    num_experts: int = 2
    experts_per_token: int = 1


class MoeBertModel(BertModel):  # type: ignore[no-untyped-call]
    """BERT with a mixture of experts in each layer."""

    config_class = MoeBertConfig

    def __init__(self, config: MoeBertConfig, add_pooling_layer: bool = True) -> None:
        super().__init__(config, add_pooling_layer)
        _put_experts(self)


class MoeXLMRobertaConfig(XLMRobertaConfig):  # type: ignore[no-untyped-call]
    """XLM-RoBERTa's (BGE-M3 is one), and how many experts there are and see a token."""

    model_type = "xlm-roberta-moe"
    num_experts: int = 2
    experts_per_token: int = 1


class MoeXLMRobertaModel(XLMRobertaModel):  # type: ignore[no-untyped-call]
    """XLM-RoBERTa with a mixture of experts in each layer."""

    config_class = MoeXLMRobertaConfig

    def __init__(self, config: MoeXLMRobertaConfig, add_pooling_layer: bool = True) -> None:
        super().__init__(config, add_pooling_layer)
        _put_experts(self)


_FAMILIES: Mapping[str, tuple[Any, Any]] = {
    "bert": (MoeBertConfig, MoeBertModel),
    "xlm-roberta": (MoeXLMRobertaConfig, MoeXLMRobertaModel),
}


def add_experts(
    model: "SentenceTransformer", experts: int = 2, *, top_k: int = 1, seed: int = 0
) -> None:
    """Turn a bi-encoder's transformer into its mixture of experts, in place.

    The gates are drawn with `seed`; the vectors stay what they were. Raises `ModelError` where the
    transformer is neither a BERT nor an XLM-RoBERTa.
    """
    transformer: Any = model[0]
    old = transformer.auto_model
    family = old.config.model_type
    if family not in _FAMILIES:
        raise ModelError(f"experts go into {' or '.join(_FAMILIES)}, not into {family}")
    make_config, make_model = _FAMILIES[family]
    settings = old.config.to_dict()
    del settings["model_type"]
    config = make_config(**settings, num_experts=experts, experts_per_token=top_k)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        new = make_model(config, add_pooling_layer=old.pooler is not None)
    new.load_state_dict(_copied(old.state_dict(), experts), strict=False)
    transformer.model = new.to(device=old.device, dtype=old.dtype).train(old.training)


def intermediate_layers(model: "SentenceTransformer") -> Iterator[nn.Module]:
    """The intermediate dense layer of each transformer layer, or its experts with their gate."""
    transformer: Any = model[0]
    for layer in transformer.auto_model.encoder.layer:
        yield layer.intermediate.dense


def _put_experts(model: Any) -> None:
    config = model.config
    for layer in model.encoder.layer:
        dense = layer.intermediate.dense
        experts = MixtureOfExperts(dense, config.num_experts, config.experts_per_token)
        layer.intermediate.dense = experts


def _copied(weights: Mapping[str, Tensor], experts: int) -> dict[str, Tensor]:
    copied = {}
    for name, weight in weights.items():
        before, dense, last = name.partition(".intermediate.dense.")
        names = [f"{before}{dense}experts.{n}.{last}" for n in range(experts)] if dense else [name]
        copied.update(dict.fromkeys(names, weight))
    return copied


for _config, _model in _FAMILIES.values():
    AutoConfig.register(_config.model_type, _config, exist_ok=True)
    AutoModel.register(_config, _model, exist_ok=True)
