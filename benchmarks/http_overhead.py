"""What HTTP, validation and bookkeeping add to a search: the answer's time less the search's own.

One client with one connection asks a running server, so each pair is of one and the same search:
what the client waited from the first byte sent to the last byte read, less `timings_ms.total`.

    secondpass serve &
    python -m benchmarks.http_overhead --queries queries.jsonl --searches 300
"""

import argparse
import http.client
import json
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np

WARM_UP = 20


def main() -> None:
    """Ask, and write the percentiles in milliseconds."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--queries", type=Path, required=True, help="JSONL with `text`")
    parser.add_argument("--searches", type=int, default=300)
    parser.add_argument("--top-k", type=int, default=10)
    arguments = parser.parse_args()
    lines = arguments.queries.read_text(encoding="utf-8").splitlines()
    queries = [json.loads(line)["text"] for line in lines if line.strip()]
    address = urlsplit(arguments.url)
    connection = http.client.HTTPConnection(address.hostname or "127.0.0.1", address.port or 80)
    rows = [
        _ask(connection, queries[i % len(queries)], arguments.top_k)
        for i in range(WARM_UP + arguments.searches)
    ][WARM_UP:]
    whole, added = np.array(rows).T
    for name, times in (("whole answer", whole), ("added to the search", added)):
        p50, p95, p99 = np.percentile(times, [50, 95, 99])
        sys.stdout.write(f"{name:<20} p50 {p50:8.2f}  p95 {p95:8.2f}  p99 {p99:8.2f} ms\n")


def _ask(connection: http.client.HTTPConnection, query: str, top_k: int) -> tuple[float, float]:
    body = json.dumps({"query": query, "top_k": top_k, "num_candidates": 100})
    began = time.perf_counter()
    connection.request("POST", "/search", body, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    content = answer.read()
    whole = (time.perf_counter() - began) * 1000
    if answer.status != http.HTTPStatus.OK:
        raise RuntimeError(f"{answer.status}: {content[:200]!r}")
    return whole, whole - json.loads(content)["timings_ms"]["total"]


if __name__ == "__main__":
    main()
