"""Child of the kill tests: writes, indexes, compacts, switches an alias and searches, all at once.

    python -m tests.faults.writing_child FOLDER DIMENSION SEED HNSW_THRESHOLD

It says in JSON lines what it begins and what is done, so that its parent can tell what must be
there after a kill. Each writer has ids of its own; what a document says follows from its state.
"""

import hashlib
import itertools
import json
import os
import random
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from service.index.generation import open_or_build
from service.index.live_index import LiveIndex
from service.store.data_folder import DataFolder
from service.types import Document, IndexIdentity, Vectors
from service.write.indexer import Indexer
from service.write.ingestor import Ingestor

WRITERS, IDS = 2, 40
ALIAS, COLLECTIONS = "news", ("main", "other")

State = tuple[int, int] | None
"""Edition of the text and of the metadata; None for a document that is not there."""


class TextEncoder:
    """A direction for each text, that of its hash; six words fill the window."""

    query_budget = passage_budget = 6
    static = False

    def __init__(self, dimension: int) -> None:
        self.identity = IndexIdentity("hash", "0" * 64, dimension, "", "", 64, 1)

    def encode_queries(self, texts: Sequence[str], /) -> Vectors:
        return np.stack([self._direction(text) for text in texts])

    encode_passages = encode_queries

    def count_tokens(self, texts: Sequence[str], /) -> list[int]:
        return [len(text.split()) for text in texts]

    def _direction(self, text: str) -> Vectors:
        seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
        vector = np.random.default_rng(seed).standard_normal(self.identity.dimension)
        direction: Vectors = (vector / np.linalg.norm(vector)).astype(np.float32)
        return direction


def document_of(id_: str, state: tuple[int, int]) -> Document:
    text, metadata = state
    words = " ".join(f"{id_}.{text}.{i}" for i in range(1 + text % 17))
    return Document(id_, words, metadata={"edition": metadata})


def say(**line: object) -> None:
    # One write of few bytes: lines of several threads never mix.
    os.write(1, (json.dumps(line) + "\n").encode())


class Writer:
    """Writes at random to ids of its own; `numbers` gives each of its steps a number."""

    def __init__(
        self, name: str, seed: str, data: DataFolder, ingestor: Ingestor, numbers: Callable[[], int]
    ) -> None:
        self._ids = [f"{name}-{i}" for i in range(IDS)]
        self._draw = random.Random(seed)
        self._data, self._ingestor, self._number = data, ingestor, numbers
        self._states: dict[str, State] = {}

    def step(self) -> None:
        draw, store, number = self._draw, self._data.store, self._number()
        ids = draw.sample(self._ids, draw.randint(1, 5))
        how = draw.choices(["stage", "metadata", "ingest", "delete"], [5, 1, 2, 2])[0]
        new: dict[str, State] = dict.fromkeys(ids)
        if how == "metadata":
            new = {id_: (s[0], number) for id_ in ids if (s := self._states.get(id_))}
        elif how != "delete":
            new = dict.fromkeys(ids, (number, number))
        say(begin=number, how=how, states=new)
        documents = [document_of(id_, state) for id_, state in new.items() if state]
        if how == "delete":
            store.delete(ids)
        elif how == "ingest":
            self._ingestor.ingest(documents)
        else:
            store.stage(documents)
        say(done=number)
        self._states |= new


def switch(data: DataFolder, draw: random.Random) -> None:
    name = draw.choice(COLLECTIONS)
    say(alias=name, done=False)
    data.catalog.set_alias(ALIAS, name)
    say(alias=name, done=True)
    time.sleep(0.01)


def search(index: LiveIndex, data: DataFolder, query: Vectors) -> None:
    with index.view(data.store) as (store, view):
        assert len(view) == store.counts.passages
        (found,) = view.search(query, 20)
        assert len(store.passages([candidate.passage_id for candidate in found])) == len(found)


def forever(step: Callable[[], object]) -> None:
    try:
        while True:
            step()
    except BaseException as error:
        say(error=repr(error))
        raise


def main(path: Path, dimension: int, seed: int, hnsw_threshold: int) -> None:
    began, cpu_began = time.perf_counter(), time.process_time()
    encoder = TextEncoder(dimension)
    data = DataFolder.open(path)
    generation = open_or_build(
        data.store, data.generations, encoder.identity, hnsw_threshold=hnsw_threshold
    )
    with data.store.view() as view:
        index = LiveIndex(generation, view)
    query = encoder.encode_queries(["anything"])
    search(index, data, query)
    ready, cpu = time.perf_counter() - began, time.process_time() - cpu_began
    say(ready=ready, cpu=cpu, damaged=generation.damaged)

    if "other" not in data.catalog.collections:
        data.catalog.add("other", {})
    ingestor = Ingestor(data.store, encoder, overlap=0)
    indexer = Indexer(data.main, index, ingestor, encoder.identity, hnsw_threshold=hnsw_threshold)
    counter = itertools.count(seed * 1_000_000)
    aliases = random.Random(seed)
    steps: Mapping[str, Callable[[], object]] = {
        **{
            f"writer {w}": Writer(
                f"w{w}", f"{seed}-{w}", data, ingestor, lambda: next(counter)
            ).step
            for w in range(WRITERS)
        },
        "indexer": lambda: ingestor.index_staged() or time.sleep(0.001),
        "compactor": indexer.compact,
        "switch": lambda: switch(data, aliases),
        "search": lambda: search(index, data, query),
    }
    threads = [
        threading.Thread(target=forever, args=(step,), name=name) for name, step in steps.items()
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
