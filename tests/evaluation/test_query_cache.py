"""Queries are encoded once, together, and come back as they were."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from service.confidence.judge import Judge, Thresholds
from service.errors import UnprocessableTextError
from service.evaluation.query_cache import BLOCK, QueryCache, encoded_queries
from service.scheduling.gate import Limits
from service.search.searcher import Searcher
from service.search.second_stage import SecondStage
from service.store.data_folder import DataFolder
from service.types import EncodedQuery, TokenStates, Vectors
from tests.fixtures.doubles import HashEncoder
from tests.fixtures.live import retriever_of


class Counting(HashEncoder):
    """Notes how many texts come together; `shift` stands for another backend's rounding."""

    def __init__(self, shift: float = 0.0) -> None:
        super().__init__()
        self.shift, self.calls = shift, list[int]()

    def encode_queries(self, texts: Sequence[str], /) -> Vectors:
        self.calls.append(len(texts))
        return super().encode_queries(texts) + np.float32(self.shift)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[DataFolder]:
    with DataFolder.open(tmp_path / "data") as opened:
        opened.store.set_identity(HashEncoder.identity)
        yield opened


def searcher(folder: DataFolder, encoder: Counting) -> Searcher:
    stage = SecondStage(None, Judge(encoder.identity, None, None, Thresholds()), 8)
    return Searcher(encoder, retriever_of(folder), stage, Limits(2000, 8, 30_000))


def test_a_query_is_encoded_once_also_by_the_next_process(
    folder: DataFolder, tmp_path: Path
) -> None:
    first, texts = Counting(), ["why is the sea salt", "为什么", "long " * 400]
    with QueryCache(searcher(folder, first), tmp_path) as cache:
        made = cache.encode([*texts, texts[0]])
    later = Counting()
    with QueryCache(searcher(folder, later), tmp_path) as cache:
        kept = cache.encode(texts)
    assert later.calls == [1]  # the probe alone
    for before, after in zip(made, kept, strict=False):
        assert after.windows == before.windows
        assert after.tokens == before.tokens
        assert np.array_equal(after.vectors, before.vectors)
    assert len(kept[2].windows) > 1


def test_what_gives_other_vectors_has_queries_of_its_own(
    folder: DataFolder, tmp_path: Path
) -> None:
    with QueryCache(searcher(folder, Counting()), tmp_path) as cache:
        (before,) = cache.encode(["tides"])
    with QueryCache(searcher(folder, Counting(shift=1e-3)), tmp_path) as cache:
        (after,) = cache.encode(["tides"])
    assert not np.array_equal(before.vectors, after.vectors)


def test_token_states_come_back_as_they_were(
    folder: DataFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    over = searcher(folder, Counting())
    ids = np.array([1, 7, 2], np.int32)
    states = np.random.default_rng(1).random((2, 3, 8), np.float32)
    seen = tuple(TokenStates(ids, of, of[0], bool(n)) for n, of in enumerate(states))
    query = EncodedQuery(("a", "b"), np.eye(2, dtype=np.float32), 300, seen)
    monkeypatch.setattr(over, "encode", lambda _texts: [query])
    with QueryCache(over, tmp_path) as cache:
        cache.encode(["a b"])
        (kept,) = cache.encode(["a b"])
    assert [s.truncated for s in kept.states] == [False, True]
    for before, after in zip(seen, kept.states, strict=True):
        assert np.array_equal(after.ids, before.ids)
        assert np.array_equal(after.states, before.states)
        assert np.array_equal(after.pooled, before.pooled)


def test_queries_are_encoded_in_blocks(folder: DataFolder) -> None:
    encoder = Counting()
    over = searcher(folder, encoder)
    found = list(encoded_queries(over, [f"query: no {n}" for n in range(BLOCK + 1)], over.encode))
    assert encoder.calls == [BLOCK, 1]
    assert [text for text, _ in found[:2]] == ["no 0", "no 1"]
    with pytest.raises(UnprocessableTextError):
        list(encoded_queries(over, [" "], over.encode))
