"""Texts, an encoder for them, and queries: what the benchmarks of the index store and ask."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from service.datasets import open_collection
from service.engine.build import build_encoder
from service.protocols import Encoder
from service.settings import Settings
from service.types import IndexIdentity, Vectors

SEED = 7
DIMENSION, TOPICS = 384, 300
PASSAGE_CHARS = 600


class TopicEncoder:
    """Vectors around topics: the text names its topic and a number that says where beside it."""

    identity = IndexIdentity("topics", "0" * 64, DIMENSION, "", "", 64, 1)
    query_budget = passage_budget = 60

    def __init__(self) -> None:
        draw = np.random.default_rng(SEED)
        self._centres = draw.standard_normal((TOPICS, DIMENSION), dtype=np.float32)

    def encode_queries(self, texts: Sequence[str], /) -> Vectors:
        return np.stack([self._vector(*map(int, text.split()[-2:])) for text in texts])

    encode_passages = encode_queries

    def count_tokens(self, texts: Sequence[str], /) -> list[int]:
        return [len(text.split()) for text in texts]

    def _vector(self, topic: int, number: int) -> Vectors:
        noise = np.random.default_rng(number).standard_normal(DIMENSION, dtype=np.float32)
        vector = self._centres[topic] + 0.8 * noise
        unit: Vectors = vector / np.linalg.norm(vector)
        return unit


@dataclass(frozen=True)
class Material:
    """An encoder, and what is stored and asked."""

    encoder: Encoder
    texts: list[str]
    queries: Vectors


def made_up() -> Material:
    """A hundred thousand texts around topics."""
    draw = random.Random(SEED)  # noqa: S311
    encoder = TopicEncoder()
    texts = [f"topic {draw.randrange(TOPICS)} {draw.randrange(10**9)}" for _ in range(102_000)]
    return Material(encoder, texts[2000:], encoder.encode_queries(texts[:2000]))


def of_collections(folders: Sequence[Path]) -> Material:
    """Pieces of the collections' documents, and their queries."""
    encoder = build_encoder(Settings(encoder="sse-512", hub_offline=True, device="cpu"))
    texts: dict[str, None] = {}
    queries: list[str] = []
    for folder in folders:
        collection = open_collection(folder)
        for document in collection.documents:
            for start in range(0, len(document.text), PASSAGE_CHARS):
                piece = document.text[start : start + PASSAGE_CHARS]
                if any(map(str.isalnum, piece)):
                    texts[f"{document.title} {piece}"] = None
        queries += list(collection.queries.values())[:400]
    shuffled = random.Random(SEED).sample(list(texts), len(texts))  # noqa: S311
    return Material(encoder, shuffled, encoder.encode_queries(queries))
