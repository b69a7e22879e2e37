"""A rerank of 100 brought-along texts of 100 tokens, beside infinity's `/rerank`.

infinity runs the cross-encoder `minilm-l6-v0` with its torch engine. Beside it are this service
with the same weights and with its default reranker. All are asked by turns, one request at a time:

- `new`: texts that were never sent before, so nothing of them can be cached
- `same texts`: the texts of the request before, with another query
- `same request`: once more

    python -m benchmarks.rerank_against_infinity [--rounds 15] [--work .bench]
"""

import argparse
import json
import os
import random
import statistics
import sys
import tempfile
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from benchmarks.speed.environments import environment, same_torch, versions_in
from benchmarks.speed.http import Connection
from benchmarks.speed.processes import BenchError, Process, free_port
from benchmarks.speed.systems import infinity
from service.demo import demo_documents
from service.evaluation.provenance import provenance
from service.models.sources import prepare
from service.settings import Settings

SEED = 13
TEXTS, TOKENS = 100, 100
MODEL = "minilm-l6-v0"
KINDS = ("new", "same texts", "same request")

Requests = dict[str, dict[str, Any]]


def requests_of(words: Sequence[str], draw: random.Random) -> Requests:
    """The bodies of one round, by kind. A word of the demo corpus is about 1.3 tokens."""
    texts = [" ".join(draw.choices(words, k=round(TOKENS / 1.3))) for _ in range(TEXTS)]
    first, other = (" ".join(draw.choices(words, k=8)) for _ in range(2))
    same = {"query": other, "documents": texts}
    return {
        kind: {"model": "model", **body}
        for kind, body in zip(
            KINDS, ({"query": first, "documents": texts}, same, same), strict=True
        )
    }


class Served:
    """A running system and the milliseconds of its answers by kind."""

    def __init__(self, process: Process, port: int, path: str) -> None:
        self._process, self._port, self._path = process, port, path
        self.times: dict[str, list[float]] = {kind: [] for kind in KINDS}
        self.tokens = 0

    def answers(self) -> bool:
        """Is it ready?"""
        try:
            self.ask({"query": "ready", "documents": ["ready"], "model": "model"})
        except (OSError, BenchError):
            return False
        return True

    def wait(self) -> None:
        """Until it is ready."""
        self._process.wait_until(self.answers)

    def ask(self, body: dict[str, Any]) -> float:
        """Milliseconds of one request."""
        connection = Connection(self._port)
        try:
            answer, milliseconds = connection.post(self._path, body)
        finally:
            connection.close()
        self.tokens = answer.get("usage", {}).get("prompt_tokens", 0)
        return milliseconds

    def figures(self) -> dict[str, Any]:
        """Median and range of each kind."""
        return {
            kind: {
                "p50_ms": round(statistics.median(times), 1),
                "min_ms": round(min(times), 1),
                "max_ms": round(max(times), 1),
            }
            for kind, times in self.times.items()
        }


def ours(reranker: str, folder: Path) -> tuple[Process, int]:
    """This service on an empty data folder."""
    port = free_port()
    command = [sys.executable, "-m", "service", "serve", "--port", str(port)]
    command += ["--data-dir", str(folder / reranker), "--reranker", reranker]
    command += ["--rerank-backend", "auto", "--timeout-ms", "600000", "--log-level", "warning"]
    return Process(command, folder / f"{reranker}.log"), port


def main() -> None:
    """Write the figures as JSON to the terminal or to a file."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15, help="beside one that warms up")
    parser.add_argument("--work", type=Path, default=Path(".bench"), help="has infinity's packages")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    python = environment(arguments.work.resolve(), "infinity", same_torch())
    model = prepare(MODEL, "cross-encoder", cache_dir=Settings().cache_dir, offline=True).folder
    words = sorted({w for one in islice(demo_documents(), 300) for w in one.text.split()})
    draw = random.Random(SEED)  # noqa: S311
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent)
        other = infinity(python, model, folder, words)
        started = {
            f"infinity, {MODEL}": (Process(other.command, other.log), other.port or 0),
            f"secondpass, {MODEL}": ours(MODEL, folder),
            "secondpass, interaction-v1": ours("interaction-v1", folder),
        }
        systems = {name: Served(*found, "/rerank") for name, found in started.items()}
        try:
            for system in systems.values():
                system.wait()
            for number in range(arguments.rounds + 1):
                bodies = requests_of(words, draw)
                for kind in KINDS:
                    for system in draw.sample(list(systems.values()), len(systems)):
                        milliseconds = system.ask(bodies[kind])
                        if number:
                            system.times[kind].append(milliseconds)
        finally:
            for process, _ in started.values():
                process.stop()
    report = {
        **provenance(SEED),
        "command": " ".join(["python -m benchmarks.rerank_against_infinity", *sys.argv[1:]]),
        "texts": TEXTS,
        "tokens_of_query_and_texts": {name: one.tokens for name, one in systems.items()},
        "infinity": versions_in(python),
        "rounds": arguments.rounds,
        "processors": os.cpu_count(),
        "load_average": [round(one, 1) for one in os.getloadavg()],
        "milliseconds": {name: one.figures() for name, one in systems.items()},
    }
    text = json.dumps(report, indent=2) + "\n"
    if arguments.out:
        arguments.out.write_text(text, encoding="utf-8")
    else:
        sys.stdout.write(text)


if __name__ == "__main__":
    main()
