"""Negatives from four sources, and the part of a collection that they are drawn from."""

from dataclasses import replace

import numpy as np
import pytest

from service.datasets import article_key
from service.errors import InvalidInputError
from service.training.mining import Choice, Examples, from_collection, mine
from service.training.mining.examples import sample_examples
from service.training.mining.rankings import rank_siblings
from tests.fixtures.articles import articles
from tests.fixtures.doubles import HashEncoder

ENCODER = HashEncoder()


@pytest.fixture
def examples() -> Examples:
    return from_collection(articles(), article_of=article_key("title"))


def mixed(examples: Examples, choice: Choice) -> list[tuple[str, str, list[str]]]:
    queries = ENCODER.encode_queries(examples.queries)
    passages = ENCODER.encode_passages(examples.passages)
    rows = mine("mixed", examples, choice, (queries, passages)).rows
    return [(row.query, row.positives[0], list(row.negatives)) for row in rows]


def test_negatives_are_distinct_and_never_right(examples: Examples) -> None:
    choice = Choice(negatives=4, rank_max=8, margin=None, pick="random", seed=3)
    found = mixed(examples, choice)
    assert found == mixed(examples, choice)
    assert len(found) >= len(examples.queries)
    for query, _positive, negatives in found:
        places = examples.positives[examples.queries.index(query)]
        right = {examples.passages[place] for place in places}
        assert len(set(negatives)) == len(negatives) == 4
        assert right.isdisjoint(negatives)


def test_siblings_are_the_wrong_passages_of_the_right_ones_article(examples: Examples) -> None:
    some = 0
    for places, ranking in zip(examples.positives, rank_siblings(examples, Choice()), strict=True):
        own = set().union(*(examples.articles[place] for place in places))
        wanted = {
            place
            for place, articles_of in enumerate(examples.articles)
            if own & articles_of and place not in places
        }
        assert set(ranking.places.tolist()) == wanted
        some += len(wanted)
    assert some > 0


def test_the_margin_holds_for_siblings_and_bm25(examples: Examples) -> None:
    near = mixed(examples, Choice(negatives=9, rank_max=9, margin=None))
    # By so wide a margin only what is drawn from anywhere passes: it has no score.
    far = mixed(examples, Choice(negatives=9, rank_max=9, margin=3.0))
    anywhere = {query: set(negatives) for query, _positive, negatives in far}
    assert all(anywhere[query] <= set(negatives) for query, _positive, negatives in near)
    strict = mixed(examples, Choice(negatives=1, rank_max=1, margin=0.2, seed=1))
    queries = ENCODER.encode_queries(examples.queries)
    passages = ENCODER.encode_passages(examples.passages)
    below = 0
    for query, positive, (negative,) in strict:
        vector = queries[examples.queries.index(query)]
        scores = [vector @ passages[examples.passages.index(t)] for t in (negative, positive)]
        below += scores[0] <= scores[1] - 0.2 + 1e-6
    assert below >= len(strict) // 2


def test_a_sample_keeps_neighbours_and_queries_whose_answers_it_has() -> None:
    whole = Examples(
        "many",
        tuple(f"Câu hỏi {n}?" for n in range(200)),
        tuple(f"Đoạn văn số {n}." for n in range(200)),
        tuple((n, n + 1) if n % 20 == 19 and n < 199 else (n,) for n in range(200)),
        tuple(frozenset({str(n // 10)}) for n in range(200)),
    )
    part = sample_examples(whole, passages=60, queries=30, seed=4)
    assert part == sample_examples(whole, passages=60, queries=30, seed=4)
    assert part != sample_examples(whole, passages=60, queries=30, seed=5)
    numbers = [whole.passages.index(text) for text in part.passages]
    assert numbers == sorted(numbers)
    assert len(numbers) == 60
    assert {n // 20 for n in numbers} == {n // 20 for n in numbers[::20]}
    assert len(part.queries) == 30
    for query, places in zip(part.queries, part.positives, strict=True):
        right = whole.positives[whole.queries.index(query)]
        assert tuple(numbers[place] for place in places) == right
    assert part.articles == tuple(whole.articles[n] for n in numbers)


def test_a_sample_that_answers_nothing_says_what_to_raise(examples: Examples) -> None:
    every = tuple(range(len(examples.passages)))
    all_right = replace(examples, positives=(every,) * len(examples.queries))
    long = replace(
        all_right,
        passages=(*examples.passages, *(f"Also {n}." for n in range(40))),
        articles=(*examples.articles, *[frozenset[str]()] * 40),
        positives=(tuple(np.arange(len(every) + 40).tolist()),) * len(examples.queries),
    )
    with pytest.raises(InvalidInputError, match=r"raise options\.passages"):
        sample_examples(long, passages=5, queries=5, seed=0)
