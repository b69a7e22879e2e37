"""An example of each body, for the OpenAPI document; a test holds them against its schemas."""

from typing import Any

JOB_ID = "0da9ea4bf9c342fa94918df08294b662"
REQUEST_ID = "6f1f6a0f0f5d4c0c8f6f3b1c2d7e9a55"

_DOCUMENT: dict[str, Any] = {
    "id": "py-except",
    "title": "Handling several exceptions",
    "text": "One except clause can name several exception types in a tuple.",
    "metadata": {"topic": "python", "level": 2, "tags": ["errors", "syntax"]},
}
_STORED: dict[str, Any] = {**_DOCUMENT, "version": 7, "indexed": True, "problem": None}
_SEARCH: dict[str, Any] = {
    "query": "catch several exceptions in one handler",
    "hits": [
        {
            "rank": 1,
            **_DOCUMENT,
            "start": 0,
            "end": 62,
            "confidence": "high",
            "probability": 0.93,
            "rerank_score": 5.21,
            "retrieval_score": 0.88172,
            "sparse_score": None,
            "retrieval_rank": 4,
            "truncated": False,
        }
    ],
    "answerable": True,
    "rerank": {"status": "complete", "requested": 100, "scored": 100, "reason": None},
    "timings_ms": {"normalize": 0.1, "encode": 12.0, "retrieve": 0.8, "rerank": 51.7, "total": 65},
    "models": {
        "encoder": "e5-small",
        "reranker": "interaction-v1",
        "calibration": "e5-small+interaction-v1",
        "order": "fused (rerank_score 0.35)",
    },
    "index": {"generation": "g-00000003", "revision": 1434, "documents": 1434},
    "warnings": [],
    "cached": None,
    "request_id": REQUEST_ID,
}
_JOB: dict[str, Any] = {
    "job_id": JOB_ID,
    "collection": "main",
    "state": "running",
    "done": 640,
    "refused": 2,
    "total": 10_000,
    "bytes": 5_242_880,
    "rate": 41.5,
    "seconds_left": 225.5,
    "created": "2026-03-01T12:00:00+00:00",
    "finished": None,
    "reason": None,
    "note": None,
}
_REFUSAL: dict[str, Any] = {"line": 17, "id": None, "field": "text", "reason": "is missing"}
_COPY: dict[str, Any] = {
    "source": "main",
    "mirror": False,
    "state": "running",
    "copied": 640,
    "removed": 0,
    "total": 10_000,
    "reason": None,
}
_COLLECTION: dict[str, Any] = {
    "name": "articles-2",
    "aliases": ["default"],
    "created": "2026-03-01T12:00:00Z",
    "settings": {"encoder": "sse-512"},
    "documents": 1434,
    "passages": 5120,
    "staged": 0,
    "failed": 0,
    "revision": 1434,
    "generation": "g-00000003",
    "encoder": {
        "model": "sse-512",
        "weights_sha256": "9f2c" * 16,
        "dimension": 512,
        "query_prefix": "",
        "passage_prefix": "",
        "max_length": 256,
        "normalizer_version": 1,
    },
    "reranker": "interaction-v1",
    "problems": [],
    "copy": None,
}

OF_SCHEMAS: dict[str, Any] = {
    "AcceptedBody": {"job_id": JOB_ID},
    "AliasRequest": {"collection": "articles-2"},
    "AliasesBody": {"aliases": {"default": "main"}},
    "CollectionBody": _COLLECTION,
    "CollectionsBody": {"collections": [_COLLECTION]},
    "CopyBody": _COPY,
    "CopyRequest": {"from": "default", "mirror": True},
    "CreateCollectionRequest": {"name": "articles-2", "settings": {"encoder": "sse-512"}},
    "DeletedBody": {"deleted": 2},
    "DocumentsPage": {"documents": [_STORED], "cursor": "cHktZXhjZXB0"},
    "DocumentsRequest": {"documents": [_DOCUMENT]},
    "DocumentsResponse": {
        "accepted": 1,
        "refused": [{"index": 1, "id": "empty", "error": "text is empty"}],
        "replaced": [{"index": 0, "id": "py-except", "by": 2}],
        "indexed": True,
    },
    "JobBody": {**_JOB, "refusals": [_REFUSAL]},
    "JobsBody": {"jobs": [_JOB]},
    "LiveBody": {"status": "ok"},
    "ReadyBody": {
        "status": "ready",
        "checks": {"models": "ok", "index": "ok"},
        "documents": 1434,
        "passages": 5120,
        "notes": [],
    },
    "SearchBatchResponse": {
        "results": [_SEARCH],
        "timings_ms": {"total": 188.4},
        "request_id": REQUEST_ID,
    },
    "SearchResponse": _SEARCH,
    "SimilarityResponse": {
        "results": [{"index": 0, "similarity": 0.972341, "same": True, "truncated": False}],
        "threshold": 0.93,
        "model": "pair-model",
        "timings_ms": {"normalize": 0.1, "encode": 24.0, "total": 24.3},
        "request_id": REQUEST_ID,
    },
    "StoredDocumentBody": _STORED,
    "WrittenBody": {"id": "py-except", "version": 7, "indexed": True, "problem": None},
}
"""By the name of the body's schema. A model that has an example of its own needs none here."""

OF_ERRORS: dict[str, Any] = {
    "ReadyBody": {
        "status": "not_ready",
        "checks": {"models": "loading", "index": "loading"},
        "documents": None,
        "passages": None,
        "notes": [],
    }
}
"""Of errors that are not the envelope."""

OF_TEXTS = {
    "text/event-stream": f'event: progress\ndata: {{"job_id":"{JOB_ID}","state":"running"}}\n\n',
    "text/plain": 'secondpass_requests_total{method="POST",path="/search",status="200"} 42.0\n',
}
"""By the media type of an answer that is not JSON."""
