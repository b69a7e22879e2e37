"""One greedy client beside a modest one: what is done before a modest search has its answer.

Counted in pieces of a model's work, so that the machine's load decides nothing.
"""

import asyncio
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from statistics import median

import pytest

from service.confidence.judge import Judge, Thresholds
from service.protocols import Reranker
from service.scheduling.gate import Limits
from service.scheduling.shares import GREEDY_PARTS, on_behalf_of
from service.search.query import Query, Result
from service.search.searcher import Searcher
from service.search.second_stage import SecondStage
from service.store.data_folder import DataFolder
from service.types import Document, EncodedPassage, EncodedQuery, PairScore, Vectors
from service.write.ingestor import Ingestor
from tests.fixtures.doubles import HashEncoder
from tests.fixtures.live import retriever_of, search_many

SLICES = 4
"""Pieces of a rerank; a search has one more, in the encoder."""


class Worked:
    """Who had each piece of work, in the order in which they were done."""

    def __init__(self) -> None:
        self.pieces: list[str] = []
        self.reranks = threading.Event()
        self.slices: list[tuple[str, int]] = []
        """Of the rerank: who had it, and how many candidates it had."""

    def piece(self, query: str) -> str:
        who = query.split(maxsplit=1)[0]
        self.pieces.append(who)
        time.sleep(0.004)
        return who


class Encoder(HashEncoder):
    def __init__(self, worked: Worked) -> None:
        self._worked = worked

    def encode_queries(self, texts: Sequence[str], /) -> Vectors:
        self._worked.piece(texts[0])
        return super().encode_queries(texts)


class Counted(Reranker):
    model, weights_sha256 = "counted", "f" * 64

    def __init__(self, worked: Worked) -> None:
        self._worked = worked

    def score(
        self, query: EncodedQuery, slices: Iterable[Sequence[EncodedPassage]], /
    ) -> Iterator[list[PairScore]]:
        for passages in slices:
            who = self._worked.piece(query.windows[0])
            self._worked.slices.append((who, len(passages)))
            self._worked.reranks.set()
            yield [PairScore(0.0, False) for _ in passages]


@pytest.fixture
def worked() -> Worked:
    return Worked()


@pytest.fixture
def searching(tmp_path: Path, worked: Worked) -> Iterator[Searcher]:
    with DataFolder.open(tmp_path) as folder:
        folder.store.set_identity(HashEncoder.identity)
        rows = [Document(f"d{n}", f"greedy modest {n}") for n in range(10 * SLICES)]
        Ingestor(folder.store, HashEncoder(), overlap=0).ingest(rows)
        judge = Judge(HashEncoder.identity, "f" * 64, None, Thresholds(), weight_override=1.0)
        stage = SecondStage(Counted(worked), judge, 32)
        limits = Limits(2000, 256, 60_000)
        searching = Searcher(Encoder(worked), retriever_of(folder), stage, limits)
        yield searching
        searching.close()


async def modest(searching: Searcher, worked: Worked, count: int) -> list[int]:
    """Of each search one after another, how many pieces of others were done before its end."""
    others = []
    for n in range(count):
        began = len(worked.pieces)
        with on_behalf_of("modest"):
            result = await searching.search(Query(f"modest {n}", num_candidates=10 * SLICES))
        assert result.rerank.status == "complete"
        others.append(worked.pieces[began:].count("greedy"))
        assert worked.pieces[began:].count("modest") == SLICES + 1
        await asyncio.sleep(0.002)
    return others


async def batches(searching: Searcher) -> list[Result | Exception]:
    queries = [Query(f"greedy {n}", num_candidates=10 * SLICES) for n in range(24)]
    with on_behalf_of("greedy"):
        together = [asyncio.create_task(search_many(searching, queries)) for _ in range(4)]
    return [answer for batch in await asyncio.gather(*together) for answer in batch]


async def parallel(searching: Searcher) -> list[Result | Exception]:
    with on_behalf_of("greedy"):
        searches = [
            asyncio.create_task(searching.search(Query(f"greedy {n}", num_candidates=10 * SLICES)))
            for n in range(60)
        ]
    return await asyncio.gather(*searches)


@pytest.mark.parametrize("greedy", [batches, parallel])
def test_a_greedy_client_at_most_doubles_what_a_modest_search_waits_for(
    searching: Searcher, worked: Worked, greedy
) -> None:
    async def run() -> tuple[list[int], list[Result | Exception]]:
        much = asyncio.create_task(greedy(searching))
        await asyncio.sleep(0.1)
        others = await modest(searching, worked, 20)
        assert not much.done(), "the greedy one is at work all the time"
        return others, await much

    others, answers = asyncio.run(run())
    assert sorted(others)[18] <= SLICES + 1, "p95 of the pieces of others, beside its own"
    assert all(isinstance(answer, Result) for answer in answers)
    assert {answer.rerank.status for answer in answers if isinstance(answer, Result)} == {
        "complete"
    }, "and the greedy one gets its answers"


def test_a_greedy_client_works_in_small_pieces_where_another_may_come_back(
    searching: Searcher, worked: Worked
) -> None:
    """A piece under way is what the next search waits for."""

    async def run() -> tuple[int, int]:
        much = asyncio.create_task(batches(searching))
        await asyncio.to_thread(worked.reranks.wait)
        began = len(worked.slices)
        await modest(searching, worked, 20)
        ended = len(worked.slices)
        await much
        return began, ended

    began, ended = asyncio.run(run())
    assert {size for _, size in worked.slices[:began]} == {Counted.slice_size}, "alone: whole ones"
    beside = worked.slices[began:ended]
    # Most of them: time decides who is ahead, and a loaded machine stretches anyone's.
    for client, most in (
        ("modest", Counted.slice_size),
        ("greedy", Counted.slice_size // GREEDY_PARTS),
    ):
        assert median(size for who, size in beside if who == client) == most
