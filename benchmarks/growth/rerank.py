"""Time of a rerank against its depth and the length of its passages."""

import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

from benchmarks.growth.curves import Curve, in_turn
from benchmarks.growth.texts import every_sentence, of_length
from benchmarks.speed.preparation import ENCODER, RERANKER, counter
from benchmarks.speed.processes import BenchError
from service.engine.build import build_encoder, build_reranker, index_identity
from service.models.opening import Shared
from service.models.registry import REGISTRY
from service.models.sources import prepare
from service.protocols import Encoder, Reranker
from service.search.query import encode_queries
from service.settings import Settings
from service.store.data_folder import DataFolder
from service.text.normalizer import clean
from service.types import Document, EncodedPassage, EncodedQuery
from service.write.ingestor import Ingestor
from service.write.passage_states import open_states

DEPTHS = (10, 20, 40, 60, 80, 100)
LENGTHS = (32, 64, 128, 256, 384, 512)
INTERACTION_LENGTHS = (32, 64, 128, 240)
"""It reads no more of a passage than the encoder's window."""

INTERACTION = "interaction-v1"
PASSAGE_TOKENS = 150
QUERY_WORDS = 12


@dataclass(frozen=True, slots=True)
class Served:
    """A reranker as a search calls it: slice by slice, its query read by the encoder before."""

    name: str
    reranker: Reranker
    encoder: Encoder
    stored: Callable[[Sequence[str]], list[EncodedPassage]]

    def works(
        self, lists: Sequence[Sequence[str]], queries: Sequence[str]
    ) -> list[Callable[[], None]]:
        """What scores one of these lists of candidates, each time for the next query."""
        layers = self.reranker.layers(self.encoder.identity)
        encoded = encode_queries(self.encoder, queries, layers)
        return [partial(self._score, iter(encoded), texts) for texts in lists]

    def _score(self, queries: Iterator[EncodedQuery], texts: Sequence[str]) -> None:
        size = self.reranker.slice_size
        slices = (self.stored(texts[at : at + size]) for at in range(0, len(texts), size))
        deque(self.reranker.score(next(queries), slices), maxlen=0)


def depth(rounds: int) -> dict[str, Any]:
    """10 to 100 candidates; expected: as many times the work as candidates."""
    texts = _texts(max(DEPTHS), PASSAGE_TOKENS)
    curves = []
    for name in (RERANKER, INTERACTION):
        with _served(name, texts) as served:
            works = served.works([texts[:number] for number in DEPTHS], _queries(rounds + 1))
            times = in_turn(works, rounds)
        curves.append(Curve(name, "candidates", DEPTHS, tuple(times), 1.0).figures())
    return {"curves": curves, "passage_tokens": PASSAGE_TOKENS}


def length(rounds: int, candidates: int = 20) -> dict[str, Any]:
    """32 to 512 tokens. Expected of the cross-encoder: 1, and some more from attention.

    Of a layer's 12 d^2 + 2 d n multiplications a token (d = 384 wide, n tokens), attention has a
    twelfth at n = 220 and a sixth at 512, so that the exponent stays below 1.2. The interaction
    reranker reads stored states: 1 too, of a smaller time.
    """
    curves = []
    for name, lengths in ((RERANKER, LENGTHS), (INTERACTION, INTERACTION_LENGTHS)):
        lists = [_texts(candidates, tokens) for tokens in lengths]
        with _served(name, [text for texts in lists for text in texts]) as served:
            times = in_turn(served.works(lists, _queries(rounds + 1)), rounds)
        curves.append(Curve(name, "tokens of a passage", lengths, tuple(times), 1.0).figures())
    return {"curves": curves, "candidates": candidates}


@contextmanager
def _served(name: str, texts: Sequence[str]) -> Iterator[Served]:
    """A reranker beside the default encoder; an interaction one reads states from a file."""
    with tempfile.TemporaryDirectory() as parent:
        settings = Settings(
            data_dir=Path(parent) / "data", encoder=ENCODER, reranker=name, hub_offline=True
        )
        shared = Shared()
        encoder = build_encoder(settings, shared)
        reranker = build_reranker(settings, shared)
        if reranker is None:
            raise BenchError(f"there is no reranker {name}")
        if reranker.reads != "states":
            yield Served(name, reranker, encoder, lambda texts: [EncodedPassage(t) for t in texts])
            return
        with _stored(settings, texts, encoder, reranker) as stored:
            yield Served(name, reranker, encoder, stored)


@contextmanager
def _stored(
    settings: Settings, texts: Sequence[str], encoder: Encoder, reranker: Reranker
) -> Iterator[Callable[[Sequence[str]], list[EncodedPassage]]]:
    """States of these texts, ingested as passages; raises `BenchError` where one has none."""
    with DataFolder.open(settings.data_dir) as folder:
        folder.store.set_identity(index_identity(settings, encoder.identity))
        states = open_states(settings, folder.main, reranker, encoder.identity)
        if states is None:
            raise BenchError("there is no place for token states")
        try:
            ingestor = Ingestor(folder.store, encoder, overlap=0, chunked=False, states=states)
            ingestor.ingest(Document(f"d{number}", text) for number, text in enumerate(texts))
            while states.follow():
                pass
            with folder.store.view() as view:
                passages = view.passages(view.allowed({}).tolist())
            if states.file.get(list(passages.values())).keys() != passages.keys():
                raise BenchError("the reranker would not find all states in the file")
            by_text = {passage.text: passage for passage in passages.values()}

            def stored(texts: Sequence[str]) -> list[EncodedPassage]:
                asked = [by_text[text] for text in texts]
                found = states.file.get(asked)
                return [EncodedPassage(passage.text, found[passage.id]) for passage in asked]

            yield stored
        finally:
            states.close()


def _texts(number: int, tokens: int) -> list[str]:
    """As the reranker is given them."""
    folder = prepare(
        RERANKER, REGISTRY[RERANKER].kind, cache_dir=Settings().cache_dir, offline=True
    ).folder
    return [clean(text) for text in of_length(_pool(), number, tokens, counter(folder))]


def _queries(number: int) -> list[str]:
    """Different ones of the same number of words, spread over the pool."""
    fit = [text for text in _pool() if len(text.split()) == QUERY_WORDS]
    return [clean(text) for text in fit[:: len(fit) // number][:number]]


@cache
def _pool() -> list[str]:
    return every_sentence()
