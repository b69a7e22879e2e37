"""Turns of a run, with small programs in place of the systems."""

import itertools
import sys
from pathlib import Path

import pytest

from benchmarks.speed import rounds
from benchmarks.speed.corpus import Corpus
from benchmarks.speed.preparation import Prepared
from benchmarks.speed.processes import free_port
from benchmarks.speed.rounds import NO_ANSWER, Plan, Run, at_once
from benchmarks.speed.systems import SERVED, Kind, System, _Posts

LINES = """
import json, sys
for number, line in enumerate(sys.stdin):
    if number == {most}:
        sys.exit("worn out")
    print(json.dumps({{"milliseconds": {each} * len(json.loads(line)["texts"])}}), flush=True)
"""

SERVER = """
import json, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        answer = {"hits": [{"id": asked["query"]}], "timings_ms": {"total": 0.1}}
        body = json.dumps(answer).encode()
        self.send_response(429 if asked["query"] == "too much" else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_):
        pass
ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def encoder(
    folder: Path, name: str, turns: tuple[Kind, ...], *, each: float = 10.0, most: int = 1000
) -> System:
    command = [sys.executable, "-c", LINES.format(each=each, most=most)]
    return System(name, "encodes", command, folder / f"{name}.log", turns)


def server(folder: Path) -> System:
    port = free_port()
    command = [sys.executable, "-c", SERVER, str(port)]
    return System("server", "searches", command, folder / "server.log", SERVED, port, _Posts)


def prepared(folder: Path, systems: list[System]) -> Prepared:
    passages = {f"p{n}": f"passage {n}" for n in range(10)}
    queries = {f"q{n}": f"query {n}" for n in range(30)}
    corpus = Corpus("made", folder, passages, queries, {q: {"p1": 1} for q in queries})
    load = [f"more {n}" for n in range(20)]
    return Prepared(corpus, lambda texts: [3] * len(texts), load, systems)


def test_each_system_takes_its_turns_in_every_round(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rounds, "TURN_SECONDS", 0.2)
    systems = [
        server(tmp_path),
        encoder(tmp_path, "encoder", ("1 client", "queries", "passages")),
        encoder(tmp_path, "weak", ("queries",), most=2),
    ]
    there = prepared(tmp_path, systems)
    plan = Plan(judged=5, rounds=2, load_seconds=0.1, encoded=4)
    measured = Run(plan, there, lambda _: None).measure()
    taken = {(t.system, t.kind, t.round) for t in measured.turns}
    assert taken == {
        *(("server", kind, n) for kind in SERVED for n in (0, 1)),
        *(("encoder", kind, n) for kind in systems[1].turns for n in (0, 1)),
        ("weak", "queries", 0),
    }
    rates = {t.kind: t.per_second for t in measured.turns if t.system == "encoder"}
    assert (rates["queries"], rates["passages"]) == pytest.approx((100.0, 100.0))
    assert measured.found == {"server": {f"q{n}": [f"query {n}"] for n in range(5)}}
    assert there.not_measured == {"weak": "ended: worn out"}, "left out from then on"
    assert all(system.process is None for system in systems)


def test_one_client_asks_the_same_queries_of_all_and_others_in_each_round(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rounds, "TURN_SECONDS", 60.0)
    system = server(tmp_path)
    there = prepared(tmp_path, [system])
    turns = Run(Plan(judged=5, rounds=2, load_seconds=0.0), there, lambda _: None).measure().turns
    asked = [[a.ids[0] for a in t.answers] for t in turns if t.kind == "1 client"]
    every = [f"query {5 + n % 25}" for n in range(40)]
    assert asked == [every[:20], every[20:]]


def test_each_client_asks_at_least_once(tmp_path: Path) -> None:
    system = server(tmp_path)
    system.start()
    try:
        queries = itertools.cycle(f"q{n}" for n in range(7))
        seconds, answers = at_once(system, 4, queries, 0.0)
        assert sorted(answer.ids[0] for answer in answers) == ["q0", "q1", "q2", "q3"]
        assert seconds > 0
        with pytest.raises(NO_ANSWER, match="429"):
            at_once(system, 2, itertools.cycle(["too much"]), 0.0)
    finally:
        system.stop()
