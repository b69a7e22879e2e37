"""Work in the background gives way to requests."""

from collections.abc import Callable, Sequence

from service.scheduling.shares import SHARES, PartSize, Shares

PART_S = 0.04
QUIET_PART_S = 0.3
"""About how long a part of the work takes while clients are at work, and while there is none. A
search that comes meanwhile shares the CPU with it."""

_LEAST_CHARS, _MOST_CHARS = 1 << 9, 1 << 22

ACCOUNT = "background work"
"""The account of all of it, as if it were one client."""


class Background:
    """Encodes in parts, each when its turn has come among the clients. For one thread."""

    def __init__(self, shares: Shares = SHARES) -> None:
        self._shares = shares
        self._chars, self._quiet_chars = (
            PartSize(4 * _LEAST_CHARS, least=_LEAST_CHARS, most=_MOST_CHARS, seconds=seconds)
            for seconds in (PART_S, QUIET_PART_S)
        )

    def encode(self, encode: Callable[[Sequence[int]], None], texts: Sequence[str]) -> None:
        """Call `encode` with the places of all `texts`, part by part."""
        # Texts of similar length come together, as in an encoder's own batches.
        places = sorted(range(len(texts)), key=lambda place: (-len(texts[place]), place))
        while places:
            with self._shares.turn(ACCOUNT):
                size = self._quiet_chars if self._shares.is_alone(ACCOUNT) else self._chars
                part = self._part(places, texts, size)
                places = places[len(part) :]
                began = self._shares.clock()
                encode(part)
                chars = sum(len(texts[place]) for place in part)
                size.took(chars, self._shares.clock() - began)

    def _part(self, places: Sequence[int], texts: Sequence[str], size: PartSize) -> list[int]:
        part: list[int] = []
        left = size.part(greedy=self._shares.is_greedy(ACCOUNT))
        for place in places:
            if part and len(texts[place]) > left:
                break
            part.append(place)
            left -= len(texts[place])
        return part
