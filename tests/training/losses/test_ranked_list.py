"""The loss over lists against its formula, worked out by hand."""

import math
from typing import Any

import pytest
import torch
from torch import nn

from service.training.losses.ranked_list import RankedListLoss


class _AsGiven(nn.Module):
    """Its passages are their own logits."""

    device = torch.device("cpu")

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(1.0))
        self.sizes: list[int] = []

    def preprocess(self, pairs: list[tuple[str, str]]) -> dict[str, torch.Tensor]:
        self.sizes.append(len(pairs))
        return {"logits": torch.tensor([[float(passage)] for _query, passage in pairs])}

    def forward(self, features: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {"scores": features["logits"] * self.scale}


QUERIES = ["Đạo hàm của sin x?", "How deep is the harbour?"]
LISTS = [["2.0", "0.5", "-1.25"], ["-0.5", "1"]]
LABELS = [torch.tensor([1.0, 0.0, 0.0]), torch.tensor([1.0, 0.0])]


def value(*, teacher_logits: Any = None, **options: float) -> float:
    loss = RankedListLoss(_AsGiven(), **options)  # type: ignore[arg-type]
    inputs: list[Any] = [QUERIES, LISTS]
    if teacher_logits is not None:
        inputs.append(teacher_logits)
    return float(loss(inputs, LABELS).detach())


def shares(*logits: float) -> list[float]:
    total = sum(math.exp(logit) for logit in logits)
    return [math.exp(logit) / total for logit in logits]


def test_listwise_part_is_the_mean_over_lists_of_any_length() -> None:
    expected = -(math.log(shares(2, 0.5, -1.25)[0]) + math.log(shares(-0.5, 1)[0])) / 2
    assert value(bce=0) == pytest.approx(expected, abs=1e-6)


def test_bce_counts_right_pairs_pos_weight_times() -> None:
    def cost(logit: float, label: int) -> float:
        return math.log1p(math.exp(-logit if label else logit)) * (3 if label else 1)

    pairs = [(2, 1), (0.5, 0), (-1.25, 0), (-0.5, 1), (1, 0)]
    expected = 0.5 * sum(cost(logit, label) for logit, label in pairs) / 5
    assert value(listwise=0, bce=0.5, pos_weight=3) == pytest.approx(expected, abs=1e-6)


def test_distillation_is_the_divergence_from_the_teacher() -> None:
    told = [[1.0, 3.0, 0.0], [0.0, 0.25]]
    expected = 0.0
    for teacher, own in zip(told, [(2, 0.5, -1.25), (-0.5, 1)], strict=True):
        for p, q in zip(shares(*teacher), shares(*own), strict=True):
            expected += p * math.log(p / q) / 2
    found = value(listwise=0, bce=0, teacher=1, teacher_logits=told)
    assert found == pytest.approx(expected, abs=1e-6)
    same = [[float(text) + 7 for text in passages] for passages in LISTS]
    assert value(listwise=0, bce=0, teacher=1, teacher_logits=same) == pytest.approx(0, abs=1e-6)


def test_pairs_that_go_through_the_model_in_parts_come_back_in_order() -> None:
    model = _AsGiven()
    parts = RankedListLoss(model, at_once=2)  # type: ignore[arg-type]
    found = parts([QUERIES, LISTS], LABELS)
    assert model.sizes == [2, 2, 1]
    assert float(found.detach()) == pytest.approx(value(), abs=1e-6)


def test_a_step_against_its_gradient_puts_the_right_passage_higher() -> None:
    model = _AsGiven()
    RankedListLoss(model, bce=0)([QUERIES[:1], LISTS[:1]], LABELS[:1]).backward()  # type: ignore[arg-type]
    assert model.scale.grad is not None
    assert float(model.scale.grad) < 0
