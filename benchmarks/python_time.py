"""Python time a search: how long the interpreter's lock is held for each, and by what.

While clients search, py-spy looks at all threads of the server many times a second: first at those
that run, then at those that hold the lock. The figure is the processor time of a search, over all
threads, times the share of lock holders among the running ones. A busy machine stretches both
counts alike, so it does not depend on what else runs; a plain count of lock holders would.

    secondpass serve & python -m benchmarks.python_time --pid $! --queries queries.jsonl
"""

import argparse
import http.client
import json
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from threading import Event
from urllib.parse import urlsplit

RATE = 250
"""Looks a second."""


def main() -> None:
    """Search while py-spy looks, and write the figures as JSON."""
    arguments = _arguments()
    lines = arguments.queries.read_text(encoding="utf-8").splitlines()
    queries = [json.loads(line)["text"] for line in lines if line.strip()]
    load = _Load(arguments.url, queries, arguments.clients)
    with load:
        time.sleep(arguments.warm_up)
        before, done = _cpu_ms(arguments.pid), load.done
        running = _samples(arguments.pid, arguments.seconds)
        cpu_ms = (_cpu_ms(arguments.pid) - before) / (load.done - done)
        holding = _samples(arguments.pid, arguments.seconds, "--gil")
        if arguments.svg:
            _record(arguments.pid, arguments.seconds, arguments.svg, "flamegraph", "--gil")
    report = {
        "clients": arguments.clients,
        "searches": load.done,
        "processor_ms": round(cpu_ms, 2),
        "share_with_lock": round(holding / running, 3),
        "python_ms": round(cpu_ms * holding / running, 2),
    }
    sys.stdout.write(json.dumps(report) + "\n")


class _Load:
    """Clients that search one query after another."""

    def __init__(self, url: str, queries: list[str], clients: int) -> None:
        self._address, self._queries, self._clients = urlsplit(url), queries, clients
        self._next, self._over = count(), Event()
        self.done = 0

    def __enter__(self) -> None:
        self._threads = ThreadPoolExecutor(self._clients)
        self._asked = [self._threads.submit(self._search) for _ in range(self._clients)]

    def __exit__(self, *_error: object) -> None:
        self._over.set()
        for asked in self._asked:
            asked.result()

    def _search(self) -> None:
        address = self._address
        connection = http.client.HTTPConnection(address.hostname or "127.0.0.1", address.port)
        while not self._over.is_set():
            query = self._queries[next(self._next) % len(self._queries)]
            head = {"Content-Type": "application/json"}
            connection.request("POST", "/search", json.dumps({"query": query}), head)
            answer = connection.getresponse()
            if answer.read() and answer.status != http.HTTPStatus.OK:
                raise RuntimeError(f"the server answered {answer.status}")
            self.done += 1


def _samples(pid: int, seconds: int, *options: str) -> int:
    with tempfile.NamedTemporaryFile() as file:
        _record(pid, seconds, Path(file.name), "raw", *options)
        text = Path(file.name).read_text(encoding="utf-8")
    return sum(int(line.rpartition(" ")[2]) for line in text.splitlines())


def _record(pid: int, seconds: int, path: Path, form: str, *options: str) -> None:
    command = ["py-spy", "record", *options, "-p", str(pid), "-r", str(RATE), "-d", str(seconds)]
    command += ["--nonblocking", "-f", form, "-o", str(path)]
    subprocess.run(command, check=True, capture_output=True)  # noqa: S603


def _cpu_ms(pid: int) -> float:
    """Processor time of all threads, those that have ended left out."""
    tasks = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(task.read_text().split()[0]) for task in tasks) / 1e6


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--pid", type=int, required=True, help="of the server")
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--queries", type=Path, required=True, help="JSONL with `text`")
    parser.add_argument("--clients", type=int, default=1)
    parser.add_argument("--seconds", type=int, default=15, help="of each look")
    parser.add_argument("--warm-up", type=float, default=5.0)
    parser.add_argument("--svg", type=Path, help="for a flame graph of the lock holders")
    return parser.parse_args()


if __name__ == "__main__":
    main()
