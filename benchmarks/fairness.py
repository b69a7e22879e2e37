"""What a modest client waits, alone and beside a greedy one, over HTTP with the real models.

The server is started here, with a key for each of the two. The modest client sends one request at a
time, with a pause between; the greedy one sends batches, many searches in parallel, many writes, or
bulk uploads, and does not wait when it is refused. Before each of these the modest client is
measured alone, so that both figures are of the same minutes.

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
from service.api.auth import hash_key
from service.demo import demo_documents
from service.evaluation.provenance import provenance
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

    def lines(self, draw: random.Random, count: int) -> list[dict[str, str]]:
        """Documents whose text no other has: each has to be encoded."""
        return [
            {
                "id": f"new-{draw.random()}",
                "text": f"{draw.random()} {draw.choice(self.documents).text}",
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
def greedy(
    port: int, connections: int, path: str, body: Body, kind: str, most: int
) -> Iterator[Counter[int]]:
    """As many connections as that, each sending without a pause, `most` requests in all at most."""
    statuses: Counter[int] = Counter()
    stop = threading.Event()

    def send(seed: int) -> None:
        client, draw = Client(port, GREEDY), random.Random(seed)  # noqa: S311
        while not stop.is_set() and statuses.total() < most:
            status, _ = client.send("POST", path, body(draw), kind)
            statuses[status] += 1
            if status == http.HTTPStatus.TOO_MANY_REQUESTS:
                stop.wait(PAUSE_S)

    threads = [threading.Thread(target=send, args=(SEED + n,)) for n in range(connections)]
    for thread in threads:
        thread.start()
    try:
        stop.wait(2)
        yield statuses
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def modest(port: int, load: Load, searches: int, writes: int) -> dict[str, Any]:
    """Searches and writes of the modest client: their percentiles, and how many were refused."""
    client, draw = Client(port, MODEST), random.Random(SEED)  # noqa: S311
    figures: dict[str, Any] = {}
    for name, count in (("search", searches), ("write", writes)):
        times, refused = [], 0
        for number in range(count):
            if name == "search":
                status, ms = client.send("POST", "/search", load.search(draw))
            else:
                body = json.dumps({"text": f"a short note {draw.random()}"}).encode()
                status, ms = client.send("PUT", f"/documents/modest-{number}", body)
            times.append(ms)
            refused += status >= http.HTTPStatus.BAD_REQUEST
            time.sleep(PAUSE_S)
        cuts = statistics.quantiles(times, n=20, method="inclusive")
        figures[name] = {
            "p50_ms": round(cuts[9], 1),
            "p95_ms": round(cuts[18], 1),
            "requests": count,
            "refused": refused,
        }
    return figures


def measure(port: int, load: Load, arguments: argparse.Namespace) -> dict[str, Any]:
    """The modest client alone and beside each kind of greed."""
    kinds: dict[str, tuple[int, str, Body, str]] = {
        "batches": (4, "/search/batch", load.batch, JSON),
        "parallel searches": (32, "/search", load.search, JSON),
        "large writes": (4, "/documents", load.write, JSON),
        "bulk uploads": (2, "/documents/bulk", load.upload, NDJSON),
    }
    # Writes come last: what they bring is encoded for a while after them.
    most = {"large writes": arguments.writes, "bulk uploads": arguments.writes}
    figures: dict[str, Any] = {}
    for name, how in kinds.items():
        _settle(port)
        alone = modest(port, load, arguments.searches, arguments.writes)
        with greedy(port, *how, most.get(name, 10**6)) as statuses:
            beside = modest(port, load, arguments.searches, arguments.writes)
        figures[name] = {
            "alone": alone,
            "beside": beside,
            "p95_ratio": {
                what: round(beside[what]["p95_ms"] / alone[what]["p95_ms"], 2) for what in alone
            },
            "greedy_answers": {str(status): count for status, count in sorted(statuses.items())},
        }
        sys.stderr.write(f"{name}: p95 beside / alone {figures[name]['p95_ratio']}\n")
    return figures


def _settle(port: int, seconds: float = 300.0) -> None:
    """Wait until nothing waits to be encoded, so that the next figures are alone again."""
    until = time.monotonic() + seconds
    while time.monotonic() < until and (_staged(port) or _unfinished(port)):
        time.sleep(0.5)


def _get(port: int, path: str) -> Any:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", path, headers={"Authorization": f"Bearer {MODEST}"})
    return json.loads(connection.getresponse().read())


def _staged(port: int) -> int:
    return int(_get(port, "/collections/main")["staged"] or 0)


def _unfinished(port: int) -> bool:
    return any(job["state"] in {"queued", "running"} for job in _get(port, "/jobs")["jobs"])


def _fill(port: int, documents: Sequence[Document]) -> None:
    client = Client(port, MODEST)
    for start in range(0, len(documents), LOT):
        rows = [
            {"id": d.id, "title": d.title, "text": d.text} for d in documents[start : start + LOT]
        ]
        status, _ = client.send("POST", "/documents", json.dumps({"documents": rows}).encode())
        if status != http.HTTPStatus.OK:
            raise RuntimeError(f"the documents cannot be stored: {status}")
    _settle(port, 1800.0)


def _ready(port: int) -> bool:
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
            server.wait_until(lambda: _ready(port))
            _fill(port, load.documents)
            modest(port, load, 20, 2)  # warm
            figures = measure(port, load, arguments)
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
    parser.add_argument("--documents", type=int, help="there at first; 1,500, or 200 with --quick")
    parser.add_argument("--searches", type=int, help="of the modest client; 300, or 20")
    parser.add_argument("--writes", type=int, help="of the modest client; 60, or 5")
    parser.add_argument("--out", type=Path, help="the file; results/fairness.json without --quick")
    parser.add_argument("--folder", type=Path, help="where the data folder is made")
    arguments = parser.parse_args()
    quick = arguments.quick
    arguments.documents = arguments.documents or (200 if quick else 1500)
    arguments.searches = arguments.searches or (20 if quick else 300)
    arguments.writes = arguments.writes or (5 if quick else 60)
    arguments.out = arguments.out or (None if quick else OUT)
    return arguments


if __name__ == "__main__":
    main()
