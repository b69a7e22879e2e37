"""Does memory grow, and does anything fail, while eight clients use all kinds of endpoints?

Each client sends searches, batches, reranks, embeddings, token counts, writes and deletes in random
order, with texts of 3 to 2,000 words. The memory of the server (RSS) is read every two seconds;
after the warm-up (a fifth of the time) a line through it gives the slope.

    python -m benchmarks.soak [--minutes 30]
"""

import argparse
import json
import os
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.fairness import MODEST, SEED, Client, Load, fill, ready
from benchmarks.speed.processes import Process, free_port
from service.demo import demo_documents
from service.evaluation.provenance import provenance
from service.store.key_file import hash_key

CLIENTS = 8
LENGTHS = (3, 8, 8, 30, 120, 500, 2000)
LOOK_EVERY_S = 2.0
WARM_UP = 0.2
ALLOWED = {200, 201, 429}
KEPT = 500
"""Ids that writes use, so that the collection does not grow."""

MOST_SLOPE = 1.0
"""Percent of the memory an hour."""

Request = tuple[str, str, dict[str, Any]]


def some_words(draw: random.Random, words: list[str], most: int = LENGTHS[-1]) -> str:
    """Words in random order, of one of the lengths."""
    return " ".join(draw.choices(words, k=min(most, draw.choice(LENGTHS))))


def requests_of(words: list[str]) -> list[Callable[[random.Random], Request]]:
    """What a client may send; some kinds several times, as they are more frequent."""

    def query(draw: random.Random) -> str:
        return some_words(draw, words, 120)

    def texts(draw: random.Random, count: int, most: int) -> list[str]:
        return [some_words(draw, words, most) for _ in range(draw.randint(1, count))]

    def search(draw: random.Random) -> Request:
        return "POST", "/search", {"query": query(draw), "top_k": draw.randint(1, 50)}

    def batch(draw: random.Random) -> Request:
        return "POST", "/search/batch", {"queries": [{"query": query(draw)} for _ in range(8)]}

    def rerank(draw: random.Random) -> Request:
        return "POST", "/rerank", {"query": query(draw), "documents": texts(draw, 20, 120)}

    def embed(draw: random.Random) -> Request:
        return "POST", "/v1/embeddings", {"input": texts(draw, 8, 500), "input_type": "passage"}

    def tokenize(draw: random.Random) -> Request:
        return "POST", "/tokenize", {"inputs": texts(draw, 4, 2000)}

    def write(draw: random.Random) -> Request:
        return "PUT", f"/documents/soak-{draw.randrange(KEPT)}", {"text": some_words(draw, words)}

    def delete(draw: random.Random) -> Request:
        ids = [f"soak-{draw.randrange(KEPT)}" for _ in range(3)]
        return "POST", "/documents/delete", {"ids": ids}

    return [search, search, search, batch, rerank, embed, tokenize, write, write, delete]


def soak(port: int, words: list[str], until: float, seed: int) -> Counter[str]:
    """One client; counts its answers by path and status."""
    client, draw = Client(port, MODEST), random.Random(seed)  # noqa: S311
    kinds, seen = requests_of(words), Counter[str]()
    while time.monotonic() < until:
        method, path, body = draw.choice(kinds)(draw)
        status, _ = client.send(method, path, json.dumps(body).encode())
        shown = path if path.count("/") < 2 or method == "POST" else path.rpartition("/")[0]
        seen[f"{method} {shown} {status}"] += 1
    return seen


def rss_mb(pid: int) -> float:
    """Resident memory of a process, in 10^6 bytes."""
    pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def slope(times: np.ndarray[Any, Any], memory: np.ndarray[Any, Any]) -> float:
    """Percent an hour of a straight line, of the memory where it begins."""
    rise, start = np.polyfit(times - times[0], memory, 1)
    return float(100 * rise * 3600 / start)


def main() -> None:
    """Write the figures as JSON to the terminal or to a file."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--reranker", default="interaction-v1")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    load = Load(list(islice(demo_documents(), 200)))
    words = sorted({word for one in load.documents for word in one.text.split()})
    port = free_port()
    memory: list[tuple[float, float]] = []
    with tempfile.TemporaryDirectory() as parent:
        command = [sys.executable, "-m", "service", "serve", "--port", str(port)]
        command += ["--data-dir", f"{parent}/data", "--reranker", arguments.reranker]
        command += ["--log-level", "warning"]
        key = {"SECONDPASS_API_KEY_HASHES": hash_key(MODEST)}
        with Process(command, Path(parent) / "server.log", **key) as server:
            server.wait_until(lambda: ready(port))
            fill(port, load.documents)
            began = time.monotonic()
            until = began + 60 * arguments.minutes
            with ThreadPoolExecutor(CLIENTS) as pool:
                clients = [pool.submit(soak, port, words, until, SEED + n) for n in range(CLIENTS)]
                while time.monotonic() < until:
                    memory.append((time.monotonic() - began, rss_mb(server.pid)))
                    time.sleep(LOOK_EVERY_S)
                answers = sum((client.result() for client in clients), Counter[str]())
    at, seen = np.array(memory).T
    warm = at > WARM_UP * at[-1]
    percent = slope(at[warm], seen[warm])
    failed = {name: n for name, n in answers.items() if int(name.split()[-1]) not in ALLOWED}
    report = {
        **provenance(SEED),
        "command": " ".join(["python -m benchmarks.soak", *sys.argv[1:]]),
        "reranker": arguments.reranker,
        "minutes": arguments.minutes,
        "load_average": [round(one, 1) for one in os.getloadavg()],
        "answers": dict(sorted(answers.items())),
        "memory_mb": [round(float(value), 1) for value in seen[:: max(1, len(seen) // 60)]],
        "slope_percent_per_hour": round(percent, 2),
        "met": {"no error": not failed, "under 1 % an hour": percent < MOST_SLOPE},
    }
    text = json.dumps(report, indent=2) + "\n"
    if arguments.out:
        arguments.out.write_text(text, encoding="utf-8")
    else:
        sys.stdout.write(text)


if __name__ == "__main__":
    main()
