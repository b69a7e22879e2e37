"""The server while its application is still to be imported, and what its port costs to open."""

import json
import subprocess
import sys
import threading
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from service.api.connections import Phase
from service.api.gateway import Gateway
from service.settings import Settings
from tests.fixtures.listening import listening, until

HEAVY = ["torch", "transformers", "sentence_transformers", "faiss", "sklearn", "service.api.app"]


def test_the_port_is_opened_before_any_heavy_package_is_imported() -> None:
    asked = "import json, sys, service.api.server; print(json.dumps(list(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    assert not set(HEAVY) & set(json.loads(done.stdout))


def test_until_there_is_an_application_the_server_lives_and_is_not_ready() -> None:
    go, failed = threading.Event(), threading.Event()

    def make() -> FastAPI:
        assert go.wait(20)
        app = FastAPI()
        app.get("/search")(lambda: "found")
        return app

    with (
        listening(Gateway(make, failed.set), Settings(), Phase()) as server,
        httpx.Client(base_url=server.url) as client,
    ):
        assert client.get("/livez").json() == {"status": "ok"}
        for path in ("/readyz", "/healthz"):
            answer = client.get(path)
            assert (answer.status_code, answer.json()["status"]) == (503, "not_ready")
            assert answer.json()["checks"] == {"models": "loading", "index": "loading"}
            assert int(answer.headers["Retry-After"]) >= 1
        page = client.get("/")
        assert (page.status_code, page.headers["Refresh"]) == (503, "2")
        assert "text/html" in page.headers["Content-Type"]
        answer = client.post("/search", json={}, headers={"X-Request-ID": "early"})
        assert answer.status_code == 503
        assert int(answer.headers["Retry-After"]) >= 1
        error = answer.json()["error"]
        assert (error["code"], error["request_id"]) == ("not_ready", "early")
        assert answer.headers["X-Request-ID"] == "early"
        go.set()
        until(lambda: client.get("/search").status_code == 200)
        assert client.get("/search").json() == "found"
        assert not failed.is_set()


def test_the_application_lives_until_the_server_ends() -> None:
    happened = []

    def make() -> FastAPI:
        app = FastAPI()
        app.router.on_startup.append(lambda: happened.append("begin"))
        app.router.on_shutdown.append(lambda: happened.append("end"))
        return app

    with listening(Gateway(make, lambda: None), Settings(), Phase()):
        until(lambda: bool(happened))
        assert happened == ["begin"]
    assert happened == ["begin", "end"]


def test_an_application_that_cannot_be_made_is_logged_and_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    failed = threading.Event()

    def make() -> FastAPI:
        raise ImportError("a package is broken")

    with listening(Gateway(make, failed.set), Settings(), Phase()) as server:
        assert failed.wait(10)
        assert httpx.get(f"{server.url}/livez").status_code == 200
    assert "a package is broken" in caplog.text


def test_the_command_answers_its_probes_while_it_loads(tmp_path: Path) -> None:
    """As a process: with a model that is not there it lives until its loading has failed."""
    command = [sys.executable, "-m", "service", "serve", "--port=0", f"--data-dir={tmp_path}"]
    process = subprocess.Popen(
        [*command, "--hub-offline", "--encoder=no/such-model"], stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    address = next(line for line in process.stderr if "listening on" in line)
    url = address.partition("listening on ")[2].split()[0]
    try:
        answer = httpx.get(f"{url}/readyz")
        assert answer.status_code == 503
        assert answer.json()["checks"]["models"] == "loading"
        assert httpx.get(f"{url}/livez").status_code == 200
        _, log = process.communicate(timeout=90)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 1
    assert "cannot start" in log
