"""Prometheus metrics, one registry per application."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from service.search.query import Result

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def known_method(method: str) -> str:
    """The method, or `other`, because a client may send any word."""
    return method if method in METHODS else "other"


class Metrics:
    """The metrics of `/metrics`."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = self._counter(
            "requests", "Requests by method, route and status.", "method", "path", "status"
        )
        self._seconds = self._histogram("request", "Time of a request, in seconds.", "path")
        self._stages = self._histogram("stage", "Time of a search's stage, in seconds.", "stage")
        self._reranks = self._counter("reranks", "Searches by rerank status.", "status")
        self._confidence = self._counter("top_hits", "Searches by their first hit.", "confidence")
        self._cache = self._counter("answer_cache", "Answer cache lookups, by outcome.", "outcome")
        self._written = self._counter(
            "documents_written", "Documents written over HTTP.", "operation"
        )
        self.cached_answers = self._gauge("answer_cache_answers", "Answers kept.")
        self.in_flight = self._gauge("searches_in_flight", "Searches that run or wait.")
        self.jobs = self._gauge("jobs_unfinished", "Bulk jobs that are queued or running.")
        self.documents = self._gauge("documents", "Documents in the index.")

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"secondpass_{name}_total", text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str, label: str) -> Histogram:
        name = f"secondpass_{name}_seconds"
        return Histogram(name, text, [label], buckets=_SECONDS, registry=self.registry)

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(f"secondpass_{name}", text, registry=self.registry)

    def observe_request(self, method: str, path: str, status: int, seconds: float) -> None:
        self._requests.labels(known_method(method), path, str(status)).inc()
        self._seconds.labels(path).observe(seconds)

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
