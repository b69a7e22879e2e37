"""The contrastive learning penalty against its formula, worked out by hand."""

import math

import pytest
import torch
from sentence_transformers import SentenceTransformer
from torch import nn

from service.errors import TrainingError
from service.training.losses.clp import ContrastiveLearningPenaltyLoss


class _AsGiven(nn.Module):
    """Its texts are vectors already."""

    def forward(self, features: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {"sentence_embedding": features["vector"]}


def loss(temperature: float = 0.02, penalty: float = 0.1) -> ContrastiveLearningPenaltyLoss:
    model = SentenceTransformer(modules=[_AsGiven()], device="cpu")
    return ContrastiveLearningPenaltyLoss(model, temperature, penalty)


def columns(*vectors: list[float]) -> list[dict[str, torch.Tensor]]:
    return [{"vector": torch.tensor([vector])} for vector in vectors]


def angle(degrees: float, length: float = 1.0) -> list[float]:
    return [length * math.cos(math.radians(degrees)), length * math.sin(math.radians(degrees))]


def test_value_of_a_group_worked_out_by_hand() -> None:
    # Cosines to the query: positive 0.8, negatives 0.6 and 0; negatives to their own: 1 and 0.5.
    group = columns(
        angle(0),
        [0.8, 0.6],
        [0.6, -0.8],
        angle(90),
        [0.6, -0.8],
        angle(30),
    )
    scaled = [math.exp(cosine / 0.5) for cosine in (0.8, 0.6, 0.0)]
    contrast = -math.log(scaled[0] / sum(scaled))
    expected = 0.9 * contrast + 0.1 * (1 - (1 + 0.5) / 2)
    assert loss(0.5, 0.1)(group).item() == pytest.approx(expected, abs=1e-6)


def test_lengths_of_vectors_do_not_count() -> None:
    lengths = [angle(0, 3), angle(20, 0.2), angle(50, 7), angle(60, 2)]
    units = [angle(0), angle(20), angle(50), angle(60)]
    found = loss()(columns(*lengths)).item()
    assert found == pytest.approx(loss()(columns(*units)).item(), abs=1e-6)


def test_a_batch_is_the_mean_of_its_groups() -> None:
    first = [angle(0), angle(10), angle(40), angle(45)]
    second = [angle(90), angle(60), angle(100), angle(170)]
    both = [{"vector": torch.tensor([a, b])} for a, b in zip(first, second, strict=True)]
    each = (loss()(columns(*first)) + loss()(columns(*second))) / 2
    torch.testing.assert_close(loss()(both), each)


def test_without_penalty_it_is_infonce_and_takes_no_queries_of_negatives() -> None:
    found = loss(0.5, 0.0)(columns(angle(0), [0.8, 0.6], [0.6, -0.8], angle(90)))
    scaled = [math.exp(cosine / 0.5) for cosine in (0.8, 0.6, 0.0)]
    assert found.item() == pytest.approx(-math.log(scaled[0] / sum(scaled)), abs=1e-6)


def test_the_penalty_pulls_a_negative_towards_its_own_query() -> None:
    negative = torch.tensor([angle(40)], requires_grad=True)
    own = angle(80)
    group = [*columns(angle(0), angle(20)), {"vector": negative}, *columns(own)]
    loss(0.5, 1.0)(group).backward()
    assert negative.grad is not None
    assert float((negative.grad * torch.tensor(own)).sum()) < 0


@pytest.mark.parametrize(("penalty", "count"), [(0.1, 2), (0.1, 3), (0.1, 5), (0.0, 2)], ids=str)
def test_columns_that_do_not_fit_are_named(penalty: float, count: int) -> None:
    group = columns(*[angle(10 * number) for number in range(count)])
    with pytest.raises(TrainingError, match=f"{count} columns"):
        loss(0.5, penalty)(group)
