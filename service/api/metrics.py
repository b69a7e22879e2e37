"""Prometheus metrics, one registry per application."""

import importlib.metadata
import platform
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from service import __version__
from service.search.query import Result

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

MOST_COLLECTIONS = 100
"""Names of collections that metrics have; the requests of others are counted as `other`."""


def build() -> dict[str, str]:
    """The versions of the service, of Python and of torch."""
    torch = importlib.metadata.version("torch")
    return {"version": __version__, "python": platform.python_version(), "torch": torch}


def known_method(method: str) -> str:
    """The method, or `other`, because a client may send any word."""
    return method if method in METHODS else "other"


Rows = Iterable[tuple[str, Mapping[str, float]]]
"""Collections, and the values that each of them has."""


class _OfCollections(Collector):
    """A gauge by collection and one more label, read when it is asked for."""

    def __init__(self, name: str, text: str, label: str, read: Callable[[], Rows]) -> None:
        self._name, self._text, self._label, self._read = name, text, label, read

    def describe(self) -> Iterator[GaugeMetricFamily]:
        yield GaugeMetricFamily(self._name, "")

    def collect(self) -> Iterator[GaugeMetricFamily]:
        family = GaugeMetricFamily(self._name, self._text, labels=["collection", self._label])
        for name, values in islice(self._read(), MOST_COLLECTIONS):
            for label, value in values.items():
                family.add_metric([name, label], value)
        yield family


class Metrics:
    """The metrics of `/metrics`."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = self._counter(
            "requests",
            "Requests by method, route, status and collection.",
            *("method", "path", "status", "collection"),
        )
        self._seconds = self._histogram(
            "request", "Time of a request, in seconds.", "method", "path"
        )
        self._queue_wait = self._histogram(
            "queue_wait", "Time that a request's work waited for a thread, in seconds."
        )
        self._stages = self._histogram("stage", "Time of a search's stage, in seconds.", "stage")
        self._reranks = self._counter("reranks", "Searches by rerank status.", "status")
        self._confidence = self._counter("top_hits", "Searches by their first hit.", "confidence")
        self._cache = self._counter("answer_cache", "Answer cache lookups, by outcome.", "outcome")
        self._written = self._counter(
            "documents_written", "Documents written over HTTP.", "operation"
        )
        self.cached_answers = self._gauge("answer_cache_answers", "Answers kept.")
        self.in_flight = self._gauge("searches_in_flight", "Searches that run or wait.")
        self.jobs = self._gauge("jobs_unfinished", "Jobs that are queued or running.")
        self._collections: set[str] = set()
        Info("secondpass_build", "What runs here.", registry=self.registry).info(build())

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"secondpass_{name}_total", text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str, *labels: str) -> Histogram:
        name = f"secondpass_{name}_seconds"
        return Histogram(name, text, labels, buckets=_SECONDS, registry=self.registry)

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(f"secondpass_{name}", text, registry=self.registry)

    def observe_request(
        self, method: str, path: str, status: int, seconds: float, collection: str | None
    ) -> None:
        method = known_method(method)
        self._requests.labels(method, path, str(status), self._label(collection)).inc()
        self._seconds.labels(method, path).observe(seconds)

    def observe_wait(self, seconds: float) -> None:
        self._queue_wait.observe(seconds)

    def count_documents(self, read: Callable[[], Rows]) -> None:
        """Let `read` give what `secondpass_documents` shows, each time it is asked for."""
        text = "Documents of a collection: in the index, waiting for it, or failed."
        self._of_collections("documents", text, "state", read)

    def measure_drift(self, read: Callable[[], Rows]) -> None:
        """Let `read` give what `secondpass_drift_psi` shows, each time it is asked for."""
        text = "Population stability index of the latest searches against the calibration's."
        self._of_collections("drift_psi", text, "measure", read)

    def _of_collections(self, name: str, text: str, label: str, read: Callable[[], Rows]) -> None:
        self.registry.register(_OfCollections(f"secondpass_{name}", text, label, read))

    def _label(self, collection: str | None) -> str:
        """The collection, or `other` once there were too many names."""
        if collection is None or collection in self._collections:
            return collection or ""
        if len(self._collections) >= MOST_COLLECTIONS:
            return "other"
        self._collections.add(collection)
        return collection

    def observe_search(self, result: Result) -> None:
        for stage, milliseconds in result.timings_ms.items():
            self._stages.labels(stage).observe(milliseconds / 1000)
        if "cache" in result.timings_ms:
            self._cache.labels("hit" if result.cached else "miss").inc()
        if result.cached is None:
            self._reranks.labels(result.rerank.status).inc()
        self._confidence.labels(result.hits[0].confidence if result.hits else "none").inc()

    def observe_documents(self, *, stored: int = 0, deleted: int = 0) -> None:
        self._written.labels("stored").inc(stored)
        self._written.labels("deleted").inc(deleted)

    def render(self) -> bytes:
        return generate_latest(self.registry)
