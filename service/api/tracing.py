"""OpenTelemetry spans of requests and of the stages of a search; needs the extra `otel`.

Imported only where the settings ask for traces.
"""

import time

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, StatusCode, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service import __version__
from service.search.query import stage_observer


class Tracing:
    """Around every request: a span, below the caller's where `traceparent` names one."""

    def __init__(self, app: ASGIApp, tracer: Tracer) -> None:
        self.app, self._tracer = app, tracer
        self._propagator = TraceContextTextMapPropagator()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        parent = self._propagator.extract(dict(Headers(scope=scope)))
        with self._tracer.start_as_current_span(
            "request",
            parent,
            SpanKind.SERVER,
            record_exception=False,  # its text may have what the client sent
            set_status_on_exception=False,
        ) as span:
            state = scope.setdefault("state", {})
            state["trace_id"] = f"{span.get_span_context().trace_id:032x}"

            async def send_on(message: Message) -> None:
                if message["type"] == "http.response.start":
                    span.set_attribute("http.response.status_code", message["status"])
                    if message["status"] >= 500:
                        span.set_status(StatusCode.ERROR)
                await send(message)

            token = stage_observer.set(self._stage)
            try:
                await self.app(scope, receive, send_on)
            finally:
                stage_observer.reset(token)
                _describe(span, scope)

    def _stage(self, name: str, milliseconds: float) -> None:
        end = time.time_ns()
        self._tracer.start_span(name, start_time=end - int(milliseconds * 1e6)).end(end)


def tracer_provider(processor: SpanProcessor | None = None) -> TracerProvider:
    """Sends spans where the `OTEL_EXPORTER_OTLP_*` variables say, or to this processor."""
    about = {"service.name": "secondpass", "service.version": __version__}
    provider = TracerProvider(resource=Resource.create(about))
    provider.add_span_processor(processor or BatchSpanProcessor(OTLPSpanExporter()))
    return provider


def _describe(span: Span, scope: Scope) -> None:
    # The route's pattern: what a client sent is not for the trace.
    route = getattr(scope.get("route"), "path", "unmatched")
    span.update_name(f"{scope['method']} {route}" if scope.get("route") else route)
    span.set_attribute("http.route", route)
    for name in ("request_id", "collection"):
        if value := scope["state"].get(name):
            span.set_attribute(f"secondpass.{name}", value)
