import numpy as np

from service.evaluation.fitting import (
    SHARES,
    Trial,
    choose_shares,
    shares_of,
    try_shares,
)
from tests.fixtures.candidates import observed


def trial(name: str, language: str, ndcg: dict[float, float], spread: float = 0.0) -> Trial:
    """50 queries, each with the given nDCG@10 of a share (0 for others), give or take `spread`."""
    noise = np.random.default_rng(3).normal(0.0, 1.0, (len(SHARES), 50))
    means = np.array([ndcg.get(share, 0.0) for share in SHARES])[:, None]
    values = means + spread * (noise - noise.mean(axis=1, keepdims=True))
    return Trial(name, language, tuple(f"q{i}" for i in range(50)), values)


def chosen(*trials: Trial, every_language: bool = False) -> dict[str, float]:
    return shares_of(choose_shares(trials, every_language=every_language))


def test_a_reranker_that_helps_is_given_a_share_and_one_that_harms_none() -> None:
    data = [
        observed("en", "en", good_logits=True),
        observed("ja", "ja", good_logits=False),
    ]
    trials = try_shares(data, depth=100)
    assert [(t.collection, t.language, len(t.queries)) for t in trials] == [
        ("en", "en", 40),
        ("ja", "ja", 40),
    ]
    assert set(chosen(*trials)) == {"en"}


def test_a_reranker_alone_is_given_the_share_1_where_the_cosine_only_disturbs() -> None:
    data = [observed("en", "en", good_logits=True, answer_at=19)]
    (only,) = try_shares(data, depth=100)
    assert only.ndcg[-1].mean() == 1.0
    assert SHARES[-1] == 1.0
    assert only.ndcg[1].mean() < 1.0


def test_a_depth_hides_what_is_below_it_from_the_reranker() -> None:
    data = [observed("en", "en", good_logits=True, answer_at=9)]
    (deep,) = try_shares(data, depth=10)
    (shallow,) = try_shares(data, depth=9)
    assert deep.ndcg[-1].mean() == 1.0
    assert shallow.ndcg[-1].mean() == shallow.ndcg[0].mean()


def test_harm_in_one_collection_forbids_what_another_gains_by() -> None:
    gains = trial("a", "en", {0.0: 0.5, 0.2: 0.55, 0.4: 0.60}, 0.01)
    harmed = trial("b", "en", {0.0: 0.9, 0.2: 0.9, 0.4: 0.89}, 0.01)
    assert chosen(gains, harmed) == {"en": 0.2}


def test_the_smaller_share_wins_where_two_are_equal() -> None:
    assert chosen(trial("a", "en", {share: 0.6 if share else 0.5 for share in SHARES})) == {
        "en": 0.05
    }


def test_a_gain_within_the_noise_gives_no_share() -> None:
    # Each share's values are noise of its own: the best of 21 looks like a gain on these queries.
    random = np.random.default_rng(0)
    noise = Trial("a", "en", tuple(map(str, range(60))), random.normal(0.5, 0.2, (21, 60)))
    (choice,) = choose_shares([noise])
    in_sample = noise.ndcg.mean(axis=1)
    assert in_sample.max() > in_sample[0] + 0.03
    assert (choice.share, choice.tried) == (0.0, SHARES[int(in_sample.argmax())])
    assert choice.low <= 0.0
    assert shares_of([choice]) == {}


def test_one_share_for_all_languages_leaves_mixed_searches_their_own() -> None:
    rising = {share: 0.5 + share / 10 for share in SHARES}
    both = (trial("a", "en", rising, 0.01), trial("b", "ja", rising, 0.01))
    assert chosen(*both, every_language=True) == {"*": 1.0}
    mixed = trial("b", "und", {0.0: 0.5, 0.6: 0.6}, 0.01)
    assert chosen(*both, mixed, every_language=True) == {"*": 1.0, "und": 0.6}
    assert chosen(*both, mixed) == {"en": 1.0, "ja": 1.0, "und": 0.6}


def test_a_few_queries_have_no_say() -> None:
    assert try_shares([observed("en", "en", good_logits=True, queries=19)], depth=100) == []


def test_what_was_not_reranked_has_no_say() -> None:
    assert try_shares([observed("en", "en", good_logits=True, reranked=False)], depth=100) == []
