"""Two keys at four times the server's capacity: one asks for almost all of it, one for little.

The server's capacity is measured first: searches a second with as many clients as processors. Then
the modest client searches alone. Then the greedy one sends four times the capacity, on a clock, not
waiting for answers, while the modest one goes on at its pace; when the greedy one stops, the modest
one shows how soon the server is as before. Only 200 and 429 may be answered.

    python -m benchmarks.overload [--minutes 5]
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
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

from benchmarks.fairness import GREEDY, MODEST, PAUSE_S, SEED, Client, Load, fill, ready
from benchmarks.speed.processes import Process, free_port
from service.demo import demo_documents
from service.evaluation.provenance import provenance
from service.store.key_file import hash_key

TIMES = 4
CONNECTIONS = 96
"""Of the greedy client, so that it keeps to its clock while answers take long."""

ALLOWED = {http.client.OK, http.client.TOO_MANY_REQUESTS}
NORMAL_WITHIN_S = 5.0
CALIBRATION_S = 10.0


def capacity(port: int, load: Load, seconds: float) -> float:
    """Searches a second with one client on each processor."""
    end = time.perf_counter() + seconds

    def ask(seed: int) -> int:
        client, draw, done = Client(port, GREEDY), random.Random(seed), 0  # noqa: S311
        while time.perf_counter() < end:
            status, _ = client.send("POST", "/search", load.search(draw))
            done += status == http.client.OK
        return done

    clients = os.cpu_count() or 1
    with ThreadPoolExecutor(clients) as pool:
        return sum(pool.map(ask, range(clients))) / seconds


class Modest:
    """One search at a time with a pause between: when each began, how long it took, its status."""

    def __init__(self, port: int, load: Load) -> None:
        self._client, self._load = Client(port, MODEST), load
        self._draw = random.Random(SEED)  # noqa: S311
        self.seen: list[tuple[float, float, int]] = []

    def search(self, until: float) -> list[tuple[float, float, int]]:
        """Search until then; gives these searches."""
        first = len(self.seen)
        while (began := time.perf_counter()) < until:
            status, ms = self._client.send("POST", "/search", self._load.search(self._draw))
            self.seen.append((began, ms, status))
            time.sleep(PAUSE_S)
        return self.seen[first:]


def flood(port: int, load: Load, rate: float, until: float, statuses: Counter[int]) -> None:
    """Send `rate` searches a second, each by the clock; late ones are sent at once."""
    lock, numbers = threading.Lock(), iter(range(1 << 40))
    began = time.perf_counter()

    def send(seed: int) -> None:
        client, draw, own = Client(port, GREEDY), random.Random(seed), Counter[int]()  # noqa: S311
        while True:
            with lock:
                due = began + next(numbers) / rate
            if due >= until:
                break
            time.sleep(max(0.0, due - time.perf_counter()))
            if time.perf_counter() >= until:
                break
            try:
                own[client.send("POST", "/search", load.search(draw))[0]] += 1
            except (OSError, http.client.HTTPException):
                own[0] += 1
                client = Client(port, GREEDY)
        with lock:
            statuses.update(own)

    with ThreadPoolExecutor(CONNECTIONS) as pool:
        list(pool.map(send, range(CONNECTIONS)))


def p95(searches: Sequence[tuple[float, float, int]]) -> float:
    """Of their milliseconds."""
    return statistics.quantiles([ms for _, ms, _ in searches], n=20, method="inclusive")[18]


def measure(port: int, load: Load, minutes: float, quiet_s: float) -> dict[str, Any]:
    """All figures, and whether each bar is met."""
    modest = Modest(port, load)
    modest.search(time.perf_counter() + 2)  # warm
    can = capacity(port, load, min(CALIBRATION_S, quiet_s))
    quiet = modest.search(time.perf_counter() + quiet_s)
    statuses: Counter[int] = Counter()
    end = time.perf_counter() + 60 * minutes
    greedy = threading.Thread(target=flood, args=(port, load, TIMES * can, end, statuses))
    greedy.start()
    beside = modest.search(end)
    greedy.join()
    ended = time.perf_counter()
    after = modest.search(ended + 4 * NORMAL_WITHIN_S)
    usual = 2 * p95(quiet)
    slow = [began - ended + ms / 1000 for began, ms, _ in after if ms > usual]
    # One search in twenty is slower than the 95th percentile at any time.
    normal_after = slow[-1] if len(slow) > len(after) / 20 else 0.0
    answers = statuses + Counter(status for _, _, status in modest.seen)
    ratio = p95(beside) / p95(quiet)
    return {
        "capacity_per_second": round(can, 1),
        "offered_per_second": round(TIMES * can, 1),
        "greedy_answers": {str(status): count for status, count in sorted(statuses.items())},
        "modest": {
            "quiet_p95_ms": round(p95(quiet), 1),
            "beside_p95_ms": round(p95(beside), 1),
            "p95_ratio": round(ratio, 2),
            "requests": len(beside),
            "refused": sum(status != http.client.OK for _, _, status in beside),
        },
        "normal_after_s": round(normal_after, 1),
        "met": {
            "only 200 and 429": set(answers) <= ALLOWED,
            "p95 at most twice": ratio <= 2,
            "normal within 5 s": normal_after <= NORMAL_WITHIN_S,
        },
    }


def main() -> None:
    """Write the figures as JSON to the terminal or to a file."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--quiet-seconds", type=float, default=60)
    parser.add_argument("--documents", type=int, default=200)
    parser.add_argument("--reranker", default="interaction-v1")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    load = Load(list(islice(demo_documents(), arguments.documents)))
    port = free_port()
    keys = ",".join(hash_key(key) for key in (MODEST, GREEDY))
    with tempfile.TemporaryDirectory() as parent:
        command = [sys.executable, "-m", "service", "serve", "--port", str(port)]
        command += ["--data-dir", f"{parent}/data", "--reranker", arguments.reranker]
        command += ["--log-level", "warning"]
        log = Path(parent) / "server.log"
        with Process(command, log, SECONDPASS_API_KEY_HASHES=keys) as server:
            server.wait_until(lambda: ready(port))
            fill(port, load.documents)
            figures = measure(port, load, arguments.minutes, arguments.quiet_seconds)
    report = {
        **provenance(SEED),
        "command": " ".join(["python -m benchmarks.overload", *sys.argv[1:]]),
        "reranker": arguments.reranker,
        "minutes": arguments.minutes,
        "processors": os.cpu_count(),
        "load_average": [round(one, 1) for one in os.getloadavg()],
        **figures,
    }
    text = json.dumps(report, indent=2) + "\n"
    if arguments.out:
        arguments.out.write_text(text, encoding="utf-8")
    else:
        sys.stdout.write(text)


if __name__ == "__main__":
    main()
