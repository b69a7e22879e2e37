"""What is encoded behind the requests gives way to them."""

import threading
from collections.abc import Hashable, Sequence

import numpy as np
import pytest

from service.scheduling.background import PART_S, QUIET_PART_S, Background
from service.scheduling.shares import Shares
from service.types import Vectors
from tests.fixtures.doubles import DIMENSION, HashEncoder

TEXTS = [f"text {n} " + "tides " * (n % 50) for n in range(400)]


class Timed(HashEncoder):
    """Moves a clock on for each character."""

    def __init__(self, seconds_per_char: float) -> None:
        self.now, self._seconds = 0.0, seconds_per_char
        self.chars: list[int] = []

    def encode_passages(self, texts: Sequence[str], /) -> Vectors:
        self.chars.append(sum(map(len, texts)))
        self.now += self._seconds * self.chars[-1]
        return super().encode_passages(texts)


class Busy(Shares):
    """Clients that are at work, and never behind."""

    def is_alone(self, _account: Hashable) -> bool:
        return False


def encoded(encoder: Timed, rounds: int = 1, kind: type[Shares] = Shares) -> Vectors:
    background = Background(kind(lambda: encoder.now))
    vectors = np.empty((len(TEXTS), DIMENSION), np.float32)

    def encode(places: Sequence[int]) -> None:
        vectors[places] = encoder.encode_passages([TEXTS[place] for place in places])

    for _ in range(rounds):
        background.encode(encode, TEXTS)
    return vectors


def test_each_text_gets_its_own_vector() -> None:
    assert np.array_equal(encoded(Timed(0.0)), HashEncoder().encode_passages(TEXTS))


@pytest.mark.parametrize(("kind", "seconds"), [(Busy, PART_S), (Shares, QUIET_PART_S)])
def test_a_part_takes_about_as_long_on_a_slow_machine_as_on_a_fast_one(
    kind: type[Shares], seconds: float
) -> None:
    for seconds_per_char in (3e-5, 3e-6):
        encoder = Timed(seconds_per_char)
        encoded(encoder, 8, kind)
        assert seconds / 3 < max(encoder.chars[-8:]) * seconds_per_char < 3 * seconds


def test_between_two_parts_a_search_comes_first() -> None:
    encoder = Timed(1e-4)
    shares = Shares(lambda: encoder.now)
    background = Background(shares)
    done = threading.Event()

    def work() -> None:
        background.encode(
            lambda places: encoder.encode_passages([TEXTS[place] for place in places]), TEXTS
        )
        done.set()

    with shares.at_work("search"):
        thread = threading.Thread(target=work)
        thread.start()
        assert not done.wait(0.3)
        begun = len(encoder.chars)
        assert begun < 3
    assert done.wait(20)
    thread.join()
    assert len(encoder.chars) > begun
