"""What the clients make of proxies, restarts, requests that cannot be sent, and disks."""

import asyncio
import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from secondpass_client import (
    AsyncSearchClient,
    ConnectionFailedError,
    InvalidRequestError,
    Job,
    NotReadyError,
    SearchClient,
    SearchError,
    archives,
)

BARE = httpx.Response(503, text="upstream connect error")
OWN = httpx.Response(503, json={"error": {"code": "not_ready", "message": "loading"}})
WRITTEN = httpx.Response(201, json={"id": "a", "version": 1, "indexed": False})

Handler = Callable[[httpx.Request], httpx.Response]


@pytest.fixture
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    async def sleep(_seconds: float) -> None: ...

    monkeypatch.setattr(time, "sleep", lambda _seconds: None)
    monkeypatch.setattr(asyncio, "sleep", sleep)


class Script:
    """Answers in turn, the last one for ever."""

    def __init__(self, *answers: httpx.Response | Exception) -> None:
        self.answers, self.calls = answers, 0

    def __call__(self, _request: httpx.Request) -> httpx.Response:
        answer = self.answers[min(self.calls, len(self.answers) - 1)]
        self.calls += 1
        if isinstance(answer, Exception):
            raise answer
        return httpx.Response(answer.status_code, content=answer.content)


def blocking(handler: Handler, method: str, *given: Any, **named: Any) -> Any:
    with SearchClient("http://search", transport=httpx.MockTransport(handler)) as client:
        return getattr(client, method)(*given, **named)


def without_blocking(handler: Handler, method: str, *given: Any, **named: Any) -> Any:
    async def run() -> Any:
        transport = httpx.MockTransport(handler)
        async with AsyncSearchClient("http://search", transport=transport) as client:
            return await getattr(client, method)(*given, **named)

    return asyncio.run(run())


each = pytest.mark.parametrize("ask", [blocking, without_blocking])


@each
def test_a_conditional_write_is_repeated_only_where_the_service_itself_turned_it_away(
    ask: Callable[..., Any], no_pause: None
) -> None:
    document = {"id": "a", "text": "x"}
    own = Script(OWN, WRITTEN)
    assert ask(own, "put_document", document, only_new=True).created
    assert own.calls == 2
    bare = Script(BARE, WRITTEN)
    with pytest.raises(NotReadyError) as caught:
        ask(bare, "put_document", document, only_new=True)
    assert (bare.calls, caught.value.from_service) == (1, False)
    assert ask(Script(BARE, WRITTEN), "put_document", document).created  # does no harm twice


def events(**job: Any) -> httpx.Response:
    known = {"job_id": "j", "collection": "main", "done": 0, "refused": 0, "total": 9}
    return httpx.Response(200, text=f"data: {json.dumps({**known, **job})}\n\n")


@each
def test_waiting_outlasts_a_restart(ask: Callable[..., Any], no_pause: None) -> None:
    refused = httpx.ConnectError("connection refused")
    away = [refused] * 9 + [OWN, BARE, httpx.Response(502), httpx.ReadTimeout("silence")]
    script = Script(events(state="running"), *away, events(state="done", done=9))
    seen: list[Job] = []
    job = ask(script, "wait", "j", seen.append)
    assert (job.state, job.done, script.calls) == ("done", 9, len(away) + 2)
    assert [job.state for job in seen] == ["running", "done"]


@each
def test_waiting_ends_when_patience_does(ask: Callable[..., Any]) -> None:
    began = time.monotonic()
    with pytest.raises(ConnectionFailedError):
        ask(Script(httpx.ConnectError("refused")), "wait", "j", patience=0.3)
    assert 0.2 < time.monotonic() - began < 10


@each
@pytest.mark.parametrize(
    ("method", "given"),
    [
        ("search", ["half of a pair: \ud800"]),
        ("get_document", ["x" * 70_000]),
        ("bulk", [[{"id": "a", "text": "\ud800"}]]),
    ],
)
def test_what_cannot_be_sent_is_an_error_of_the_client(
    ask: Callable[..., Any], method: str, given: list[Any]
) -> None:
    script = Script(WRITTEN)
    with pytest.raises(InvalidRequestError, match="cannot be sent") as caught:
        ask(script, method, *given)
    assert isinstance(caught.value, SearchError)
    assert script.calls == 0


def test_an_archive_is_written_in_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[str] = []
    fsync = archives.os.fsync

    def told(number: int) -> None:
        threads.append(threading.current_thread().name)
        fsync(number)

    monkeypatch.setattr(archives.os, "fsync", told)
    archive = httpx.Response(200, content=b"whole" + archives.TAR.start)
    without_blocking(Script(archive), "snapshot", tmp_path / "a.tar")
    assert (tmp_path / "a.tar").read_bytes() == archive.content
    assert threads
    assert threading.current_thread().name not in threads
