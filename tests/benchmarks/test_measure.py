"""Turns and load, with small programs in place of the systems."""

import itertools
import sys
from pathlib import Path

import pytest

from benchmarks.speed import measure
from benchmarks.speed.measure import in_turn, under_load
from benchmarks.speed.processes import free_port
from benchmarks.speed.systems import Question, System

LINES = """
import json, sys, time
for number, line in enumerate(sys.stdin):
    if number == {most}:
        sys.exit("worn out")
    time.sleep({seconds})
    hits = [{{"id": json.loads(line)["query"]}}]
    print(json.dumps({{"hits": hits, "timings_ms": {{"rerank": 1.0, "total": 2.0}}}}), flush=True)
"""

SERVER = """
import json, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        answer = {"hits": [{"id": asked["query"]}], "timings_ms": {"rerank": 0.1}}
        body = json.dumps(answer).encode()
        self.send_response(429 if asked["query"] == "too much" else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_):
        pass
ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def question(name: str) -> Question:
    return Question(name, name, [("p1", "a passage")])


def program(folder: Path, name: str, *, seconds: float = 0.0, most: int = 1000) -> System:
    command = [sys.executable, "-c", LINES.format(seconds=seconds, most=most)]
    return System(name, "in process", command, folder / f"{name}.log")


def test_all_have_a_turn_in_each_round_and_a_fast_one_has_more_questions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measure, "TURN_SECONDS", 0.1)
    systems = [
        program(tmp_path, "fast"),
        program(tmp_path, "slow", seconds=0.2),
        program(tmp_path, "weak", most=2),
    ]
    failures: list[tuple[str, str]] = []
    for system in systems:
        system.start(question("start"))
    try:
        timed = in_turn(
            systems,
            [question(f"q{n}") for n in range(10)],
            2,
            lambda _: None,
            lambda system, reason: failures.append((system.pipeline, reason)),
            most=5,
        )
    finally:
        for system in systems:
            system.stop()
    asked = {
        (name, number): [t.question for t in timed if t.system == name and t.round == number]
        for name in ("fast, in process", "slow, in process")
        for number in (0, 1)
    }
    assert asked == {
        ("fast, in process", 0): [f"q{n}" for n in range(5)],
        ("fast, in process", 1): [f"q{n}" for n in range(5, 10)],
        ("slow, in process", 0): ["q0"],
        ("slow, in process", 1): ["q5"],
    }
    assert next(t.system.partition(",")[0] for t in timed if t.round == 1) == "slow", "it shifts"
    assert failures == [("weak", "ended: worn out")], "told once, and left out from then on"


def test_each_client_asks_at_least_once(tmp_path: Path) -> None:
    port = free_port()
    command = [sys.executable, "-c", SERVER, str(port)]
    system = System("small", "HTTP", command, tmp_path / "small.log", port)
    system.start(question("start"))
    try:
        names = itertools.cycle(question(f"q{n}") for n in range(7))
        load = under_load(system, 4, names, 0.0)
        assert sorted(t.question for t in load.answered) == ["q0", "q1", "q2", "q3"]
        assert all(t.answered.ids == (t.question,) for t in load.answered)
        assert load.per_second == pytest.approx(4 / load.seconds)
        with pytest.raises(measure.NO_ANSWER, match="429"):
            under_load(system, 2, itertools.cycle([question("too much")]), 0.0)
    finally:
        system.stop()
