import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.confidence.ranking import fuse, rank

COSINES = [0.91, 0.88, 0.86, 0.80]
LOGITS = [-2.0, 3.5, 0.1, -4.0]
finite = st.floats(-10, 10)


def z(values: list[float]) -> np.ndarray:
    return (np.asarray(values) - np.mean(values)) / np.std(values)


@pytest.mark.parametrize("weight", [0.05, 0.35, 0.6, 0.95])
def test_order_is_that_of_the_weighted_z_scores(weight: float) -> None:
    expected = np.argsort(-(weight * z(LOGITS) + (1 - weight) * z(COSINES)))
    assert np.argsort(-fuse(COSINES, LOGITS, weight)).tolist() == expected.tolist()


def test_weight_zero_is_the_cosine_and_one_the_logit() -> None:
    assert fuse(COSINES, LOGITS, 0.0).tolist() == COSINES
    assert fuse(COSINES, LOGITS, 1.0).tolist() == LOGITS


def test_the_mean_stays_that_of_the_cosines() -> None:
    assert fuse(COSINES, LOGITS, 0.35).mean() == pytest.approx(np.mean(COSINES))


def test_one_candidate_alone_keeps_its_cosine() -> None:
    assert fuse([0.7], [9.0], 0.35).tolist() == [0.7]


def test_equal_logits_change_nothing() -> None:
    assert fuse(COSINES, [1.0] * 4, 0.35).tolist() == COSINES


@given(st.lists(st.tuples(finite, finite), min_size=1, max_size=20), st.floats(0, 1))
def test_all_scores_are_finite(pairs: list[tuple[float, float]], weight: float) -> None:
    cosines, logits = zip(*pairs, strict=True)
    assert np.isfinite(fuse(cosines, logits, weight)).all()


def test_reranked_come_before_all_others_and_ties_go_by_document_then_passage() -> None:
    ids = [("b", 4), ("b", 3), ("a", 9), ("c", 1), ("a", 2), ("d", 5)]
    found = rank(ids, [0.9, 0.9, 0.9, 0.8, 0.8, 0.7])
    assert [ids[place] for place in found.places] == [("a", 9), ("b", 3), ("c", 1), ("d", 5)]
    assert found.scores.tolist() == found.basis.tolist() == [0.9, 0.9, 0.8, 0.7]
    assert found.ordering == "retrieval"
    alone = rank(ids, [0.9, 0.9, 0.9, 0.8, 0.8, 0.7], [-1.0, -1.0, -2.0, -1.0], 1.0)
    assert [ids[place] for place in alone.places] == [("b", 3), ("c", 1), ("a", 9), ("d", 5)]
    assert (alone.scores.tolist(), alone.basis.tolist()) == ([-1.0, -1.0, -2.0, 0.7], [-1, -1, -2])
    assert alone.ordering == "rerank"


def test_stage_one_may_order_by_more_than_the_cosine_that_the_curve_reads() -> None:
    found = rank([("a", 1), ("b", 2)], [0.9, 0.8], stage_one=[0.1, 0.4])
    assert (found.places, found.scores.tolist()) == ([1, 0], [0.4, 0.1])
    assert found.basis.tolist() == [0.8, 0.9]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2), finite), max_size=12))
def test_the_order_does_not_depend_on_that_of_the_input(rows: list[tuple[int, int, float]]) -> None:
    unique = list({(f"d{d}", p): cosine for d, p, cosine in rows}.items())

    def shown(candidates: list[tuple[tuple[str, int], float]]) -> list[tuple[str, int]]:
        ids, cosines = [of for of, _ in candidates], [cosine for _, cosine in candidates]
        return [ids[place] for place in rank(ids, cosines).places]

    assert shown(unique) == shown(unique[::-1])


def test_nothing_found_has_no_order() -> None:
    assert rank([], [], [], 0.4).places == []
