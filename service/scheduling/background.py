"""Work in the background gives way to requests."""

from collections.abc import Callable, Sequence

from service.scheduling.shares import SHARES, PartSize, Shares

PART_S = 0.04
"""About how long a part of the work takes, for which a search that comes meanwhile shares the CPU
with it."""

_LEAST_CHARS, _MOST_CHARS = 1 << 9, 1 << 22

ACCOUNT = "background work"
"""The account of all of it, as if it were one client."""


class Background:
    """Encodes in parts, each when its turn has come among the clients. For one thread."""

    def __init__(self, shares: Shares = SHARES) -> None:
        self._shares = shares
        self._chars = PartSize(
            4 * _LEAST_CHARS, least=_LEAST_CHARS, most=_MOST_CHARS, seconds=PART_S
        )

    def encode(self, encode: Callable[[Sequence[int]], None], texts: Sequence[str]) -> None:
        """Call `encode` with the places of all `texts`, part by part."""
        # Texts of similar length come together, as in an encoder's own batches.
        places = sorted(range(len(texts)), key=lambda place: (-len(texts[place]), place))
        while places:
            part = self._part(places, texts)
            places = places[len(part) :]
            with self._shares.turn(ACCOUNT):
                began = self._shares.clock()
                encode(part)
                chars = sum(len(texts[place]) for place in part)
                self._chars.took(chars, self._shares.clock() - began)

    def _part(self, places: Sequence[int], texts: Sequence[str]) -> list[int]:
        part: list[int] = []
        left = self._chars.part(greedy=self._shares.is_greedy(ACCOUNT))
        for place in places:
            if part and len(texts[place]) > left:
                break
            part.append(place)
            left -= len(texts[place])
        return part
