import pytest

from service.errors import OverloadedError
from service.scheduling.rates import Rates


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def taken(rates: Rates, client: str, times: int, rate: float = 2.0, burst: int = 3) -> list[int]:
    """Of each request: 0 if it was let in, else after how many seconds to come back."""
    found = []
    for _ in range(times):
        try:
            rates.take(client, rate, burst)
            found.append(0)
        except OverloadedError as error:
            found.append(error.retry_after_s)
    return found


def test_a_burst_is_let_in_and_then_the_rate() -> None:
    clock = Clock()
    rates = Rates(clock)
    assert taken(rates, "a", 5) == [0, 0, 0, 1, 1]
    clock.now += 0.4
    assert taken(rates, "a", 1) == [1]
    clock.now += 0.1
    assert taken(rates, "a", 2) == [0, 1]
    clock.now += 1000
    assert taken(rates, "a", 5) == [0, 0, 0, 1, 1]


def test_clients_have_buckets_of_their_own() -> None:
    rates = Rates(Clock())
    assert taken(rates, "a", 4) == [0, 0, 0, 1]
    assert taken(rates, "b", 4) == [0, 0, 0, 1]


def test_later_requests_wait_for_what_a_large_one_took() -> None:
    clock = Clock()
    rates = Rates(clock)
    rates.take("a", 2.0, 3)
    rates.charge("a", 9)  # 7 below nothing
    assert taken(rates, "a", 1) == [4]
    clock.now += 4
    assert taken(rates, "a", 2) == [0, 1]


def test_a_low_rate_says_so_and_a_long_wait_is_bounded() -> None:
    rates = Rates(Clock())
    rates.take("a", 0.01, 1)
    with pytest.raises(OverloadedError, match=r"0\.01 requests a second and 1 at once") as caught:
        rates.take("a", 0.01, 1)
    assert caught.value.retry_after_s == 60
