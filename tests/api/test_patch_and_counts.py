"""`PATCH /documents/{id}`, `POST /documents/count` and `GET /fields` over a live index."""

from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from service.api.app import create_app
from tests.fixtures.hash_models import hash_settings, open_hash_engine

ROWS = [
    {"id": "moon", "text": "The tide rises.", "metadata": {"topic": "sea", "level": 1}},
    {"id": "boat", "text": "A boat floats.", "metadata": {"topic": "sea", "tags": ["a", "b"]}},
    {"id": "bread", "text": "Dough rises.", "metadata": {"topic": "food", "day": "2026-01-02"}},
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    settings = hash_settings(tmp_path_factory.mktemp("data"))
    with TestClient(create_app(settings, lambda: open_hash_engine(settings))) as client:
        while client.get("/readyz").status_code != 200:
            pass
        yield client


@pytest.fixture
def client(server: TestClient) -> TestClient:
    answer = server.post("/documents?wait=true", json={"documents": ROWS})
    assert answer.json()["indexed"]
    return server


@pytest.mark.parametrize("prefix", ["", "/collections/main"])
def test_a_patched_document_is_found_by_its_new_metadata_at_once(
    client: TestClient, prefix: str
) -> None:
    path = f"{prefix}/documents/moon"
    old = client.get(path).json()
    answer = client.patch(path, json={"metadata": {"level": None, "note": "x"}})
    assert answer.status_code == 200, answer.text
    assert answer.json() == {
        "id": "moon",
        "version": answer.json()["version"],
        "indexed": True,
        "problem": None,
    }
    assert answer.headers["ETag"] == f'"{answer.json()["version"]}"'
    assert answer.json()["version"] > old["version"]
    new = client.get(path).json()
    assert new["metadata"] == {"topic": "sea", "note": "x"}
    assert new["text"] == old["text"]
    body = {"query": "tide", "filters": {"note": "x"}}
    (hit,) = client.post(f"{prefix}/search", json=body).json()["hits"]
    assert (hit["id"], hit["metadata"]) == ("moon", new["metadata"])


def test_a_patch_takes_conditions_and_the_type_of_merge_patches(client: TestClient) -> None:
    version = client.get("/documents/moon").json()["version"]
    sent = {"content": b'{"metadata": {"a": 1}}'}
    kind = {"Content-Type": "application/merge-patch+json"}
    stale = client.patch("/documents/moon", headers=kind | {"If-Match": '"0"'}, **sent)
    assert stale.status_code == 412
    fresh = client.patch("/documents/moon", headers=kind | {"If-Match": f'"{version}"'}, **sent)
    assert fresh.status_code == 200
    assert client.patch("/documents/none", headers=kind, **sent).status_code == 404
    text = client.patch("/documents/moon", headers={"Content-Type": "text/plain"}, **sent)
    assert text.status_code == 415


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"metadata": {"a": {"b": 1}}}, "metadata.a"),
        ({"metadata": {f"f{n}": n for n in range(65)}}, "metadata"),
        ({"metadata": {"x" * 129: 1}}, "metadata"),
        ({"metadata": None}, "metadata"),
        ({"metadata": {}, "text": "new"}, "text"),
        ({}, "metadata"),
    ],
)
def test_what_is_no_patch_is_refused(client: TestClient, body: object, field: str) -> None:
    before = client.get("/documents/moon").json()
    answer = client.patch("/documents/moon", json=body)
    assert answer.status_code == 422, answer.text
    assert [one["field"] for one in answer.json()["error"]["details"]] == [field]
    assert client.get("/documents/moon").json() == before


def test_documents_are_counted_under_a_filter(client: TestClient) -> None:
    assert client.post("/documents/count", json={}).json() == {"documents": 3}
    body = {"filters": {"topic": "sea"}}
    assert client.post("/documents/count", json=body).json() == {"documents": 2}
    answer = client.post("/documents/count", json={"filters": {"a": {"b": 1}}})
    assert answer.status_code == 422
    assert client.put("/documents/count", json={"text": "x"}).status_code == 201  # an id like any
    client.delete("/documents/count")


@pytest.mark.parametrize("prefix", ["", "/collections/main"])
def test_fields_are_listed_with_their_types(client: TestClient, prefix: str) -> None:
    body = client.get(f"{prefix}/fields").json()
    assert body == {
        "fields": [
            {"name": "day", "types": {"date": 1, "text": 1}},
            {"name": "level", "types": {"number": 1}},
            {"name": "tags", "types": {"text": 1}},
            {"name": "topic", "types": {"text": 3}},
        ],
        "more": False,
    }
    few = client.get(f"{prefix}/fields?limit=1").json()
    assert [one["name"] for one in few["fields"]] == ["day"]
    assert few["more"] is True
    sea = client.get(f"{prefix}/fields", params={"filters": '{"topic": "sea"}'}).json()
    assert [one["name"] for one in sea["fields"]] == ["level", "tags", "topic"]
    assert client.get(f"{prefix}/fields?limit=1001").status_code == 422


def test_a_count_that_takes_too_long_is_a_504(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.store.value_counts._STEPS", 1)
    monkeypatch.setattr("service.store.value_counts.time.monotonic", iter(range(9**9)).__next__)
    assert client.get("/fields").status_code == 504
