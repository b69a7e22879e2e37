from dataclasses import replace

import numpy as np

from service.confidence.calibration import Calibration
from service.evaluation.reference import reference
from tests.confidence.test_judge import ARTIFACT, curve
from tests.fixtures.candidates import observed


def artifact(**changes: object) -> Calibration:
    return ARTIFACT.model_copy(update={"rerank_weights": {"*": 1.0}, **changes})


CURVES = {"retrieval": curve(1.0), "rerank": curve(2.0)}


def test_it_has_the_first_hit_of_each_query_as_it_is() -> None:
    seen = observed("en", "en", good_logits=True, queries=40)
    found = reference([seen], artifact(curves=CURVES))
    assert found["logit"].place(4.0) == len(found["logit"].counts) - 1
    assert found["logit"].counts[-1] == 40  # each answer's logit is 4
    assert found["confidence"].counts == (0, 0, 0, 40)  # 1 / (1 + exp(-8)) is high
    assert sum(found["query_tokens"].counts) == 40
    assert 5 < found["query_tokens"].borders[0] < found["query_tokens"].borders[-1] < 14


def test_words_are_those_of_the_curve_that_orders_the_hit() -> None:
    across = observed("across", "und", good_logits=True, queries=40)
    uncalibrated = reference([across], artifact(curves=CURVES, rerank_weights={"und": 1.0}))
    assert uncalibrated["confidence"].counts == (40, 0, 0, 0)
    by_cosine = reference([across], artifact(mixed_curves=CURVES, rerank_weights={}))
    assert by_cosine["confidence"].counts == (0, 0, 40, 0)  # 1 / (1 + exp(-0.9)) is medium


def test_a_query_that_should_have_been_reranked_is_left_out() -> None:
    seen = observed("en", "en", good_logits=True, queries=10)
    bare = {
        query: replace(search, answered=replace(search.answered, logits=np.array([])))
        for query, search in list(seen.searches.items())[:3]
    }
    some = replace(seen, searches=dict(seen.searches) | bare)
    assert sum(reference([some], artifact(curves=CURVES))["confidence"].counts) == 7
    none = reference([replace(seen, searches=bare)], artifact(curves=CURVES))
    assert none == {}


def test_beyond_the_depth_there_is_no_logit() -> None:
    seen = observed("en", "en", good_logits=True, queries=10)
    found = reference([seen], artifact(curves=CURVES, rerank_depth=0))
    assert set(found) == {"confidence", "query_tokens"}
