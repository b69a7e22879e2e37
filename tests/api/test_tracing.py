"""OpenTelemetry's spans of a search, and what is imported without them."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError
from unittest.mock import AsyncMock, Mock

import pytest
from fastapi.testclient import TestClient
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from starlette.types import Receive, Scope, Send

from service.api import server, tracing
from service.api.app import create_app
from service.engine.engine import Engine
from service.errors import InvalidInputError
from service.settings import Settings
from tests.api.test_logs import PARENT, TRACE
from tests.fixtures.serving import Borrowed


@pytest.fixture
def exported(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    """Where the application of `traced` sends its spans."""
    exporter = InMemorySpanExporter()
    provider = tracing.tracer_provider(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(tracing, "tracer_provider", lambda: provider)
    return exporter


@pytest.fixture
def traced(
    engine: Engine, settings: Settings, exported: InMemorySpanExporter
) -> Iterator[TestClient]:
    told = settings.model_copy(update={"traces": True})
    with TestClient(create_app(told, lambda: Borrowed(engine))) as client:
        while client.get("/readyz").status_code != 200:
            pass
        exported.clear()
        yield client


def named(exported: InMemorySpanExporter) -> dict[str, ReadableSpan]:
    return {span.name: span for span in exported.get_finished_spans()}


def test_a_search_has_a_span_with_its_stages_below(
    traced: TestClient, exported: InMemorySpanExporter
) -> None:
    answer = traced.post("/search", json={"query": "tides"}, headers={"traceparent": PARENT})
    spans = named(exported)
    request = spans["POST /search"]
    assert request.parent is not None
    assert f"{request.parent.trace_id:032x}" == TRACE == answer.headers["X-Trace-ID"]
    assert f"{request.parent.span_id:016x}" == PARENT.split("-")[2]
    assert request.attributes == {
        "http.response.status_code": 200,
        "http.route": "/search",
        "secondpass.collection": "main",
        "secondpass.request_id": answer.headers["X-Request-ID"],
    }
    for stage in ("encode", "retrieve", "rerank"):
        span = spans[stage]
        assert span.parent is not None
        assert span.parent.span_id == request.context.span_id
        assert request.start_time <= span.start_time <= span.end_time <= request.end_time
    assert spans["encode"].end_time <= spans["rerank"].end_time


def test_a_path_that_is_no_route_is_not_in_the_trace(
    traced: TestClient, exported: InMemorySpanExporter
) -> None:
    answer = traced.get("/made-up")
    (span,) = exported.get_finished_spans()
    assert (span.name, span.parent) == ("unmatched", None)
    assert answer.headers["X-Trace-ID"] == f"{span.context.trace_id:032x}"


def test_an_error_marks_the_span_without_its_text(exported: InMemorySpanExporter) -> None:
    async def fails(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 500, "headers": []})
        raise RuntimeError("s3cret")

    traced = tracing.Tracing(fails, tracing.tracer_provider().get_tracer("test"))
    scope = {"type": "http", "method": "GET", "headers": []}
    with pytest.raises(RuntimeError):
        asyncio.run(traced(scope, AsyncMock(), AsyncMock()))
    (span,) = exported.get_finished_spans()
    assert span.status.status_code is StatusCode.ERROR
    assert "s3cret" not in span.to_json()


def test_without_traces_the_sdk_is_not_imported() -> None:
    code = (
        "import sys\n"
        "from service.api.app import create_app\n"
        "from service.settings import Settings\n"
        "create_app(Settings(), lambda: None)\n"
        "print([name for name in sys.modules if name.startswith('opentelemetry.sdk')])\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "[]\n"


def test_without_the_extra_the_start_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(server, "version", Mock(side_effect=PackageNotFoundError))
    with pytest.raises(InvalidInputError, match=r"pip install .*\[otel\]"):
        server.serve(Settings(traces=True, port=0), Mock())
