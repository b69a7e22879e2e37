"""What a modest client waits, alone and beside a greedy one, over HTTP with the real models.

The server is started here, with a key for each of the two. The modest client sends one request at a
time, with a pause between; the greedy one sends batches, many searches in parallel, many writes, or
bulk uploads, and does not wait when it is refused. The modest client is measured alone and beside
it by turns, a few requests at a time, so that both figures are of the same minutes.

    python -m benchmarks.fairness [--quick]
"""

import argparse
import http.client
import json
import os
import random
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from benchmarks.speed.processes import Process, free_port
from service.demo import demo_documents
from service.evaluation.provenance import provenance
from service.store.key_file import hash_key
from service.types import Document

SEED = 11
OUT = Path(__file__).parent / "results" / "fairness.json"
JSON, NDJSON = "application/json", "application/x-ndjson"
MODEST, GREEDY = "modest-key", "greedy-key"
BATCH, LOT = 64, 100
PAUSE_S = 0.05
"""Of the modest client between two requests, and of the greedy one after a refusal."""


class Client:
    """One connection with one key."""

    def __init__(self, port: int, key: str) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        self._key = {"Authorization": f"Bearer {key}"}

    def send(self, method: str, path: str, body: bytes, kind: str = JSON) -> tuple[int, float]:
        """The status, and the milliseconds until the answer was read."""
        began = time.perf_counter()
        self._connection.request(method, path, body, {**self._key, "Content-Type": kind})
        answer = self._connection.getresponse()
        answer.read()
        return answer.status, 1000 * (time.perf_counter() - began)


@dataclass
class Load:
    """What there is to ask and to store, from a generator that every run begins with one seed."""

    documents: Sequence[Document]
    lot: int = LOT
    queries: list[str] = field(init=False)

    def __post_init__(self) -> None:
        draw = random.Random(SEED)  # noqa: S311
        words = [document.text.split()[:60] for document in self.documents]
        starts = [draw.randrange(max(1, len(text) - 10)) for text in words]
        self.queries = [
            " ".join(text[start : start + 8]) for text, start in zip(words, starts, strict=True)
        ]

    def search(self, draw: random.Random) -> bytes:
        """A search of the length that users send."""
        return json.dumps({"query": draw.choice(self.queries)}).encode()

    def batch(self, draw: random.Random) -> bytes:
        """Many searches in one request."""
        queries = [{"query": draw.choice(self.queries)} for _ in range(BATCH)]
        return json.dumps({"queries": queries}).encode()

    def lines(self, draw: random.Random, count: int) -> list[dict[str, Any]]:
        """Documents whose text no other has: each has to be encoded."""
        return [
            {
                "id": f"new-{draw.random()}",
                "text": f"{draw.random()} {draw.choice(self.documents).text}",
                "metadata": {"greedy": True},
            }
            for _ in range(count)
        ]

    def write(self, draw: random.Random) -> bytes:
        """A request that stores many documents."""
        return json.dumps({"documents": self.lines(draw, self.lot)}).encode()

    def upload(self, draw: random.Random) -> bytes:
        """A bulk upload."""
        return b"".join(
            json.dumps(line).encode() + b"\n" for line in self.lines(draw, 2 * self.lot)
        )


Body = Callable[[random.Random], bytes]


@contextmanager
def greedy(port: int, connections: int, path: str, body: Body, kind: str) -> Iterator[Counter[int]]:
    """As many connections as that, each sending without a pause; gives the answers' statuses."""
    statuses: Counter[int] = Counter()
    stop = threading.Event()

    def send(seed: int) -> None:
        client, draw = Client(port, GREEDY), random.Random(seed)  # noqa: S311
        while not stop.is_set():
            status, _ = client.send("POST", path, body(draw), kind)
            statuses[status] += 1
            if status == http.HTTPStatus.TOO_MANY_REQUESTS:
                stop.wait(PAUSE_S)

    threads = [threading.Thread(target=send, args=(SEED + n,)) for n in range(connections)]
    for thread in threads:
        thread.start()
    try:
        stop.wait(1)
        yield statuses
    finally:
        stop.set()
        for thread in threads:
            thread.join()


@dataclass
class Seen:
    """What the modest client saw: the milliseconds of each request, and how many were refused."""

    times: dict[str, list[float]] = field(default_factory=lambda: {"search": [], "write": []})
    refused: Counter[str] = field(default_factory=Counter)

    def send(self, port: int, load: Load, count: int, seed: int) -> None:
        """That number of searches, then of writes, one at a time."""
        client, draw = Client(port, MODEST), random.Random(seed)  # noqa: S311
        for name, times in self.times.items():
            for number in range(count):
                if name == "search":
                    status, ms = client.send("POST", "/search", load.search(draw))
                else:
                    body = json.dumps({"text": f"a short note {draw.random()}"}).encode()
                    status, ms = client.send("PUT", f"/documents/modest-{number}", body)
                times.append(ms)
                self.refused[name] += status >= http.HTTPStatus.BAD_REQUEST
                time.sleep(PAUSE_S)

    def figures(self) -> dict[str, Any]:
        """Percentiles of all requests."""
        figures = {}
        for name, times in self.times.items():
            cuts = statistics.quantiles(times, n=20, method="inclusive")
            figures[name] = {
                "p50_ms": round(cuts[9], 1),
                "p95_ms": round(cuts[18], 1),
                "requests": len(times),
                "refused": self.refused[name],
            }
        return figures


def measure(port: int, load: Load, rounds: int, requests: int) -> dict[str, Any]:
    """The modest client alone and beside each kind of greed, by turns."""
    kinds: dict[str, tuple[int, str, Body, str]] = {
        "batches": (4, "/search/batch", load.batch, JSON),
        "parallel searches": (32, "/search", load.search, JSON),
        "large writes": (4, "/documents", load.write, JSON),
        "bulk uploads": (2, "/documents/bulk", load.upload, NDJSON),
    }
    figures: dict[str, Any] = {}
    for name, how in kinds.items():
        alone, beside, answers = Seen(), Seen(), Counter[int]()
        for turn in range(rounds):
            _clear(port)
            alone.send(port, load, requests // rounds, SEED + turn)
            with greedy(port, *how) as statuses:
                beside.send(port, load, requests // rounds, SEED + turn)
            answers += statuses
        found = {"alone": alone.figures(), "beside": beside.figures()}
        figures[name] = {
            **found,
            "p95_ratio": {
                what: round(found["beside"][what]["p95_ms"] / found["alone"][what]["p95_ms"], 2)
                for what in found["alone"]
            },
            "greedy_answers": {str(status): count for status, count in sorted(answers.items())},
        }
        sys.stderr.write(f"{name}: p95 beside / alone {figures[name]['p95_ratio']}\n")
    return figures


def _clear(port: int) -> None:
    """Take back what the greedy client has left to do, so that the next figures are alone again."""
    client = Client(port, MODEST)
    while True:
        for job in _unfinished(port):
            client.send("DELETE", f"/jobs/{job['job_id']}", b"")
        client.send("POST", "/documents/delete", json.dumps({"filters": {"greedy": True}}).encode())
        if not _unfinished(port) and not _staged(port):
            return
        time.sleep(0.2)


def _get(port: int, path: str) -> Any:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", path, headers={"Authorization": f"Bearer {MODEST}"})
    return json.loads(connection.getresponse().read())


def _staged(port: int) -> int:
    return int(_get(port, "/collections/main")["staged"] or 0)


def _unfinished(port: int) -> list[dict[str, Any]]:
    jobs = _get(port, "/jobs?limit=1000")["jobs"]
    return [job for job in jobs if job["state"] in {"queued", "running"}]


def fill(port: int, documents: Sequence[Document]) -> None:
    client = Client(port, MODEST)
    for start in range(0, len(documents), LOT):
        rows = [
            {"id": d.id, "title": d.title, "text": d.text} for d in documents[start : start + LOT]
        ]
        status, _ = client.send("POST", "/documents", json.dumps({"documents": rows}).encode())
        if status != http.HTTPStatus.OK:
            raise RuntimeError(f"the documents cannot be stored: {status}")
    while _staged(port):
        time.sleep(0.5)


def ready(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == http.HTTPStatus.OK
    except OSError:
        return False


def main() -> None:
    """Write the figures as JSON."""
    arguments = _arguments()
    documents = list(islice(demo_documents(), arguments.documents))
    load = Load(documents, lot=LOT // 10 if arguments.quick else LOT)
    port = free_port()
    keys = ",".join(hash_key(key) for key in (MODEST, GREEDY))
    with tempfile.TemporaryDirectory(dir=arguments.folder) as parent:
        command = [sys.executable, "-m", "service", "serve", "--port", str(port)]
        command += ["--data-dir", f"{parent}/data", "--reranker", arguments.reranker]
        log = Path(parent) / "server.log"
        with Process(command, log, SECONDPASS_API_KEY_HASHES=keys) as server:
            server.wait_until(lambda: ready(port))
            fill(port, load.documents)
            Seen().send(port, load, 10, SEED)  # warm
            figures = measure(port, load, arguments.rounds, arguments.requests)
    report = {
        **provenance(SEED),
        "command": " ".join(["python -m benchmarks.fairness", *sys.argv[1:]]),
        "reranker": arguments.reranker,
        "documents": len(load.documents),
        "processors": os.cpu_count(),
        "load_average": [round(one, 1) for one in os.getloadavg()],
        "beside": figures,
    }
    text = json.dumps(report, indent=2) + "\n"
    if arguments.out:
        arguments.out.write_text(text, encoding="utf-8")
    else:
        sys.stdout.write(text)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--quick", action="store_true", help="few requests, written to the terminal"
    )
    parser.add_argument("--reranker", default="interaction-v1")
    parser.add_argument("--documents", type=int, help="there at first; 200, or 50 with --quick")
    parser.add_argument(
        "--requests", type=int, help="searches, and writes, of each figure; 80, or 10 with --quick"
    )
    parser.add_argument("--rounds", type=int, help="in which these are sent; 5, or 1 with --quick")
    parser.add_argument("--out", type=Path, help="the file; results/fairness.json without --quick")
    parser.add_argument("--folder", type=Path, help="where the data folder is made")
    arguments = parser.parse_args()
    quick = arguments.quick
    arguments.documents = arguments.documents or (50 if quick else 200)
    arguments.requests = arguments.requests or (10 if quick else 80)
    arguments.rounds = arguments.rounds or (1 if quick else 5)
    arguments.out = arguments.out or (None if quick else OUT)
    return arguments


if __name__ == "__main__":
    main()
