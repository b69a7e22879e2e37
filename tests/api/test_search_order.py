"""Pages, boosts, folds, groups and several collections over HTTP."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient

from service.api.schemas.search_schemas import SearchResponse
from service.store.key_file import KeyFile, hash_key
from tests.fixtures.hash_models import hash_settings
from tests.fixtures.hash_server import look_at_keys, running

ADMIN = "the operator's own key"
TEXT = "tides and the moon and the sea and all that happens at a coast in one long day"
ROWS = [
    {
        "id": f"{tenant}-{n}",
        "text": f"{TEXT} {n} {'again ' * n}",
        "metadata": {"tenant": tenant, "n": n, "day": f"2026-01-{10 + n}"},
    }
    for tenant in ("a", "b")
    for n in range(4)
]


class Server:
    """A client of a server, and the file of its keys."""

    def __init__(self, client: TestClient, file: KeyFile) -> None:
        self.client, self.file = client, file

    def key(self, name: str, **rights: Any) -> str:
        key = self.file.create(name, scopes=("search",), **rights)
        look_at_keys(self.client)
        return key

    def ask(self, key: str = ADMIN, path: str = "/search", **body: Any) -> httpx.Response:
        headers = {"X-API-Key": key}
        return self.client.post(path, headers=headers, json={"query": "tides", **body})

    def found(self, key: str = ADMIN, path: str = "/search", **body: Any) -> dict[str, Any]:
        answer = self.ask(key, path, **body)
        assert answer.status_code == 200, answer.text
        SearchResponse.model_validate_json(answer.content, strict=True)
        return answer.json()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    path: Path = tmp_path_factory.mktemp("data")
    given = hash_settings(path, api_key_hashes=frozenset({hash_key(ADMIN)}))
    headers = {"X-API-Key": ADMIN}
    with running(given) as client:
        for body in ({"name": "articles"}, {"name": "secret"}, {"name": "other"}):
            settings = {"settings": {"encoder": "sse-512"}} if body["name"] == "other" else {}
            made = client.post("/collections", headers=headers, json={**body, **settings})
            assert made.status_code == 201, made.text
        client.put("/aliases/latest", headers=headers, json={"collection": "articles"})
        for prefix in ("", "/collections/articles", "/collections/secret"):
            sent = {"documents": ROWS}
            client.post(f"{prefix}/documents?wait=true", headers=headers, json=sent)
        yield Server(client, KeyFile.of(given))


def ids(answer: dict[str, Any]) -> list[str]:
    return [hit["id"] for hit in answer["hits"]]


def refused(answer: httpx.Response) -> tuple[int, str, list[str]]:
    error = answer.json()["error"]
    fields = sorted({detail["field"] for detail in error.get("details", ())})
    return answer.status_code, error["code"], fields


@pytest.mark.parametrize("path", ["/search", "/collections/articles/search"])
def test_pages_by_offset_and_by_cursor(server: Server, path: str) -> None:
    whole = ids(server.found(path=path))
    assert len(whole) == 8
    first = server.found(path=path, offset=0, top_k=3)
    pages = [first]
    while cursor := pages[-1]["next_cursor"]:
        pages.append(server.found(path=path, cursor=cursor, top_k=3, return_text=False))
    assert [id_ for page in pages for id_ in ids(page)] == whole
    assert {hit["text"] for hit in pages[1]["hits"]} == {None}
    assert ids(server.found(path=path, offset=6)) == whole[6:]
    assert server.found(path=path, offset=1000)["hits"] == []
    assert "next_cursor" not in server.found(path=path)


def test_each_entry_of_a_batch_has_its_own_pages(server: Server) -> None:
    first = server.found(offset=0, top_k=3)
    queries = [
        {"query": "tides", "cursor": first["next_cursor"], "top_k": 3},
        {"query": "tides", "cursor": "A" * 24},
        {"query": "tides", "offset": 6},
        {"query": "tides", "offset": 0, "cursor": first["next_cursor"]},
    ]
    answer = server.client.post(
        "/search/batch", headers={"X-API-Key": ADMIN}, json={"queries": queries}
    ).json()
    page, expired, last, wrong = answer["results"]
    whole = ids(server.found())
    assert (ids(page), ids(last)) == (whole[3:6], whole[6:])
    assert expired["error"]["code"] == "cursor_expired"
    assert wrong["error"]["details"][0]["field"] == "offset"


def test_a_cursor_is_no_other_clients(server: Server) -> None:
    mine, yours = server.key("mine"), server.key("yours")
    cursor = server.found(mine, offset=0, top_k=3)["next_cursor"]
    assert refused(server.ask(yours, cursor=cursor, top_k=3)) == (410, "cursor_expired", [])
    elsewhere = server.ask(mine, "/collections/articles/search", cursor=cursor, top_k=3)
    assert refused(elsewhere) == (410, "cursor_expired", [])
    assert refused(server.ask(mine, cursor=cursor, query="moon")) == (
        422, "invalid_request", ["cursor"],
    )  # fmt: skip
    assert server.found(mine, cursor=cursor, top_k=3)["hits"]
    server.file.revoke("mine")
    narrower = server.key("mine", filters={"tenant": "a"})
    assert refused(server.ask(narrower, cursor=cursor, top_k=3)) == (410, "cursor_expired", [])
    server.file.revoke("mine")
    server.file.revoke("yours")


def test_a_key_with_a_filter_sees_its_own_documents_in_every_field(server: Server) -> None:
    key = server.key("tenant", filters={"tenant": "a"})
    asked = [
        {"offset": 0, "top_k": 1},
        {"diversity": True},
        {"group_by": "tenant", "group_size": 10},
        {"boost": [{"field": "tenant", "values": ["b"], "weight": 1}]},
        {"collections": ["main", "articles"]},
    ]
    for fields in asked:
        text = server.ask(key, **fields).text
        assert '"a-' in text
        assert '"b-' not in text, fields
    (group,) = server.found(key, group_by="tenant")["hits"]
    assert group["group"]["size"] == 4
    server.file.revoke("tenant")


def test_a_boost_moves_a_hit_and_says_so(server: Server) -> None:
    plain = server.found()
    last = plain["hits"][-1]
    boost = [{"field": "n", "values": [last["metadata"]["n"]], "weight": 1}]
    boosted = server.found(boost=boost)
    assert boosted["models"]["order"] == f"{plain['models']['order']} + boost"
    before = {hit["id"]: hit for hit in plain["hits"]}
    for hit in boosted["hits"]:
        assert hit["boost"] == float(hit["metadata"]["n"] == last["metadata"]["n"])
        for name in ("probability", "confidence", "rerank_score", "retrieval_score"):
            assert hit[name] == before[hit["id"]][name]
    assert ids(boosted).index(last["id"]) < 7
    near = server.found(boost=[{"field": "day", "scale": 1, "origin": "2026-01-13", "weight": -1}])
    assert {hit["boost"] for hit in near["hits"]} == {-1.0, -0.5, -0.25, -0.125}


def test_folded_documents_are_named(server: Server) -> None:
    hits = server.found(collections=["main", "articles"], diversity=True)["hits"]
    assert len(hits) + sum(hit["folded"] for hit in hits) == 16
    also = [(one["id"], one["collection"]) for hit in hits for one in hit["also"]]
    assert len(set(also)) == sum(hit["folded"] for hit in hits)


def test_groups_have_their_best_hits(server: Server) -> None:
    plain = server.found()["hits"]
    found = server.found(group_by="tenant", group_size=3)["hits"]
    assert [hit["group"]["value"] for hit in found] == list(
        dict.fromkeys(hit["metadata"]["tenant"] for hit in plain)
    )
    for hit in found:
        own = [one["id"] for one in plain if one["metadata"]["tenant"] == hit["group"]["value"]]
        shown = [hit, *hit["group"]["hits"]]
        assert [one["id"] for one in shown] == own[:3]
        assert [one["rank"] for one in shown] == [ids({"hits": plain}).index(i) + 1 for i in own][
            :3
        ]
        assert hit["group"]["size"] == 4
    assert len(server.found(group_by="tenant", top_k=1)["hits"]) == 1
    assert len(server.found(group_by="none", group_size=1)["hits"]) == 8


def test_all_hits_of_a_group_are_marked_and_explained(server: Server) -> None:
    for hit in server.found(group_by="tenant", highlights=1, explain=True)["hits"]:
        for one in (hit, *hit["group"]["hits"]):
            assert one["highlights"]
            assert one["explanation"]["final"]["rank"] == one["rank"]


def test_several_collections_are_named_in_each_hit(server: Server) -> None:
    found = server.found(collections=["latest", "main"], top_k=16)
    pairs = [(hit["id"], hit["collection"]) for hit in found["hits"]]
    assert len(set(pairs)) == 16
    assert pairs[::2] == [(id_, "latest") for id_, _ in pairs[1::2]]
    assert found["index"]["documents"] == 16
    assert "+" in found["index"]["generation"]


@pytest.mark.parametrize(
    ("path", "body", "expected"),
    [
        ("/search", {"collections": ["main", "default"]}, (422, ["collections"])),
        ("/search", {"collections": ["main", "other"]}, (422, ["collections"])),
        ("/search", {"collections": ["main", "nothing"]}, (404, [])),
        ("/search", {"collections": []}, (422, ["collections"])),
        ("/search", {"collections": [f"c{n}" for n in range(11)]}, (422, ["collections"])),
        ("/search", {"collections": ["main"], "mode": "sparse"}, (422, ["mode"])),
        ("/search", {"collections": ["main"], "facets": ["n"]}, (422, ["facets"])),
        ("/collections/main/search", {"collections": ["main"]}, (422, ["collections"])),
        ("/search", {"offset": -1}, (422, ["offset"])),
        ("/search", {"offset": 1001}, (422, ["offset"])),
        ("/search", {"cursor": "A"}, (422, ["cursor"])),
        ("/search", {"cursor": "A" * 24, "offset": 0}, (422, ["offset"])),
        ("/search", {"min_probability": 1.1}, (422, ["min_probability"])),
        ("/search", {"min_probability": 0.5, "rerank": False}, (422, ["min_probability"])),
        ("/search", {"group_by": ""}, (422, ["group_by"])),
        ("/search", {"group_by": "x" * 129}, (422, ["group_by"])),
        ("/search", {"group_by": "a", "group_size": 11}, (422, ["group_size"])),
        ("/search", {"diversity": 1}, (422, ["diversity"])),
        ("/search", {"boost": {}}, (422, ["boost"])),
        ("/search", {"boost": [{}] * 6}, (422, ["boost"])),
        ("/search", {"boost": [{"field": "n", "weight": 1}]}, (422, ["boost.0"])),
        (
            "/search",
            {"boost": [{"field": "n", "weight": 1.1, "values": [1]}]},
            (422, ["boost.0.weight"]),
        ),
        (
            "/search",
            {"boost": [{"field": "n", "weight": 1, "values": [1], "scale": 1}]},
            (422, ["boost.0"]),
        ),
        (
            "/search",
            {"boost": [{"field": "n", "weight": 1, "scale": 1, "origin": "soon"}]},
            (422, ["boost.0"]),
        ),
        (
            "/search",
            {"boost": [{"field": "n", "weight": 1, "scale": 0}]},
            (422, ["boost.0.scale"]),
        ),
        (
            "/search",
            {"boost": [{"field": "n", "weight": 1, "values": [1], "n": 1}]},
            (422, ["boost.0.n"]),
        ),
    ],
)
def test_what_is_beyond_a_limit_is_refused_by_its_field(
    server: Server, path: str, body: dict[str, Any], expected: tuple[int, list[str]]
) -> None:
    status, code, fields = refused(server.ask(path=path, **body))
    assert (status, fields) == expected
    assert code == ("not_found" if status == 404 else "invalid_request")


def test_a_batch_names_no_collections(server: Server) -> None:
    queries = [{"query": "a"}, {"query": "a", "collections": ["main"]}]
    answer = server.client.post(
        "/search/batch", headers={"X-API-Key": ADMIN}, json={"queries": queries}
    )
    assert refused(answer) == (422, "invalid_request", ["queries.1.collections"])


def test_a_key_may_search_its_own_collections_together(server: Server) -> None:
    key = server.key("some", collections=("articles", "latest"))
    assert server.found(key, collections=["latest"])["hits"]
    for names in (["articles", "secret"], ["secret"], ["nothing"], ["main"]):
        assert refused(server.ask(key, collections=names))[:2] == (403, "forbidden")
    assert server.ask(key).status_code == 403
    server.file.revoke("some")


def test_each_collection_counts_for_the_rate_of_a_key(server: Server) -> None:
    key = server.key("slow", limits={"rate": 0.01, "burst": 3})
    assert server.ask(key, collections=["main", "articles", "secret"]).status_code == 200
    assert refused(server.ask(key))[:2] == (429, "overloaded")
    server.file.revoke("slow")
