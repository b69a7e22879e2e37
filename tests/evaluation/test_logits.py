from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from service.errors import InferenceError, StoreError
from service.evaluation.logits import CachedReranker, cached
from service.protocols import Reranker
from service.settings import Settings
from service.types import EncodedPassage, EncodedQuery, PairScore

PAIRS = [("thủy triều là gì", "Mặt Trăng"), ("thủy triều là gì", "Trái Đất"), ("お茶", "緑茶")]


class Lengths(Reranker):
    """Scores by the passage's length; fails at the pairs that it is told to fail at."""

    model = "lengths"

    def __init__(self, weights: str = "a" * 64, fails_at: str = "") -> None:
        self.weights_sha256, self.fails_at = weights, fails_at
        self.scored: list[tuple[str, str]] = []

    def score(
        self, query: EncodedQuery, slices: Iterable[Sequence[EncodedPassage]], /
    ) -> Iterator[list[PairScore]]:
        for passages in slices:
            if any(passage.text == self.fails_at for passage in passages):
                raise InferenceError("interrupted")
            self.scored += [(query.windows[p.window], p.text) for p in passages]
            yield [PairScore(len(p.text) / 3, len(p.text) > 8) for p in passages]


def test_a_pair_is_scored_once_even_by_the_next_process(tmp_path: Path) -> None:
    reranker = Lengths()
    expected = reranker.score_pairs(PAIRS)
    reranker.scored.clear()
    with CachedReranker(reranker, tmp_path / "l.db", variant="512") as cached:
        assert cached.score_pairs(PAIRS) == expected
        assert cached.score_pairs(PAIRS[::-1]) == expected[::-1]
        assert (cached.model, cached.weights_sha256) == ("lengths", "a" * 64)
    later = Lengths()
    with CachedReranker(later, tmp_path / "l.db", variant="512") as cached:
        assert cached.score_pairs(PAIRS) == expected
        assert cached.reused == 3
    assert (reranker.scored, later.scored) == (PAIRS, [])


def test_the_slices_of_a_query_are_one_call_of_the_reranker(tmp_path: Path) -> None:
    class Counting(Lengths):
        calls = 0

        def score(
            self, query: EncodedQuery, slices: Iterable[Sequence[EncodedPassage]], /
        ) -> Iterator[list[PairScore]]:
            self.calls += 1
            yield from super().score(query, slices)

    reranker = Counting()
    query = EncodedQuery(("q",), np.empty((0, 0), np.float32), 1)
    slices = [[EncodedPassage(text)] for text in ("one", "two", "one", "three")]
    with CachedReranker(reranker, tmp_path / "l.db", variant="512") as cached:
        assert [found[0].logit for found in cached.score(query, slices)] == [1, 1, 1, 5 / 3]
    assert reranker.calls == 1
    assert [text for _, text in reranker.scored] == ["one", "two", "three"]


def test_a_pair_that_comes_twice_in_one_call_is_scored_once(tmp_path: Path) -> None:
    reranker = Lengths()
    with CachedReranker(reranker, tmp_path / "l.db", variant="512") as cached:
        first, second, third = cached.score_pairs([PAIRS[0], PAIRS[2], PAIRS[0]])
    assert (first, reranker.scored) == (third, [PAIRS[0], PAIRS[2]])
    assert first != second


def test_an_interrupted_run_goes_on_where_it_stopped(tmp_path: Path) -> None:
    failing = Lengths(fails_at="緑茶")
    with CachedReranker(failing, tmp_path / "l.db", variant="512") as cached:
        cached.score_pairs(PAIRS[:2])
        with pytest.raises(InferenceError):
            cached.score_pairs(PAIRS)
    sound = Lengths()
    with CachedReranker(sound, tmp_path / "l.db", variant="512") as cached:
        assert len(cached.score_pairs(PAIRS)) == 3
    assert sound.scored == PAIRS[2:]


@pytest.mark.parametrize(("weights", "variant"), [("b" * 64, "512"), ("a" * 64, "256")])
def test_other_weights_and_another_window_have_logits_of_their_own(
    tmp_path: Path, weights: str, variant: str
) -> None:
    with CachedReranker(Lengths(), tmp_path / "l.db", variant="512") as cached:
        cached.score_pairs(PAIRS)
    other = Lengths(weights)
    with CachedReranker(other, tmp_path / "l.db", variant=variant) as cached:
        cached.score_pairs(PAIRS)
    assert other.scored == PAIRS


def test_where_the_query_ends_is_part_of_the_key(tmp_path: Path) -> None:
    reranker = Lengths()
    with CachedReranker(reranker, tmp_path / "l.db", variant="512") as cached:
        assert cached.score_pairs([("ab", "c")]) != cached.score_pairs([("a", "bc")])


def test_more_pairs_than_one_statement_takes(tmp_path: Path) -> None:
    pairs = [("q", "x" * (i % 50) + str(i)) for i in range(1234)]
    with CachedReranker(Lengths(), tmp_path / "l.db", variant="512") as cached:
        assert cached.score_pairs(pairs) == cached.score_pairs(pairs)
        assert cached.reused == 1234


def test_a_file_that_is_no_database_is_told(tmp_path: Path) -> None:
    (tmp_path / "l.db").write_text("hardly a database, and longer than a header " * 40)
    with pytest.raises(StoreError, match=r"l\.db"):
        CachedReranker(Lengths(), tmp_path / "l.db", variant="512")


def test_variants_of_one_model_have_logits_of_their_own(tmp_path: Path) -> None:
    for variant in ("window 512", "window 512, torch-bf16"):
        reranker = Lengths()
        reranker.variant = variant
        with cached(reranker, Settings(cache_dir=tmp_path)) as kept:
            kept.score_pairs(PAIRS)
        assert reranker.scored == PAIRS


def test_what_is_stored_of_a_passage_is_handed_on(tmp_path: Path) -> None:
    class Packed(Lengths):
        reads, concurrent = "token ids", True

        def score(
            self, query: EncodedQuery, slices: Iterable[Sequence[EncodedPassage]], /
        ) -> Iterator[list[PairScore]]:
            for passages in slices:
                yield [PairScore(float(p.packed or 0), False) for p in passages]

    query = EncodedQuery(("q",), np.empty((0, 0), np.float32), 1)
    passages = [EncodedPassage("a", b"1"), EncodedPassage("b")]
    with CachedReranker(Packed(), tmp_path / "l.db", variant="") as kept:
        (scores,) = kept.score(query, [passages])
        assert [score.logit for score in scores] == [1.0, 0.0]
        assert (kept.reads, kept.concurrent) == ("token ids", True)
