"""How much of a long piece of work is done in one go."""

from typing import Self

GREEDY_PARTS = 4
"""Number of goes in which a client that is ahead of others does a part."""


class PartSize:
    """Follows how fast the machine is, so that a part takes about `seconds`.

    A GPU does many times what a processor does in that time, a static model too. What comes
    meanwhile waits for the part under way and no longer.
    """

    def __init__(self, start: int, *, least: int, most: int, seconds: float) -> None:
        self.now = start
        self._least, self._most, self._seconds = least, most, seconds

    @classmethod
    def fixed(cls, size: int) -> Self:
        """The same on every machine."""
        return cls(size, least=size, most=size, seconds=1.0)

    def part(self, *, greedy: bool) -> int:
        """How much to do in one go, by a client that `Shares.is_greedy` or not."""
        return max(1, self.now // GREEDY_PARTS) if greedy else self.now

    def took(self, amount: int, seconds: float) -> None:
        """Note that a part of `amount` took `seconds`."""
        if seconds > 2 * self._seconds:
            self.now = max(self._least, self.now // 2)
        elif seconds < self._seconds / 2 and amount > self.now // 2:
            self.now = min(self._most, 2 * self.now)
