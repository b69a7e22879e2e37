import numpy as np

from service.evaluation.calibrating import (
    HIT,
    Hits,
    collect_hits,
    enough_hits,
    find_thresholds,
    fit_curves,
    fit_thresholds,
    given_words,
    held_out,
    shortages,
    words_from,
)
from tests.fixtures.candidates import observed


def held(random: np.random.Generator, queries: int) -> Hits:
    """Twenty hits a query, as often relevant as their probabilities say."""
    p = random.beta(0.4, 1.6, queries * 20)
    names = np.repeat([f"q{i}" for i in range(queries)], 20)
    return table(p, random.random(len(p)) < p, names)


def table(p: np.ndarray, labels: np.ndarray, names: np.ndarray) -> Hits:
    hits = np.ones(len(p), HIT)
    hits["probability"], hits["label"], hits["query"] = p, labels, names
    return hits


def test_a_threshold_is_the_smallest_that_keeps_its_words_precision() -> None:
    few = held(np.random.default_rng(0), 100)
    found = find_thresholds(few, 0.8, 0.5)
    high = few["probability"] >= found.high
    assert few["label"][high].mean() >= 0.8
    next_one = few["probability"] >= few["probability"][~high].max()
    assert few["label"][next_one].mean() < 0.8
    medium = (few["probability"] >= found.medium) & ~high
    assert few["label"][medium].mean() >= 0.5


def test_words_are_given_by_thresholds_that_their_own_query_had_no_say_in() -> None:
    few = held(np.random.default_rng(0), 100)
    given = given_words(few, 0.8, 0.5)
    everywhere = words_from(find_thresholds(few, 0.8, 0.5), few)
    assert 0.0 < (given != everywhere).mean() < 0.2
    # Turning one query's labels round changes the words of others, never its own.
    turned = few.copy()
    turned["label"] ^= few["query"] == "q7"
    changed = given_words(turned, 0.8, 0.5) != given
    assert changed.any()
    assert not changed[few["query"] == "q7"].any()


def test_the_stated_precision_of_a_word_does_not_flatter() -> None:
    chose, unseen = [], []
    for seed in range(40):
        few = held(np.random.default_rng(seed), 100)
        stated = fit_thresholds(few, given_words(few, 0.8, 0.5), 0.8, 0.5)["high"]
        fresh = held(np.random.default_rng(1000 + seed), 200)
        truth = fresh["label"][fresh["probability"] >= stated.probability].mean()
        chose.append(few["label"][few["probability"] >= stated.probability].mean() - truth)
        unseen.append(stated.found - truth)
    assert np.mean(chose) > 0.005
    assert np.mean(unseen) < np.mean(chose) / 2


def test_sure_hits_do_not_carry_unlikely_ones_into_their_word() -> None:
    p = np.array([0.99] * 90 + [0.4] * 40 + [0.1] * 10)
    y = np.array([True] * 130 + [False] * 10)
    names = np.array([f"q{i}" for i in range(140)])
    sure = table(p, y, names)
    words = fit_thresholds(sure, given_words(sure, 0.9, 0.5), 0.9, 0.5)
    assert (words["high"].probability, words["high"].n) == (0.99, 90)
    assert (words["medium"].probability, words["medium"].n) == (0.4, 40)


def test_a_precision_that_no_probability_reaches_gives_no_word() -> None:
    data = [observed("xx", "ja", good_logits=False, queries=80)]
    fitted = fit_curves(collect_hits(data, {}, 100))
    hits = held_out(fitted)
    words = fit_thresholds(hits, given_words(hits, 0.99, 0.01), 0.99, 0.01)
    assert words["high"].probability is None
    assert (words["high"].n, words["high"].found) == (0, None)
    assert words["medium"].probability is not None
    said = shortages(fitted, words, 80)
    assert any("'high' with a precision of 0.99" in s and "never used" in s for s in said)
    assert any("rests on 80 relevant hits; 200 are enough, some 200 queries" in s for s in said)


def test_enough_hits_make_the_interval_as_narrow_as_stated() -> None:
    assert enough_hits(0.5) == 385
    assert enough_hits(0.9) == 139
    assert enough_hits(1.0) == 73
