"""Labels and feedback over HTTP: what is stored, who may see it, and how it is exported."""

import io
import logging
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.datasets import open_collection
from service.store.key_file import KeyFile, hash_key
from tests.fixtures.hash_models import hash_settings
from tests.fixtures.hash_server import ROWS, fill, look_at_keys, running

ADMIN = {"X-API-Key": "the operator's own key"}
IDS = [row["id"] for row in ROWS]


class Server:
    def __init__(self, client: Any, file: KeyFile) -> None:
        self.client, self.file = client, file

    def key(self, *scopes: Any, **rights: Any) -> dict[str, str]:
        key = self.file.create("web", scopes=scopes, **rights)
        look_at_keys(self.client)
        return {"X-API-Key": key}

    def ask(self, method: str, path: str, json: Any = None, **sent: Any) -> httpx.Response:
        headers = sent.pop("headers", ADMIN)
        return self.client.request(method, path, json=json, headers=headers, **sent)

    def label(self, query: str, path: str = "/labels", **judgements: str | None) -> httpx.Response:
        hits = [{"id": id_, "judgement": word} for id_, word in judgements.items()]
        return self.ask("POST", path, {"query": query, "hits": hits})


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    settings = hash_settings(tmp_path, api_key_hashes=frozenset({hash_key(ADMIN["X-API-Key"])}))
    with running(settings) as client:
        client.headers.update(ADMIN)
        fill(client)
        del client.headers["X-API-Key"]
        yield Server(client, KeyFile.of(settings))


def judged(server: Server, path: str = "/labels") -> dict[str, dict[str, Any]]:
    found = server.ask("GET", path).json()
    return {q["query"]: {h["id"]: h["judgement"] for h in q["hits"]} for q in found["queries"]}


def test_labels_are_stored_replaced_and_removed(server: Server) -> None:
    first, second = IDS[:2]
    hits = [{"id": first, "judgement": "relevant"}, {"id": second, "judgement": "not_relevant"}]
    answer = server.ask("POST", "/labels", {"query": "tides", "hits": hits})
    assert answer.json() == {"stored": 2, "removed": 0}
    hits = [{"id": first, "judgement": "partly"}, {"id": second, "judgement": None}]
    answer = server.ask("POST", "/collections/default/labels", {"query": "tides", "hits": hits})
    assert answer.json() == {"stored": 1, "removed": 1}
    assert judged(server) == {"tides": {first: "partly"}}
    found = server.ask("GET", "/labels").json()
    assert found["counts"] == {"queries": 1, "judged": 1, "relevant": 1, "not_relevant": 0}
    assert found["cursor"] is None
    assert server.ask("DELETE", "/labels").json() == {"deleted": 1}
    assert judged(server) == {}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"query": "  ", "hits": [{"id": "a", "judgement": None}]}, "query"),
        ({"query": "x" * 4001, "hits": [{"id": IDS[0], "judgement": None}]}, "query"),
        ({"query": "tides", "hits": []}, "hits"),
        ({"query": "tides", "hits": [{"id": IDS[0], "judgement": None}] * 101}, "hits"),
        ({"query": "tides", "hits": [{"id": IDS[0], "judgement": "good"}]}, "hits.0.judgement"),
        ({"query": "tides", "hits": [{"id": "gone", "judgement": "partly"}]}, "hits.0.id"),
        (
            {"query": "tides", "hits": [{"id": i, "judgement": None} for i in (*IDS[:1] * 2, "x")]},
            "hits.2.id",
        ),
    ],
)
def test_what_cannot_be_labelled_is_refused_by_name(server: Server, body: Any, field: str) -> None:
    answer = server.ask("POST", "/labels", body)
    assert answer.status_code == 422, answer.text
    assert answer.json()["error"]["details"][0]["field"] == field
    assert judged(server) == {}


def test_feedback_is_stored_apart_and_says_something(server: Server) -> None:
    hit = {"id": IDS[0], "clicked": True, "rank": 3}
    body = {"query": "tides", "request_id": "r1", "hits": [hit]}
    for _ in range(2):
        assert server.ask("POST", "/feedback", body).json() == {"stored": 1, "removed": 0}
    found = server.ask("GET", "/feedback").json()["queries"][0]["hits"][0]
    assert (found["clicks"], found["rank"], found["judgement"]) == (1, 3, None)
    assert judged(server) == {}
    nothing = server.ask("POST", "/feedback", {"query": "tides", "hits": [{"id": IDS[0]}]})
    assert nothing.status_code == 422
    assert server.ask("DELETE", "/feedback?query_id=q1").json() == {"deleted": 1}
    assert server.ask("DELETE", "/feedback?query_id=q1").status_code == 404


def test_pages_follow_each_other(server: Server) -> None:
    for query in ("one", "two", "three"):
        server.ask(
            "POST",
            "/labels",
            {"query": query, "hits": [{"id": IDS[0], "judgement": "relevant"}]},
        )
    first = server.ask("GET", "/labels?limit=2").json()
    assert [q["query"] for q in first["queries"]] == ["one", "two"]
    rest = server.ask("GET", f"/labels?limit=2&cursor={first['cursor']}").json()
    assert [q["query"] for q in rest["queries"]] == ["three"]
    assert rest["cursor"] is None
    assert rest["counts"]["queries"] == 3


def test_the_export_is_a_labelled_collection(server: Server, tmp_path: Path) -> None:
    hits = [{"id": id_, "judgement": "relevant"} for id_ in IDS[:3]]
    server.ask("POST", "/labels", {"query": "tides", "hits": hits})
    server.ask("DELETE", f"/documents/{IDS[2]}")
    answer = server.ask("GET", "/labels/export")
    assert answer.headers["Content-Type"] == "application/zip"
    assert 'filename="main-labels.zip"' in answer.headers["Content-Disposition"]
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        archive.extractall(tmp_path / "beir")
    found = open_collection(tmp_path / "beir")
    assert {document.id for document in found.documents} == set(IDS) - {IDS[2]}
    assert found.queries == {"q1": "tides"}
    assert found.qrels == {"q1": {IDS[0]: 2, IDS[1]: 2}}


def test_a_key_with_a_filter_labels_its_documents_and_reads_no_label(server: Server) -> None:
    field, value = next(iter(ROWS[0]["metadata"].items()))
    other = next(row for row in ROWS if row["metadata"].get(field) != value)
    key = server.key("search", "write", filters={field: value})

    def label(id_: str) -> httpx.Response:
        body = {"query": "tides", "hits": [{"id": id_, "judgement": "relevant"}]}
        return server.ask("POST", "/labels", body, headers=key)

    assert label(ROWS[0]["id"]).status_code == 200
    hidden, missing = label(other["id"]), label("zzz")
    assert hidden.status_code == missing.status_code == 422
    assert hidden.json()["error"]["details"] == missing.json()["error"]["details"]
    for method, path in (("GET", "/labels"), ("DELETE", "/labels"), ("GET", "/labels/export")):
        assert server.ask(method, path, headers=key).status_code == 403
    assert judged(server) == {"tides": {ROWS[0]["id"]: "relevant"}}


def test_a_dropped_collection_takes_its_labels_with_it(server: Server) -> None:
    for _ in range(2):
        server.ask("POST", "/collections", {"name": "next"})
        server.ask("POST", "/collections/next/documents?wait=true", {"documents": ROWS[:1]})
        assert judged(server, "/collections/next/labels") == {}
        server.label("tides", "/collections/next/labels", **{ROWS[0]["id"]: "relevant"})
        assert judged(server, "/collections/next/labels")
        assert judged(server) == {}
        assert server.ask("DELETE", "/collections/next").status_code == 204


def test_the_query_is_in_no_log(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        server.ask(
            "POST",
            "/labels",
            {"query": "s3cret words", "hits": [{"id": IDS[0], "judgement": "relevant"}]},
        )
        server.ask("GET", "/labels")
        server.ask(
            "POST", "/labels", {"query": "s3cret words", "hits": [{"id": "z", "judgement": None}]}
        )
    assert "s3cret" not in caplog.text
