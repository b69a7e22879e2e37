from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest

from service.errors import InferenceError, StoreError
from service.evaluation.logits import CachedReranker, cached
from service.index.state_store import StateStore
from service.pipeline.passage_states import RememberingReranker
from service.settings import Settings
from service.types import PairScore, PassageMemory

PAIRS = [("thủy triều là gì", "Mặt Trăng"), ("thủy triều là gì", "Trái Đất"), ("お茶", "緑茶")]


class Lengths:
    """Scores by the passage's length; fails at the pairs that it is told to fail at."""

    model = "lengths"

    def __init__(self, weights: str = "a" * 64, fails_at: str = "") -> None:
        self.weights_sha256, self.fails_at = weights, fails_at
        self.scored: list[tuple[str, str]] = []

    def score(self, pairs: Sequence[tuple[str, str]], /) -> list[PairScore]:
        if any(passage == self.fails_at for _query, passage in pairs):
            raise InferenceError("interrupted")
        self.scored += pairs
        return [PairScore(len(passage) / 3, len(passage) > 8) for _query, passage in pairs]


def test_a_pair_is_scored_once_even_by_the_next_process(tmp_path: Path) -> None:
    reranker = Lengths()
    expected = reranker.score(PAIRS)
    reranker.scored.clear()
    with CachedReranker(reranker, tmp_path / "l.db", variant="512") as cached:
        assert cached.score(PAIRS) == expected
        assert cached.score(PAIRS[::-1]) == expected[::-1]
        assert (cached.model, cached.weights_sha256) == ("lengths", "a" * 64)
    later = Lengths()
    with CachedReranker(later, tmp_path / "l.db", variant="512") as cached:
        assert cached.score(PAIRS) == expected
        assert cached.reused == 3
    assert (reranker.scored, later.scored) == (PAIRS, [])


def test_a_pair_that_comes_twice_in_one_call_is_scored_once(tmp_path: Path) -> None:
    reranker = Lengths()
    with CachedReranker(reranker, tmp_path / "l.db", variant="512") as cached:
        first, second, third = cached.score([PAIRS[0], PAIRS[2], PAIRS[0]])
    assert (first, reranker.scored) == (third, [PAIRS[0], PAIRS[2]])
    assert first != second


def test_an_interrupted_run_goes_on_where_it_stopped(tmp_path: Path) -> None:
    failing = Lengths(fails_at="緑茶")
    with CachedReranker(failing, tmp_path / "l.db", variant="512") as cached:
        cached.score(PAIRS[:2])
        with pytest.raises(InferenceError):
            cached.score(PAIRS)
    sound = Lengths()
    with CachedReranker(sound, tmp_path / "l.db", variant="512") as cached:
        assert len(cached.score(PAIRS)) == 3
    assert sound.scored == PAIRS[2:]


@pytest.mark.parametrize(("weights", "variant"), [("b" * 64, "512"), ("a" * 64, "256")])
def test_other_weights_and_another_window_have_logits_of_their_own(
    tmp_path: Path, weights: str, variant: str
) -> None:
    with CachedReranker(Lengths(), tmp_path / "l.db", variant="512") as cached:
        cached.score(PAIRS)
    other = Lengths(weights)
    with CachedReranker(other, tmp_path / "l.db", variant=variant) as cached:
        cached.score(PAIRS)
    assert other.scored == PAIRS


def test_where_the_query_ends_is_part_of_the_key(tmp_path: Path) -> None:
    reranker = Lengths()
    with CachedReranker(reranker, tmp_path / "l.db", variant="512") as cached:
        assert cached.score([("ab", "c")]) != cached.score([("a", "bc")])


def test_more_pairs_than_one_statement_takes(tmp_path: Path) -> None:
    pairs = [("q", "x" * (i % 50) + str(i)) for i in range(1234)]
    with CachedReranker(Lengths(), tmp_path / "l.db", variant="512") as cached:
        assert cached.score(pairs) == cached.score(pairs)
        assert cached.reused == 1234


def test_a_file_that_is_no_database_is_told(tmp_path: Path) -> None:
    (tmp_path / "l.db").write_text("hardly a database, and longer than a header " * 40)
    with pytest.raises(StoreError, match=r"l\.db"):
        CachedReranker(Lengths(), tmp_path / "l.db", variant="512")


class Packing(Lengths):
    """A cross-encoder as far as its backend and what it can keep go."""

    def __init__(self, backend: str) -> None:
        super().__init__()
        self.backend = backend

    def score(
        self, pairs: Sequence[tuple[str, str]], /, memory: PassageMemory | None = None
    ) -> list[PairScore]:
        assert memory is not None
        return super().score(pairs)

    def pack_texts(self, texts: Sequence[str]) -> list[bytes]:
        return [text.encode() for text in texts]


def test_behind_a_memory_backends_have_logits_of_their_own_too(tmp_path: Path) -> None:
    with closing(StateStore(tmp_path / "states.db", "a")) as states:
        for backend in ("torch", "torch-bf16"):
            reranker = Packing(backend)
            remembering = RememberingReranker(reranker, states.get)
            with cached(remembering, Settings(cache_dir=tmp_path)) as kept:
                kept.score(PAIRS)
            assert reranker.scored == PAIRS
