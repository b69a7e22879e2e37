"""API keys and their rights on every route, over a server of several collections."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient

from service.store.key_file import SCOPES, KeyFile, Scope, hash_key
from tests.fixtures.hash_models import hash_settings
from tests.fixtures.hash_server import look_at_keys, running
from tests.fixtures.routes import ROUTES, RULES

ADMIN = "the operator's own key"
OPEN = {"/livez", "/readyz", "/healthz", "/version", "/metrics", "/docs", "/openapi.json"} | {
    "/health", "/tei/embed/health", "/tei/rerank/health",
    "/", "/page/style.css", "/docs/swagger-ui.css",
}  # fmt: skip
ROWS = [
    {"id": f"{tenant}-{n}", "text": f"tides and the moon {n}", "metadata": {"tenant": tenant}}
    for tenant in ("a", "b")
    for n in range(3)
]


class Server:
    """A client of a server, and the file of its keys."""

    def __init__(self, client: TestClient, file: KeyFile) -> None:
        self.client, self.file = client, file

    def key(self, *scopes: Scope, **rights: Any) -> str:
        """A new key, which the server knows at once."""
        key = self.file.create("web", scopes=scopes or SCOPES, **rights)
        look_at_keys(self.client)
        return key

    def ask(self, method: str, path: str, key: str | None = ADMIN, **sent: Any) -> httpx.Response:
        headers = {"X-API-Key": key} if key is not None else {}
        return self.client.request(method, path, headers=headers | sent.pop("headers", {}), **sent)

    def hits(self, key: str, path: str = "/search", **body: Any) -> set[str]:
        answer = self.ask("POST", path, key, json={"query": "tides", **body})
        assert answer.status_code == 200, answer.text
        return {hit["id"] for hit in answer.json()["hits"]}


@contextmanager
def served(path: Path, **settings: Any) -> Iterator[Server]:
    given = hash_settings(path, api_key_hashes=frozenset({hash_key(ADMIN)}), **settings)
    with running(given) as client:
        yield Server(client, KeyFile.of(given))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with served(tmp_path_factory.mktemp("data")) as server:
        for name in ("articles", "secret"):
            assert server.ask("POST", "/collections", json={"name": name}).status_code == 201
        fill(server)
        fill(server, "/collections/secret")
        yield server


def fill(server: Server, prefix: str = "") -> None:
    answer = server.ask("POST", f"{prefix}/documents?wait=true", json={"documents": ROWS})
    assert answer.json()["indexed"]


@pytest.fixture
def fresh(server: Server) -> Server:
    """The server with all documents as they were."""
    fill(server)
    return server


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_every_route_asks_for_a_key_with_its_scope(server: Server, method: str, path: str) -> None:
    expired = server.key(expires=datetime.now(UTC) + timedelta(hours=1))
    content = json.loads(server.file.path.read_bytes())
    content["keys"][-1]["expires"] = "2020-01-01T00:00:00Z"
    server.file.path.write_text(json.dumps(content), encoding="utf-8")
    others = {
        "none": None,
        "empty": "",
        "wrong": "sp_" + "A" * 43,
        "hash": server.file.read()[0].sha256,
        "expired": expired,
    }
    found = {
        name: server.ask(method, path, key, params={"nonsense": 1}).status_code
        for name, key in {**others, **{scope: server.key(scope) for scope in SCOPES}}.items()
    }
    server.file.revoke("web")
    if path in OPEN:
        assert not {401, 403} & set(found.values())
        return
    assert {found[name] for name in others} == {401}
    wanted = RULES[method, path].scope
    refused = {scope for scope in SCOPES if found[scope] == 403}
    assert refused == (set(SCOPES) - {wanted} if wanted else set())


def test_the_openapi_document_names_the_scope_in_both_headers(server: Server) -> None:
    document = server.client.get("/openapi.json").json()
    assert set(document["components"]["securitySchemes"]) == {"bearer", "header"}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            at = path.format(name="main", alias="default", id="py-with")
            scope = RULES[method.upper(), at].scope
            if at in OPEN:
                assert "security" not in operation
            else:
                scopes = [scope] if scope else []
                assert operation["security"] == [{"bearer": scopes}, {"header": scopes}]
                assert {"401", "403", "429"} <= set(operation["responses"])


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_every_route_keeps_a_key_to_its_collections(server: Server, method: str, path: str) -> None:
    key = server.key(collections=("articles",))
    if "main" in path.split("/") or path.startswith(("/documents", "/fields", "/search")):
        refused = server.ask(method, path, key, json={"query": "tides", "from": "secret"})
        if "main" not in path.split("/") and refused.status_code in {415, 422}:
            return  # the body is looked at first
        assert refused.status_code == 403, refused.text
    else:
        answer = server.ask(method, path, key)
        assert "secret" not in answer.text.replace("/openapi", "") or path in OPEN


FILTERED = {  # what a key with a filter may ask at all
    ("POST", "/search"), ("POST", "/search/batch"), ("POST", "/similarity"),
    ("GET", "/documents"), ("POST", "/documents"), ("POST", "/documents/delete"),
    ("GET", "/documents/py-with"), ("PUT", "/documents/py-with"),
    ("DELETE", "/documents/py-with"), ("PATCH", "/documents/py-with"), ("POST", "/mcp"),
    ("POST", "/documents/count"), ("GET", "/fields"),
    ("POST", "/labels"), ("POST", "/feedback"), ("GET", "/key"),
}  # fmt: skip


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_a_key_with_a_filter_may_ask_what_is_listed_and_no_more(
    server: Server, method: str, path: str
) -> None:
    key = server.key(filters={"tenant": "a"})
    status = server.ask(method, path, key, params={"nonsense": 1}).status_code
    of_texts = RULES[method, path].compatible  # these bring their texts along
    may = path in OPEN or (method, path.removeprefix("/collections/main")) in FILTERED
    assert (status != 403) == (may or of_texts)


EVERYTHING: list[dict[str, Any]] = [
    {},
    {"tenant": "b"},
    {"or": [{"tenant": "b"}, {"tenant": "a"}]},
    {"not": {"tenant": "a"}},
    {"and": [{"or": [{"tenant": {"exists": True}}, {"tenant": {"exists": False}}]}]},
]


@pytest.mark.parametrize("filters", EVERYTHING)
@pytest.mark.parametrize("prefix", ["", "/collections/main", "/collections/default"])
def test_no_filter_of_the_caller_shows_more_than_the_keys(
    fresh: Server, filters: dict[str, Any], prefix: str
) -> None:
    key = fresh.key(filters={"tenant": "a"})
    own = {row["id"] for row in ROWS if row["id"].startswith("a")}
    body = {"query": "tides", "filters": filters}
    for mode in ("dense", "sparse", "hybrid"):
        assert fresh.hits(key, f"{prefix}/search", filters=filters, mode=mode) <= own
    batch = fresh.ask("POST", f"{prefix}/search/batch", key, json={"queries": [body, body]})
    for result in batch.json()["results"]:
        assert {hit["id"] for hit in result["hits"]} <= own
        assert result["index"]["documents"] is None
    params = {"filters": json.dumps(filters), "limit": 1}
    listed = fresh.ask("GET", f"{prefix}/documents", key, params=params)
    assert {one["id"] for one in listed.json()["documents"]} <= own
    counted = fresh.ask("POST", f"{prefix}/documents/count", key, json={"filters": filters})
    assert counted.json()["documents"] <= len(own)
    told = fresh.ask("GET", f"{prefix}/fields", key, params={"filters": json.dumps(filters)})
    assert all(sum(one["types"].values()) <= len(own) for one in told.json()["fields"])
    whole = {**body, "facets": ["tenant"], "highlights": 1, "explain": True}
    answer = fresh.ask("POST", f"{prefix}/search", key, json=whole).json()
    assert {one["value"] for one in answer["facets"]["tenant"]["values"]} <= {"a"}
    assert answer["facets"]["tenant"]["missing"] == 0
    asked = json.dumps(filters)
    if filters:
        deleted = fresh.ask(
            "POST", f"{prefix}/documents/delete", key, content=f'{{"filters": {asked}}}',
            headers={"Content-Type": "application/json"},
        )  # fmt: skip
        assert deleted.status_code == 200
    left = fresh.ask("GET", "/documents").json()["documents"]
    assert {one["id"] for one in left} >= {row["id"] for row in ROWS} - own


@pytest.mark.parametrize("filters", EVERYTHING)
def test_an_agent_sees_no_more_than_its_key(fresh: Server, filters: dict[str, Any]) -> None:
    key = fresh.key(filters={"tenant": "a"})

    def call(tool: str, **arguments: Any) -> dict[str, Any]:
        message = {
            "jsonrpc": "2.0", "id": 1, "method": "tools/call",
            "params": {"name": tool, "arguments": arguments},
        }  # fmt: skip
        accept = {"Accept": "application/json, text/event-stream"}
        answer = fresh.ask("POST", "/mcp", key, json=message, headers=accept)
        assert answer.status_code == 200, answer.text
        return dict(answer.json()["result"])

    hits = call("search", query="tides", filters=filters)["structuredContent"]["hits"]
    assert {hit["id"] for hit in hits} <= {"a-0", "a-1", "a-2"}
    assert "moon" in str(call("fetch", id="a-0"))
    hidden, missing = (call("fetch", id=id_) for id_ in ("b-0", "zzz"))
    assert hidden["isError"]
    assert (
        hidden["structuredContent"]["error"]["message"]
        == (missing["structuredContent"]["error"]["message"])
    )


def test_a_filter_at_the_limits_is_joined_to_one_at_the_limits(fresh: Server) -> None:
    wide = {"or": [{f"f{n}": 1} for n in range(99)] + [{"tenant": "a"}]}
    deep: dict[str, Any] = {"tenant": "b"}
    for _ in range(7):
        deep = {"not": deep}
    key = fresh.key(filters=wide)
    assert fresh.hits(key, filters=wide) == {"a-0", "a-1", "a-2"}
    assert fresh.hits(fresh.key(filters=deep), filters=deep) == {"a-0", "a-1", "a-2"}
    assert fresh.hits(key, filters=deep) == {"a-0", "a-1", "a-2"}


def test_a_hidden_document_looks_as_if_it_were_not_there(fresh: Server) -> None:
    key = fresh.key(filters={"tenant": "a"})
    for headers in ({}, {"If-None-Match": "*"}, {"If-None-Match": '"1"'}):
        hidden, missing = (
            fresh.ask("GET", f"/documents/{id_}", key, headers=headers) for id_ in ("b-0", "zzz")
        )
        assert hidden.status_code == missing.status_code == 404
        assert hidden.json()["error"]["message"] == missing.json()["error"]["message"]
    for headers, status in (({}, 204), ({"If-Match": "*"}, 412), ({"If-Match": '"1"'}, 412)):
        for id_ in ("b-0", "zzz"):
            answer = fresh.ask("DELETE", f"/documents/{id_}", key, headers=headers)
            assert answer.status_code == status
    deleted = fresh.ask("POST", "/documents/delete", key, json={"ids": ["a-0", "b-0", "zzz"]})
    assert deleted.json() == {"deleted": 1}
    assert fresh.ask("GET", "/documents/b-0").status_code == 200
    assert fresh.ask("GET", "/documents/a-1", key).status_code == 200


def test_a_key_with_a_filter_writes_only_what_it_sees(fresh: Server) -> None:
    key = fresh.key(filters={"tenant": "a"})

    def put(id_: str, tenant: object, **sent: Any) -> int:
        body = {"text": "stolen", "metadata": {"tenant": tenant}}
        return fresh.ask("PUT", f"/documents/{id_}", key, json=body, **sent).status_code

    assert put("a-0", "a") == 200
    assert put("a-9", "a") == 201
    assert put("a-0", "b") == 403  # out of its own sight
    assert put("b-0", "a") == 403  # into it
    assert put("b-0", "a", headers={"If-Match": '"1"'}) == 403
    assert put("a-8", None) == 403

    def patch(id_: str, metadata: object, **sent: Any) -> int:
        body = {"metadata": metadata}
        return fresh.ask("PATCH", f"/documents/{id_}", key, json=body, **sent).status_code

    assert patch("a-1", {"note": "mine"}) == 200
    assert patch("a-1", {"tenant": "b"}) == 403  # out of its own sight
    assert patch("a-1", {"tenant": None}) == 403
    for headers, status in (({}, 404), ({"If-Match": "*"}, 412)):
        for id_ in ("b-0", "zzz"):  # hidden ones look as if they were not there
            assert patch(id_, {"tenant": "a"}, headers=headers) == status
    assert fresh.ask("GET", "/documents/a-1").json()["metadata"]["tenant"] == "a"
    assert fresh.ask("GET", "/documents/b-0").json()["metadata"]["tenant"] == "b"
    rows = [{**ROWS[0], "text": "changed"}, {"id": "b-0", "text": "x", "metadata": {"tenant": "a"}}]
    assert fresh.ask("POST", "/documents", key, json={"documents": rows}).status_code == 403
    assert fresh.ask("GET", "/documents/a-0").json()["text"] == "stolen"
    assert fresh.ask("GET", "/documents/b-0").json()["text"] == ROWS[3]["text"]
    assert fresh.ask("GET", "/documents/a-8").status_code == 404


def test_a_key_with_collections_stays_in_them(server: Server) -> None:
    key = server.key(collections=("articles",))
    say = server.ask
    assert [c["name"] for c in say("GET", "/collections", key).json()["collections"]] == [
        "articles"
    ]
    assert say("GET", "/aliases", key).json() == {"aliases": {}}
    for name in ("secret", "main", "default", "no-such"):  # whether it is there does not show
        for method, path, body in (
            ("GET", f"/collections/{name}", None),
            ("POST", f"/collections/{name}/search", {"query": "tides"}),
            ("GET", f"/collections/{name}/snapshot", None),
            ("DELETE", f"/collections/{name}", None),
            ("POST", "/collections/articles/copy", {"from": name}),
            ("POST", f"/collections/{name}/copy", {"from": "articles"}),
            ("PUT", "/aliases/articles", {"collection": name}),
            ("PUT", f"/aliases/{name}", {"collection": "articles"}),
            ("DELETE", f"/aliases/{name}", None),
        ):
            answer = say(method, path, key, json=body)
            assert answer.status_code == 403, (method, path, answer.text)
            assert answer.json()["error"]["code"] == "forbidden"
    assert say("POST", "/collections", key, json={"name": "mine"}).status_code == 403
    assert say("POST", "/collections/articles/search", key, json={"query": "x"}).status_code == 200


def test_a_key_follows_an_alias_that_it_names(server: Server) -> None:
    key = server.key(collections=("live",))
    search = ("POST", "/collections/live/search", key)
    assert server.ask(*search, json={"query": "tides"}).status_code == 404
    for name, hits in (("articles", 0), ("secret", len(ROWS))):
        server.ask("PUT", "/aliases/live", json={"collection": name})
        assert len(server.hits(key, "/collections/live/search")) == hits
        assert server.ask("GET", f"/collections/{name}", key).status_code == 200
    assert server.ask("GET", "/collections/articles", key).status_code == 403
    server.ask("DELETE", "/aliases/live")


def test_jobs_of_other_collections_are_not_there(server: Server) -> None:
    key = server.key(collections=("articles",))
    ndjson = {
        "content": b'{"id": "x", "text": "tides"}',
        "headers": {"Content-Type": "application/x-ndjson"},
    }
    other = server.ask("POST", "/collections/secret/documents/bulk", **ndjson).json()["job_id"]
    own = server.ask("POST", "/collections/articles/documents/bulk", key, **ndjson).json()["job_id"]
    assert [j["job_id"] for j in server.ask("GET", "/jobs", key).json()["jobs"]] == [own]
    for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/events")):
        assert server.ask(method, f"/jobs/{other}{path}", key).status_code == 404
    assert server.ask("GET", f"/jobs/{own}", key).status_code == 200
