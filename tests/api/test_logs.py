"""The log: one JSON object a line, one line a request, and no content."""

import io
import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

import pytest
from fastapi.testclient import TestClient

from service.api.logs import JsonFormatter, TextFormatter

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE}-00f067aa0ba902b7-01"


class Lines(io.StringIO):
    """What was logged."""

    def read_all(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.getvalue().splitlines()]

    def request(self) -> dict[str, Any]:
        """The last request's line."""
        return [line for line in self.read_all() if "route" in line][-1]


@pytest.fixture
def lines() -> Iterator[Lines]:
    """Everything that the service logs, as JSON."""
    written, logger = Lines(), logging.getLogger("service")
    handler, level = logging.StreamHandler(written), logger.level
    handler.setFormatter(JsonFormatter())
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield written
    logger.removeHandler(handler)
    logger.setLevel(level)


def test_a_search_has_one_line_with_its_stages_and_no_query(
    client: TestClient, lines: Lines
) -> None:
    headers = {"X-Request-ID": "r-1", "traceparent": PARENT}
    answer = client.post("/search", json={"query": "tides"}, headers=headers)
    assert answer.headers["X-Trace-ID"] == TRACE
    mine = [line for line in lines.read_all() if line.get("request_id") == "r-1"]
    assert len(mine) == 1
    line = mine[0]
    assert line["trace_id"] == TRACE
    assert (line["method"], line["route"], line["status"]) == ("POST", "/search", 200)
    assert (line["collection"], line["client"]) == ("main", "testclient")
    assert {"encode", "retrieve", "rerank", "total"} <= set(line["stages_ms"])
    assert 0 < line["stages_ms"]["total"] <= line["ms"]
    assert {"time", "level", "logger", "message"} <= set(line)
    assert "tides" not in lines.getvalue()


def test_the_text_has_what_the_json_has(client: TestClient, lines: Lines) -> None:
    text = io.StringIO()
    handler = logging.StreamHandler(text)
    handler.setFormatter(TextFormatter())
    logger = logging.getLogger("service")
    logger.addHandler(handler)
    try:
        client.post("/search", json={"query": "tides"}, headers={"traceparent": PARENT})
        logger.error("no fields")
    finally:
        logger.removeHandler(handler)
    said = lines.request()
    line, last = text.getvalue().splitlines()[-2:]
    assert f"POST /search 200 {said['ms']} ms {said['request_id']} " in line
    for name in ("client", "collection", "queued_ms", "trace_id"):
        assert f" {name}={said[name]}" in line
    for stage, took in said["stages_ms"].items():
        assert f" {stage}_ms={took}" in line
    assert last.endswith(" ERROR service: no fields")


def test_other_lines_have_the_route_and_not_the_path(client: TestClient, lines: Lines) -> None:
    client.get("/documents/secret-id")
    assert lines.request()["route"] == "/documents/{id:rest}"
    client.get("/made-up")
    line = lines.request()
    assert (line["route"], line["status"]) == ("unmatched", 404)
    assert not {"collection", "stages_ms", "trace_id"} & set(line)
    assert "secret-id" not in lines.getvalue()
    assert "made-up" not in lines.getvalue()


@pytest.mark.parametrize(
    "parent",
    [
        "",
        TRACE,
        f"00-{'0' * 32}-00f067aa0ba902b7-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"ff-{TRACE}-00f067aa0ba902b7-01",
        f"00-{TRACE}-00f067aa0ba902b7-01-more",
        f"00-{TRACE.upper()}-00f067aa0ba902b7-01",
    ],
)
def test_a_broken_traceparent_is_ignored(client: TestClient, lines: Lines, parent: str) -> None:
    answer = client.get("/livez", headers={"traceparent": parent})
    assert answer.status_code == 200
    assert "X-Trace-ID" not in answer.headers
    assert "trace_id" not in lines.request()


def test_a_later_version_of_traceparent_may_say_more(client: TestClient) -> None:
    answer = client.get("/livez", headers={"traceparent": f"01{PARENT[2:]}-more"})
    assert answer.headers["X-Trace-ID"] == TRACE


def test_an_error_and_its_traceback_are_one_line(lines: Lines) -> None:
    try:
        raise ValueError("two\nlines")
    except ValueError:
        logging.getLogger("service.made_up").exception("it %s", "failed")
    (line,) = lines.read_all()
    assert (line["level"], line["logger"], line["message"]) == (
        "error",
        "service.made_up",
        "it failed",
    )
    assert "ValueError: two\nlines" in line["exception"]


def test_the_setting_decides_the_form() -> None:
    code = (
        "import logging\n"
        "from service.api.logs import configure_logging\n"
        "from service.settings import Settings\n"
        "configure_logging(Settings(log_format='{}'))\n"
        "logging.getLogger('a').info('said')\n"
    )
    written = {
        form: subprocess.run(
            [sys.executable, "-c", code.format(form)], capture_output=True, text=True, check=True
        ).stderr
        for form in ("text", "json")
    }
    assert written["text"].endswith(" INFO a: said\n")
    assert json.loads(written["json"])["message"] == "said"


def test_version(client: TestClient) -> None:
    body = client.get("/version").json()
    assert body["version"] == version("secondpass")
    assert body["torch"] == version("torch")
    assert body["python"].startswith(f"{sys.version_info.major}.{sys.version_info.minor}.")
