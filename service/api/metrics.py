"""Prometheus metrics, one registry per application."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from service.pipeline.query import Result

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def known_method(method: str) -> str:
    """The method, or `other`: a client may send any word, of any length."""
    return method if method in METHODS else "other"


class Metrics:
    """What `/metrics` shows."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "secondpass_requests_total",
            "Requests by method, route and status.",
            ["method", "path", "status"],
            registry=self.registry,
        )
        self._seconds = Histogram(
            "secondpass_request_seconds",
            "Time of a request, in seconds.",
            ["path"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._stages = Histogram(
            "secondpass_stage_seconds",
            "Time of a search's stage, in seconds.",
            ["stage"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._reranks = Counter(
            "secondpass_reranks_total",
            "Searches by what became of their rerank.",
            ["status"],
            registry=self.registry,
        )
        self._confidence = Counter(
            "secondpass_top_hits_total",
            "Searches by the confidence of their first hit.",
            ["confidence"],
            registry=self.registry,
        )
        self._cache = Counter(
            "secondpass_answer_cache_total",
            "Searches that asked the answer cache, by outcome.",
            ["outcome"],
            registry=self.registry,
        )
        self.cached_answers = Gauge(
            "secondpass_answer_cache_answers", "Answers kept.", registry=self.registry
        )
        self.in_flight = Gauge(
            "secondpass_searches_in_flight",
            "Searches under way or waiting.",
            registry=self.registry,
        )
        self._written = Counter(
            "secondpass_documents_written_total",
            "Documents stored and deleted over HTTP.",
            ["operation"],
            registry=self.registry,
        )
        self.jobs = Gauge(
            "secondpass_jobs_unfinished", "Bulk jobs that wait or run.", registry=self.registry
        )
        self.documents = Gauge(
            "secondpass_documents", "Documents in the index.", registry=self.registry
        )

    def observe_request(self, method: str, path: str, status: int, seconds: float) -> None:
        """Count one answered request."""
        self._requests.labels(known_method(method), path, str(status)).inc()
        self._seconds.labels(path).observe(seconds)

    def observe_search(self, result: Result) -> None:
        """Count one search and its stages."""
        for stage, milliseconds in result.timings_ms.items():
            self._stages.labels(stage).observe(milliseconds / 1000)
        if "cache" in result.timings_ms:
            self._cache.labels("hit" if result.cached else "miss").inc()
        if result.cached is None:
            self._reranks.labels(result.rerank.status).inc()
        self._confidence.labels(result.hits[0].confidence if result.hits else "none").inc()

    def observe_documents(self, *, stored: int = 0, deleted: int = 0) -> None:
        """Count documents that a request wrote."""
        self._written.labels("stored").inc(stored)
        self._written.labels("deleted").inc(deleted)

    def render(self) -> bytes:
        """Prometheus' text format."""
        return generate_latest(self.registry)
