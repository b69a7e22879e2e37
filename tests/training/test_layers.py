"""Which layers stay, and a pooler that can learn."""

import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification

from service.errors import InvalidInputError, ModelSourceError
from service.training.bases import keep_layers, revive_pooler


@pytest.fixture
def bert() -> BertForSequenceClassification:
    config = BertConfig(
        vocab_size=50,
        hidden_size=16,
        num_hidden_layers=5,
        num_attention_heads=2,
        intermediate_size=16,
        num_labels=1,
    )
    return BertForSequenceClassification(config).eval()


@pytest.mark.parametrize(
    ("layers", "kept"),
    [("all", [0, 1, 2, 3, 4]), ("alternate", [0, 2, 4]), (2, [0, 1]), ((4, 1), [4, 1])],
    ids=str,
)
def test_layers_that_were_named_stay_in_their_order(
    bert: BertForSequenceClassification, layers: object, kept: list[int]
) -> None:
    before = list(bert.bert.encoder.layer)
    keep_layers(bert, layers)  # type: ignore[arg-type]
    assert [before.index(layer) for layer in bert.bert.encoder.layer] == kept
    assert bert.config.num_hidden_layers == len(kept)
    assert bert(input_ids=torch.tensor([[3, 4, 5]])).logits.shape == (1, 1)


@pytest.mark.parametrize("layers", [0, 6, (), (1, 1), (-1,), (5,)], ids=str)
def test_layers_that_are_not_there_are_refused(
    bert: BertForSequenceClassification, layers: object
) -> None:
    with pytest.raises(InvalidInputError, match="not among the base's 5 layers"):
        keep_layers(bert, layers)  # type: ignore[arg-type]


def test_a_model_that_is_built_otherwise_is_refused() -> None:
    class Plain(torch.nn.Module):
        @property
        def base_model(self) -> torch.nn.Module:
            return self

    with pytest.raises(ModelSourceError, match="no BERT-like model"):
        keep_layers(Plain(), 2)


def test_only_a_pooler_of_zeros_is_drawn_anew(bert: BertForSequenceClassification) -> None:
    weight = bert.bert.pooler.dense.weight
    before = weight.detach().clone()
    revive_pooler(bert)
    assert torch.equal(weight, before)
    with torch.no_grad():
        weight.zero_()
    revive_pooler(bert)
    assert torch.linalg.matrix_rank(weight.detach()) == 16
