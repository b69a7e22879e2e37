import numpy as np
import pytest
from sentence_transformers.sentence_transformer.evaluation import BinaryClassificationEvaluator
from sklearn.metrics import average_precision_score

from service.errors import InvalidInputError
from service.evaluation.pairs import (
    SIMILARITIES,
    at_threshold,
    best_accuracy,
    pair_report,
    pair_scores,
    pair_vectors,
)
from tests.fixtures.doubles import HashEncoder

RANDOM = np.random.default_rng(5)
LABELS = RANDOM.integers(0, 2, 200)
FIRST = RANDOM.normal(size=(200, 8)).round(1)
SECOND = np.where(LABELS[:, None] == 1, FIRST, 0) + RANDOM.normal(size=(200, 8)).round(1)


@pytest.mark.parametrize("name", SIMILARITIES)
def test_figures_are_those_of_sentence_transformers(name: str) -> None:
    scores, high = pair_scores(FIRST, SECOND)[name], name in {"cosine", "dot"}
    report = pair_report(FIRST, SECOND, LABELS.tolist())
    theirs = BinaryClassificationEvaluator
    accuracy = theirs.find_best_acc_and_threshold(scores, LABELS, high)
    found = report[f"{name}_accuracy"], report[f"{name}_accuracy_threshold"]
    assert found == pytest.approx(accuracy)
    f1 = theirs.find_best_f1_and_threshold(scores, LABELS, high)
    assert [report[f"{name}_{key}"] for key in ("f1", "precision", "recall", "f1_threshold")] == (
        pytest.approx(f1)
    )
    ap = average_precision_score(LABELS, scores if high else -scores)
    assert report[f"{name}_ap"] == pytest.approx(ap)
    assert report["max_ap"] >= report[f"{name}_ap"]


def test_scores_are_those_worked_out_by_hand() -> None:
    scores = pair_scores([[1.0, 0.0], [3.0, 4.0]], [[0.0, 1.0], [3.0, 4.0]])
    assert scores["cosine"].tolist() == pytest.approx([0.0, 1.0])
    assert scores["dot"].tolist() == [0.0, 25.0]
    assert scores["manhattan"].tolist() == [2.0, 0.0]
    assert scores["euclidean"].tolist() == pytest.approx([2**0.5, 0.0])


def test_the_threshold_lies_between_the_pairs_that_it_parts() -> None:
    assert best_accuracy([0.9, 0.8, 0.4, 0.2], [1, 1, 0, 0]) == pytest.approx((1.0, 0.6))
    accuracy, threshold = best_accuracy([0.9, 0.8, 0.4], [0, 0, 1])
    assert accuracy == pytest.approx(2 / 3)
    assert threshold > 0.9


def test_a_threshold_from_elsewhere_is_applied_as_it_is() -> None:
    labels = [1, 1, 0, 0]
    found = at_threshold("cosine", [0.9, 0.5, 0.7, 0.1], labels, 0.6)
    assert (found.accuracy, found.precision, found.recall, found.f1) == (0.5, 0.5, 0.5, 0.5)
    near = at_threshold("euclidean", [0.1, 0.5, 0.6, 0.9], labels, 0.5)
    assert near.accuracy == 1.0
    assert at_threshold("cosine", [0.1] * 4, labels, 0.6).precision == 0.0


@pytest.mark.parametrize("labels", [[1] * 200, [0] * 200, [2] + [0, 1] * 99 + [1]])
def test_labels_are_0_and_1_and_both_are_there(labels: list[int]) -> None:
    with pytest.raises(InvalidInputError, match="labels must be 0 and 1"):
        pair_report(FIRST, SECOND, labels)


def test_vectors_come_in_the_order_of_the_pairs() -> None:
    encoder = HashEncoder()
    first, second = ["high tide", "green tea", "high tide"], ["low tide", "green tea", "samovar"]
    a, b = pair_vectors(encoder, first, second)
    assert np.array_equal(a, encoder.encode_queries(first))
    assert np.array_equal(b, encoder.encode_queries(second))
