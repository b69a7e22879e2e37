import numpy as np
import pytest
import torch

from service.errors import InvalidInputError
from service.evaluation.pairs import classification_report

LOGITS = [3.0, 0.5, -1.0, 0.2, -4.0, -80.0]
LABELS = [1, 1, 1, 0, 0, 0]


@pytest.mark.parametrize("weight", [1.0, 5.0])
def test_the_loss_is_torchs(weight: float) -> None:
    loss = torch.nn.BCEWithLogitsLoss(pos_weight=torch.tensor(weight, dtype=torch.float64))
    expected = loss(torch.tensor(LOGITS, dtype=torch.float64), torch.tensor(LABELS).double())
    found = classification_report(LOGITS, LABELS, pos_weight=weight)
    assert found["loss"] == pytest.approx(expected.item(), abs=1e-12)


def test_figures_are_those_worked_out_by_hand() -> None:
    found = classification_report(LOGITS, LABELS)
    assert (found["pairs"], found["positive_share"]) == (6, 0.5)
    assert found["accuracy"] == pytest.approx(4 / 6)
    assert found["precision"] == found["recall"] == found["f1"] == pytest.approx(2 / 3)
    assert found["ap"] == pytest.approx((1 + 1 + 3 / 4) / 3)
    assert (found["best_accuracy"], found["best_threshold"]) == pytest.approx((5 / 6, 0.35))


def test_a_model_that_calls_everything_irrelevant_has_no_f1() -> None:
    found = classification_report(np.full(6, -2.0), LABELS)
    assert (found["accuracy"], found["f1"], found["recall"]) == (0.5, 0.0, 0.0)


def test_both_labels_are_needed() -> None:
    with pytest.raises(InvalidInputError, match="labels must be 0 and 1"):
        classification_report([1.0, 2.0], [1, 1])
