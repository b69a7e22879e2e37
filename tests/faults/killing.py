"""Kills the writing child at any moment, and says whether all that it acknowledged is there."""

import json
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from service.errors import NotFoundError
from service.index.generation import open_or_build
from service.index.live_index import LiveIndex
from service.store.data_folder import DataFolder
from service.store.sqlite_view import SqliteView
from service.write.ingestor import Ingestor
from tests.faults.writing_child import ALIAS, State, TextEncoder, document_of
from tests.fixtures.stores import now


@dataclass
class Killed:
    """What the child had done, and what it was at, when it died."""

    ready_s: float | None = None
    ready_cpu_s: float | None = None
    acknowledged: int = 0
    under_way: dict[int, dict[str, State]] = field(default_factory=dict)
    alias_under_way: str | None = None


class Victim:
    """A data folder, and what must be in it beside the documents that were there at first."""

    def __init__(self, path: Path, dimension: int, hnsw_threshold: int) -> None:
        self.path, self.encoder = path, TextEncoder(dimension)
        self._hnsw_threshold = hnsw_threshold
        self.states: dict[str, State] = {}
        self.alias: str | None = None
        self.starts = 0
        with DataFolder.open(path) as data:
            data.store.set_identity(self.encoder.identity)
            self._first = now(data.store).counts
            with data.store.view() as view:
                self._last_passage = max((int(ids[-1]) for ids, _ in view.vectors(4096)), default=0)

    def run_and_kill(self, seconds: float) -> Killed:
        """Let the child write for so long after its start."""
        self.starts += 1
        numbers = (self.encoder.identity.dimension, self.starts, self._hnsw_threshold)
        program = [sys.executable, "-m", "tests.faults.writing_child"]
        command = [*program, str(self.path), *map(str, numbers)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            lines = [child.stdout.readline()]  # that it is ready
            time.sleep(seconds)
            child.kill()
            lines += child.stdout.readlines()
        assert child.returncode == -9
        killed = Killed()
        for line in lines:
            if line.endswith("\n"):
                self._take(json.loads(line), killed)
        return killed

    def _take(self, line: dict[str, Any], killed: Killed) -> None:
        assert "error" not in line, line
        if "ready" in line:
            assert not line["damaged"]
            killed.ready_s, killed.ready_cpu_s = line["ready"], line["cpu"]
        elif "alias" in line:
            killed.alias_under_way = None if line["done"] else line["alias"]
            self.alias = line["alias"] if line["done"] else self.alias
        elif "begin" in line:
            states = {id_: tuple(s) if s else None for id_, s in line["states"].items()}
            killed.under_way[line["begin"]] = states  # type: ignore[assignment]
        else:
            self.states |= killed.under_way.pop(line["done"])
            killed.acknowledged += 1

    def check(self, killed: Killed) -> None:
        """All that was acknowledged is there, and what was under way as a whole or not at all."""
        with DataFolder.open(self.path) as data:
            self._check_alias(data, killed)
            with data.store.view() as view:
                found = self._found(view)
            for states in killed.under_way.values():
                before = {id_: self.states.get(id_) for id_ in states}
                after = {id_: found.get(id_) for id_ in states}
                assert after in (before, states), "a write was done by halves"
                self.states |= after
            assert found == {id_: state for id_, state in self.states.items() if state}
            self._check_index(data)

    def _check_alias(self, data: DataFolder, killed: Killed) -> None:
        try:
            leads_to = data.catalog.resolve(ALIAS)
        except NotFoundError:
            assert self.alias is None
            return
        assert leads_to in {self.alias, killed.alias_under_way}
        self.alias = leads_to

    def _found(self, view: SqliteView) -> dict[str, State]:
        found: dict[str, State] = {}
        for stored in view.documents({}, "w", 10**6):  # those of the writers
            document = stored.document
            text, edition = document.text, document.metadata["edition"]
            assert isinstance(edition, int)
            state = (int(text.split(".")[1]), edition)
            assert document == document_of(document.id, state)
            found[document.id] = state
        return found

    def _check_index(self, data: DataFolder) -> None:
        """Searches find each document by each of its passages, and nothing that is gone."""
        generation = open_or_build(
            data.store, data.generations, self.encoder.identity, hnsw_threshold=self._hnsw_threshold
        )
        assert not generation.damaged
        assert [path.name for path in data.generations.iterdir()] == [generation.name]
        ingestor = Ingestor(data.store, self.encoder, overlap=0)
        while ingestor.index_staged():
            pass
        with data.store.view() as view:
            live = LiveIndex(generation, view)
        with live.view(data.store) as (view, index):
            wanted = sum(state is not None for state in self.states.values())
            assert index.documents == self._first.documents + wanted
            assert len(index) == view.counts.passages
            by_document: dict[str, int] = {}
            for ids, vectors in view.vectors(1000, after=self._last_passage):
                passages = view.passages(ids.tolist())
                texts = [passages[id_].text for id_ in ids.tolist()]
                assert np.array_equal(vectors, self.encoder.encode_passages(texts))
                nearest = [row[0] for row in index.search(vectors, 1)]
                assert [candidate.passage_id for candidate in nearest] == ids.tolist()
                for passage in passages.values():
                    words = by_document.get(passage.document_id, 0) + len(passage.text.split())
                    by_document[passage.document_id] = words
            assert by_document == {
                id_: 1 + state[0] % 17 for id_, state in self.states.items() if state
            }
