"""Tests for service.scheduling.gate."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from service.errors import InvalidInputError
from service.scheduling import gate
from service.scheduling.gate import paced


async def stream(*chunks: bytes, every_s: float = 0.0) -> AsyncIterator[bytes]:
    for chunk in chunks:
        await asyncio.sleep(every_s)
        yield chunk


def taken(chunks: AsyncIterator[bytes], reading_s: float = 0.0) -> list[bytes]:
    async def take() -> list[bytes]:
        pieces = []
        async for piece in paced(chunks):
            await asyncio.sleep(reading_s)
            pieces.append(piece)
        return pieces

    return asyncio.run(take())


def test_an_upload_comes_whole_and_in_large_pieces() -> None:
    chunks = [bytes([n % 251]) * 70_000 for n in range(40)]
    pieces = taken(stream(*chunks))
    assert b"".join(pieces) == b"".join(chunks)
    assert all(len(piece) >= gate.PIECE for piece in pieces[:-1])


def test_nothing_is_no_piece() -> None:
    assert taken(stream()) == taken(stream(b"")) == []


def test_a_trickle_is_given_up_although_it_never_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "WINDOW_S", 0.1)
    with pytest.raises(InvalidInputError, match="fewer than 60,000 bytes came") as refused:
        taken(stream(*[b"x"] * 1000, every_s=0.01))
    assert refused.value.field == "body"


def test_a_steady_upload_may_take_many_times_that_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "WINDOW_S", 0.1)
    assert len(b"".join(taken(stream(*[b"x" * 60_000] * 12, every_s=0.02)))) == 720_000


def test_a_slow_disk_is_not_the_callers_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "WINDOW_S", 0.1)
    chunks = [b"x" * (1 << 20), b"y"]
    assert b"".join(taken(stream(*chunks), reading_s=0.3)) == b"".join(chunks)
