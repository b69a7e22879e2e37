"""Scores of pairs that were asked for lately."""

from collections import OrderedDict
from hashlib import blake2b

from service.types import PairScore


class ScoreCache:
    """At most `size` scores, the least recently used ones dropped; 0 keeps none.

    It belongs to one loaded reranker: one set of weights, one backend, one window. Not for several
    threads at once.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._scores: OrderedDict[bytes, PairScore] = OrderedDict()

    def __len__(self) -> int:
        return len(self._scores)

    def get(self, pair: tuple[str, str]) -> PairScore | None:
        """The pair's score where it is kept."""
        if not self._scores:
            return None
        key = _key(pair)
        score = self._scores.get(key)
        if score is not None:
            self._scores.move_to_end(key)
        return score

    def put(self, pair: tuple[str, str], score: PairScore) -> None:
        """Keep a score."""
        if not self._size:
            return
        self._scores[_key(pair)] = score
        while len(self._scores) > self._size:
            self._scores.popitem(last=False)


def _key(pair: tuple[str, str]) -> bytes:
    query, passage = pair
    # The query's length parts it from the passage, whatever either holds.
    text = f"{len(query)}\0{query}{passage}".encode(errors="surrogatepass")
    return blake2b(text, digest_size=16).digest()
