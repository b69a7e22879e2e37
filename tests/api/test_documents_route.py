"""`/documents` over a real store and a live index; texts become vectors by hashing their words."""

import json
import threading
import unicodedata
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote

import pytest
from fastapi.testclient import TestClient
from httpx import Response

from service.api.app import create_app
from service.confidence.judge import Judge, Thresholds
from service.engine.engine import Engine
from service.errors import DeadlineError, StoreError, StoreFullError
from service.scheduling.gate import Limits
from service.search.searcher import Searcher
from service.search.second_stage import SecondStage
from service.settings import Settings
from service.store.data_folder import DataFolder
from tests.fixtures.doubles import HashEncoder
from tests.fixtures.live import engine_of, retriever_of

TEXT = "The tide rises twice a day because the moon pulls at the sea."
WAIT = {"wait": "true"}


class Gated(HashEncoder):
    """Encodes passages while the gate is open."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.open.set()
        self.encoded: list[str] = []

    def encode_passages(self, texts):
        assert self.open.wait(30)
        self.encoded += texts
        return super().encode_passages(texts)


@pytest.fixture(scope="module")
def encoder() -> Gated:
    return Gated()


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory, encoder: Gated) -> Iterator[Engine]:
    folder = DataFolder.open(tmp_path_factory.mktemp("data"))
    folder.store.set_identity(encoder.identity)
    judge = Judge(encoder.identity, None, None, Thresholds())
    searcher = Searcher(
        encoder, retriever_of(folder), SecondStage(None, judge, 8), Limits(2000, 64, 30_000)
    )
    with engine_of(folder, searcher) as engine:
        engine.collection().indexer.start()
        yield engine


@pytest.fixture(scope="module")
def server(engine: Engine) -> Iterator[TestClient]:
    class Borrowed:
        def __getattr__(self, name: str) -> object:
            return getattr(engine, name)

        def close(self) -> None:
            pass

    settings = Settings(max_document_chars=2000, max_documents_body_bytes=20_000_000)
    with TestClient(create_app(settings, Borrowed)) as client:
        while client.get("/readyz").status_code != 200:
            pass
        yield client


@pytest.fixture
def client(server: TestClient, encoder: Gated) -> Iterator[TestClient]:
    """The application, without any document."""
    yield server
    encoder.open.set()
    while ids := [d["id"] for d in server.get("/documents?limit=1000").json()["documents"]]:
        server.post("/documents/delete", json={"ids": ids})


def path_of(id_: str) -> str:
    return f"/documents/{quote(id_, safe='')}"


def put(client: TestClient, id_: str, text: str = TEXT, **rest: object) -> Response:
    return client.put(path_of(id_), json={"text": text, **rest}, params=WAIT)


def put_many(client: TestClient, documents: object, params: object = WAIT) -> dict:
    answer = client.post("/documents", json={"documents": documents}, params=params)
    assert answer.status_code == 200, answer.text
    return answer.json()


def found(client: TestClient, query: str, prefix: str = "") -> list[str]:
    answer = client.post(f"{prefix}/search", json={"query": query})
    assert answer.status_code == 200, answer.text
    return [hit["id"] for hit in answer.json()["hits"]]


def problem(answer: Response, status: int, code: str, field: str | None = None) -> str:
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert error["code"] == code
    if field:
        assert error["details"][0]["field"] == field
    return error["message"]


# One document


def test_a_document_is_created_read_replaced_and_deleted(client: TestClient) -> None:
    fields = {
        "title": "Tides",
        "text": TEXT,
        "metadata": {"level": 3, "tags": ["sea"]},
        "outline": [{"start": 0, "page": 4, "headings": ["Sea", "Moon"]}],
    }
    created = client.put("/documents/tides", json=fields, params=WAIT)
    assert created.status_code == 201
    version = created.json()["version"]
    assert created.json() == {"id": "tides", "version": version, "indexed": True, "problem": None}
    assert created.headers["ETag"] == f'"{version}"'

    read = client.get("/documents/tides")
    assert read.status_code == 200
    assert read.headers["ETag"] == f'"{version}"'
    assert read.json() == {
        "id": "tides", "version": version, "indexed": True, "problem": None, **fields,
    }  # fmt: skip
    (hit,) = client.post("/search", json={"query": "tide moon"}).json()["hits"]
    assert (hit["id"], hit["page"], hit["headings"]) == ("tides", 4, ["Sea", "Moon"])

    replaced = client.put("/documents/tides", json={"text": "Bees dance."}, params=WAIT)
    assert replaced.status_code == 200
    assert replaced.json()["version"] > version
    read = client.get("/documents/tides").json()
    assert (read["title"], read["text"], read["metadata"]) == ("", "Bees dance.", {})
    hit = client.post("/search", json={"query": "bees"}).json()["hits"][0]
    assert hit["text"] == "Bees dance."

    assert client.delete("/documents/tides").status_code == 204
    assert client.delete("/documents/tides").content == b""
    problem(client.get("/documents/tides"), 404, "not_found")
    assert found(client, "bees") == []


def test_sending_the_same_again_changes_nothing(client: TestClient) -> None:
    first = put(client, "a", metadata={"x": 1, "y": 2}).json()
    again = put(client, "a", metadata={"y": 2, "x": 1})
    assert again.status_code == 200
    assert again.json() == first


def test_new_metadata_needs_no_encoding(client: TestClient, encoder: Gated) -> None:
    put(client, "a", metadata={"x": 1})
    encoder.open.clear()
    answer = client.put("/documents/a", json={"text": TEXT, "metadata": {"x": 2}})
    assert answer.json()["indexed"] is True
    hit = client.post("/search", json={"query": "tide", "filters": {"x": 2}}).json()["hits"][0]
    assert hit["metadata"] == {"x": 2}


def test_without_wait_the_answer_comes_before_searches_see_it(
    client: TestClient, encoder: Gated
) -> None:
    encoder.open.clear()
    answer = client.put("/documents/slow", json={"text": TEXT})
    assert (answer.status_code, answer.json()["indexed"]) == (201, False)
    assert client.get("/documents/slow").json()["indexed"] is False
    assert found(client, "tide") == []
    encoder.open.set()
    seen = client.put("/documents/slow", json={"text": TEXT}, params=WAIT)
    assert (seen.status_code, seen.json()["indexed"]) == (200, True)
    assert found(client, "tide") == ["slow"]


def test_a_wait_ends_with_its_time_and_the_document_is_stored(
    client: TestClient, encoder: Gated
) -> None:
    encoder.open.clear()
    answer = client.put(
        "/documents/slow", json={"text": TEXT}, params={"wait": "true", "timeout_ms": 50}
    )
    assert (answer.status_code, answer.json()["indexed"]) == (201, False)
    many = put_many(client, [{"id": "b", "text": TEXT}], {"wait": "true", "timeout_ms": 50})
    assert (many["accepted"], many["indexed"]) == (1, False)
    assert client.get("/documents/slow").json()["text"] == TEXT


@pytest.mark.parametrize("params", [{}, WAIT])
def test_a_stored_write_is_answered_even_if_nothing_can_be_read_in_time(
    client: TestClient, engine: Engine, monkeypatch: pytest.MonkeyPatch, params: dict[str, str]
) -> None:
    async def too_late(*_given: object) -> object:
        raise DeadlineError("the time allowed ran out")

    with monkeypatch.context() as busy:
        busy.setattr(engine.collection().documents._reader, "run", too_late)
        answer = client.put("/documents/busy", json={"text": TEXT}, params=params)
        assert (answer.status_code, answer.json()["indexed"]) == (201, False)
        assert put_many(client, [{"id": "b", "text": TEXT}], params)["indexed"] is False
    assert client.get("/documents/busy").json()["text"] == TEXT


def test_one_document_does_not_wait_behind_a_thousand(client: TestClient, encoder: Gated) -> None:
    encoder.open.clear()
    encoder.encoded.clear()
    put_many(client, [{"id": f"{n}", "text": f"number {n}"} for n in range(1000)], {})
    assert client.put("/documents/late", json={"text": "I am late"}).json()["indexed"] is False
    encoder.open.set()
    assert put(client, "late", "I am late").json()["indexed"] is True
    # Behind the batch under way, that is.
    assert encoder.encoded.index("I am late") < 64
    assert put_many(client, [{"id": "999", "text": "number 999"}])["indexed"] is True


def test_a_text_that_cannot_be_searched_is_stored_and_says_why(client: TestClient) -> None:
    answer = put(client, "invisible", "\u200b\u2060").json()
    assert answer["indexed"] is False
    assert "nothing is left" in answer["problem"]
    assert client.get("/documents/invisible").json()["problem"] == answer["problem"]


@pytest.mark.parametrize(
    "id_",
    [
        "a/b", "/a", "a//b/", "50%", "a b", " a ", "?x=1#y", "Đạo hàm", "日本", "🦊",
        "delete", "bulk", "..", ".", "a/../b", "\\", '"', "x" * 512,
    ],
)  # fmt: skip
def test_ids_of_every_kind_are_kept(client: TestClient, id_: str) -> None:
    path = path_of(id_).replace(".", "%2E")
    assert client.put(path, json={"text": TEXT}, params=WAIT).json()["id"] == id_
    assert client.get(path).json()["id"] == id_
    assert found(client, "tide") == [id_]
    assert client.get("/documents").json()["documents"][0]["id"] == id_
    assert client.delete(path).status_code == 204
    assert client.get(path).status_code == 404


def test_a_slash_may_stand_in_the_path_as_it_is(client: TestClient) -> None:
    put(client, "a/b")
    assert client.get("/documents/a/b").json()["id"] == "a/b"


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("/documents/a%00b", "control character"),
        ("/documents/a%0Ab", "control character"),
        ("/documents/%20", "is empty"),
        ("/documents/" + "x" * 513, "512"),
        ("/documents/%FF", "UTF-8"),
        ("/documents/%ED%A0%80", "UTF-8"),
    ],
)
def test_ids_that_cannot_be_are_refused(client: TestClient, path: str, why: str) -> None:
    for answer in (
        client.put(path, json={"text": TEXT}),
        client.get(path),
        client.delete(path),
    ):
        assert why in problem(answer, 422, "invalid_request", "id")


@pytest.mark.parametrize(
    ("body", "field", "why"),
    [
        ({}, "text", "is missing"),
        ({"text": ""}, "text", "is empty"),
        ({"text": " \n"}, "text", "is empty"),
        ({"text": 7}, "text", "must be a string"),
        ({"text": None}, "text", "must be a string"),
        ({"text": "x" * 2001}, "text", "2000"),
        ({"text": "a\ud800"}, "text", "Unicode"),
        ({"text": "a", "title": 1}, "title", "must be a string"),
        ({"text": "a", "title": "x" * 2001}, "title", "2000"),
        ({"text": "a", "id": "b"}, "id", "path"),
        ({"text": "a", "metadata": []}, "metadata", "object"),
        ({"text": "a", "metadata": {f"f{i}": 1 for i in range(65)}}, "metadata", "64"),
        ({"text": "a", "metadata": {"x" * 129: 1}}, "metadata", "128"),
        ({"text": "a", "metadata": {"": 1}}, "metadata", "128"),
        ({"text": "a", "metadata": {"a\ud800": 1}}, "metadata", "Unicode"),
        ({"text": "a", "metadata": {"n": {}}}, "metadata.n", "list of strings"),
        ({"text": "a", "metadata": {"n": [1]}}, "metadata.n", "list of strings"),
        ({"text": "a", "metadata": {"n": 2**63}}, "metadata.n", "64 bits"),
        ({"text": "a", "metadata": {"n": float("nan")}}, "metadata.n", "finite"),
        ({"text": "a", "metadata": {"n": "x" * 10_001}}, "metadata.n", "10000"),
        ({"text": "a", "metadata": {"n": ["x"] * 1001}}, "metadata.n", "1000"),
        (
            {"text": "a", "metadata": {f"f{i}": "x" * 10_000 for i in range(11)}},
            "metadata",
            "100000",
        ),
        ({"text": "a", "colour": 1}, "colour", "not a field"),
        ({"text": "a", "\ud800": 1}, "?", "not a field"),
        ([], "document", "object"),
        ("text", "document", "object"),
    ],
)
def test_each_wrong_field_is_named_with_its_limit(
    client: TestClient, body: object, field: str, why: str
) -> None:
    content = json.dumps(body)
    answer = client.put(
        "/documents/a", content=content, headers={"content-type": "application/json"}
    )
    assert why in problem(answer, 422, "invalid_request", field)
    assert client.get("/documents/a").status_code == 404
    if isinstance(body, dict):
        batch = json.dumps({"documents": [{"id": "a", **body}]})
        answer = client.post(
            "/documents", content=batch, headers={"content-type": "application/json"}
        )
        if field != "id":
            (refused,) = answer.json()["refused"]
            assert why in refused["error"]
            assert refused["error"].startswith(field)


@pytest.mark.parametrize("content", ["", "{", "[" * 100_000, b"\xff", '{"text": ' + "9" * 5000])
def test_what_is_no_json_is_refused(client: TestClient, content: str | bytes) -> None:
    headers = {"content-type": "application/json"}
    for method, path in (("PUT", "/documents/a"), ("POST", "/documents")):
        answer = client.request(method, path, content=content, headers=headers)
        problem(answer, 422, "invalid_request", "body")


def test_a_body_must_be_declared_json(client: TestClient) -> None:
    answer = client.put("/documents/a", content=b"{}", headers={"content-type": "text/plain"})
    problem(answer, 415, "unsupported_media_type")


def test_documents_may_be_longer_than_other_bodies(client: TestClient) -> None:
    spaces = " " * 2_000_000
    body = f'{{"documents": [{spaces}{{"id": "a", "text": "short"}}]}}'
    headers = {"content-type": "application/json"}
    assert client.post("/documents", content=body, headers=headers).json()["accepted"] == 1
    again = client.post("/collections/default/documents", content=body, headers=headers)
    assert again.json()["accepted"] == 1
    message = problem(client.post("/search", content=body, headers=headers), 413, "body_too_large")
    assert "1048576" in message
    long = client.post("/documents", content=b" " * 20_000_001, headers=headers)
    assert "20000000" in problem(long, 413, "body_too_large")


# Versions


def test_conditions_on_writes(client: TestClient) -> None:
    def send(headers: dict[str, str], text: str) -> Response:
        return client.put("/documents/a", json={"text": text}, headers=headers)

    for missing in ({"If-Match": "*"}, {"If-Match": '"1"'}):
        assert "no such document" in problem(send(missing, "zero"), 412, "precondition_failed")
    assert client.get("/documents/a").status_code == 404

    one = send({"If-None-Match": "*"}, "one")
    assert one.status_code == 201
    message = problem(send({"If-None-Match": "*"}, "two"), 412, "precondition_failed")
    assert str(one.json()["version"]) in message
    two = send({"If-Match": one.headers["ETag"]}, "two")
    assert two.status_code == 200
    problem(send({"If-Match": one.headers["ETag"]}, "three"), 412, "precondition_failed")
    problem(send({"If-Match": f"W/{two.headers['ETag']}"}, "three"), 412, "precondition_failed")
    problem(send({"If-None-Match": f"W/{two.headers['ETag']}"}, "3"), 412, "precondition_failed")
    assert client.get("/documents/a").json()["text"] == "two"
    assert send({"If-Match": f'"1", {two.headers["ETag"]}'}, "three").status_code == 200
    assert send({"If-Match": "*"}, "four").status_code == 200


def test_conditions_on_deletes(client: TestClient) -> None:
    tag = put(client, "a").headers["ETag"]
    problem(client.delete("/documents/a", headers={"If-Match": '"0"'}), 412, "precondition_failed")
    assert client.get("/documents/a").status_code == 200
    assert client.delete("/documents/a", headers={"If-Match": tag}).status_code == 204
    problem(client.delete("/documents/a", headers={"If-Match": tag}), 412, "precondition_failed")


def test_a_version_that_is_known_is_not_sent_again(client: TestClient) -> None:
    tag = put(client, "a").headers["ETag"]
    for known in (tag, f"W/{tag}", f'"0", {tag}', "*"):
        answer = client.get("/documents/a", headers={"If-None-Match": known})
        assert (answer.status_code, answer.content) == (304, b"")
        assert answer.headers["ETag"] == tag
    assert client.get("/documents/a", headers={"If-None-Match": '"0"'}).status_code == 200


@pytest.mark.parametrize("header", ["", "7", '"7', '"a" "b"', "* , *", ",", '"a",', "W/*"])
def test_conditions_that_say_nothing_are_refused(client: TestClient, header: str) -> None:
    for name in ("If-Match", "If-None-Match"):
        answer = client.put("/documents/a", json={"text": TEXT}, headers={name: header})
        problem(answer, 422, "invalid_request", name)


# Many documents


def test_good_documents_are_stored_and_bad_ones_told(client: TestClient) -> None:
    body = put_many(
        client,
        [
            {"id": "good", "text": TEXT},
            {"id": "empty", "text": ""},
            {"text": "no id"},
            7,
            {"id": "year", "text": "x", "metadata": {"year": [2024]}},
            {"id": "a\u0000b", "text": "x"},
            {"id": 12, "text": "an integer"},
        ],
    )
    assert body == {
        "accepted": 2,
        "refused": [
            {"index": 1, "id": "empty", "error": "text is empty"},
            {"index": 2, "id": None, "error": "id is missing"},
            {"index": 3, "id": None, "error": "document must be an object"},
            {
                "index": 4,
                "id": "year",
                "error": "metadata.year must be a string, a finite number within 64 bits, true, "
                "false, null or a list of strings",
            },
            {"index": 5, "id": None, "error": "id holds a control character"},
        ],
        "replaced": [],
        "indexed": True,
    }
    assert sorted(found(client, "tide integer")) == ["12", "good"]


def test_the_last_document_of_an_id_counts(client: TestClient) -> None:
    body = put_many(
        client,
        [
            {"id": "a", "text": "first"},
            {"id": "b", "text": "other"},
            {"id": "a", "text": "second"},
            {"id": "a", "text": "third"},
            {"id": "a", "text": ""},
        ],
    )
    assert body["accepted"] == 2
    assert body["replaced"] == [
        {"index": 0, "id": "a", "by": 3},
        {"index": 2, "id": "a", "by": 3},
    ]
    assert [refused["index"] for refused in body["refused"]] == [4]
    assert client.get("/documents/a").json()["text"] == "third"


def test_where_all_are_refused_nothing_is_stored(client: TestClient) -> None:
    body = put_many(client, [{"id": "a"}, None])
    assert (body["accepted"], len(body["refused"]), body["indexed"]) == (0, 2, True)
    assert client.get("/documents").json() == {"documents": [], "cursor": None}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "documents"),
        ({"documents": []}, "documents"),
        ({"documents": {}}, "documents"),
        ({"documents": [{"id": "a", "text": "x"}] * 1001}, "documents"),
        ({"documents": [{"id": "a", "text": "x"}], "more": 1}, "more"),
    ],
)
def test_requests_that_cannot_be_are_refused(
    client: TestClient, body: dict[str, object], field: str
) -> None:
    problem(client.post("/documents", json=body), 422, "invalid_request", field)
    assert client.get("/documents").json()["documents"] == []


def test_a_thousand_documents_are_listed_in_pages(client: TestClient) -> None:
    documents = [
        {"id": f"é{n:04d}", "text": f"number {n}", "metadata": {"even": n % 2 == 0}}
        for n in range(1000)
    ]
    assert put_many(client, documents, {})["accepted"] == 1000

    def pages(**params: object) -> list[list[str]]:
        got: list[list[str]] = []
        cursor = None
        while True:
            asked = {**params, **({"cursor": cursor} if cursor else {})}
            body = client.get("/documents", params=asked).json()
            got.append([document["id"] for document in body["documents"]])
            cursor = body["cursor"]
            if cursor is None:
                return got

    ids = [document["id"] for document in documents]
    assert [len(page) for page in pages(limit=300)] == [300, 300, 300, 100]
    assert [id_ for page in pages(limit=500) for id_ in page] == ids
    assert [len(page) for page in pages(limit=1000)] == [1000]
    assert len(pages()[0]) == 100
    even = json.dumps({"even": True})
    assert pages(filters=even, limit=400) == [ids[0:800:2], ids[800::2]]


def test_a_page_of_long_documents_is_short(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.write.document_writes._PAGE_CHARS", 2500)
    put_many(client, [{"id": f"{n}", "text": "x" * 1000} for n in range(5)])
    first = client.get("/documents").json()
    assert [document["id"] for document in first["documents"]] == ["0", "1"]
    rest = client.get("/documents", params={"cursor": first["cursor"], "limit": 1}).json()
    assert [document["id"] for document in rest["documents"]] == ["2"]


def test_titles_and_metadata_count_for_the_length_of_a_page(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.write.document_writes._PAGE_CHARS", 2500)
    note = {"note": "x" * 600}
    put_many(
        client, [{"id": f"{n}", "text": TEXT, "title": "y" * 300, "metadata": note} for n in "0123"]
    )
    page = client.get("/documents").json()
    assert [document["id"] for document in page["documents"]] == ["0", "1"]


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"limit": 0}, "limit"),
        ({"limit": 1001}, "limit"),
        ({"limit": "many"}, "limit"),
        ({"cursor": "?"}, "cursor"),
        ({"cursor": "é"}, "cursor"),
        ({"cursor": "/w=="}, "cursor"),
        ({"filters": "{"}, "filters"),
        ({"filters": "[]"}, "filters"),
        ({"filters": "[" * 20_000}, "filters"),
        ({"filters": '{"a": {"near": 1}}'}, "filters.a.near"),
    ],
)
def test_wrong_parameters_of_a_page_are_named(
    client: TestClient, params: dict[str, object], field: str
) -> None:
    answer = client.get("/documents", params=params)
    problem(answer, 422, "invalid_request", field)


def test_deleting_by_ids(client: TestClient) -> None:
    put_many(client, [{"id": str(n), "text": TEXT} for n in range(4)])
    answer = client.post("/documents/delete", json={"ids": ["0", 1, "1", "gone"]})
    assert (answer.status_code, answer.json()) == (200, {"deleted": 2})
    assert sorted(found(client, "tide")) == ["2", "3"]


def test_deleting_by_filters(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.write.document_writes._DELETED_TOGETHER", 3)
    put_many(client, [{"id": str(n), "text": TEXT, "metadata": {"old": n < 7}} for n in range(10)])
    answer = client.post("/documents/delete", json={"filters": {"old": True}})
    assert answer.json() == {"deleted": 7}
    assert sorted(found(client, "tide")) == ["7", "8", "9"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "body"),
        ({"ids": ["a"], "filters": {"x": 1}}, "body"),
        ({"ids": []}, "ids"),
        ({"ids": ["a"] * 1001}, "ids"),
        ({"ids": ["a", "b\u0000"]}, "ids.1"),
        ({"ids": [True]}, "ids"),
        ({"filters": {}}, "filters"),
        ({"filters": {"a": {"near": 1}}}, "filters"),
    ],
)
def test_deletions_that_cannot_be_are_refused(
    client: TestClient, body: dict[str, object], field: str
) -> None:
    put(client, "a", metadata={"x": 1})
    answer = client.post("/documents/delete", json=body)
    problem(answer, 422, "invalid_request")
    assert answer.json()["error"]["details"][0]["field"].startswith(field)
    assert client.get("/documents/a").status_code == 200


# Collections, failures, what is told


def test_a_collection_by_name_or_alias_is_the_same(client: TestClient) -> None:
    for name in ("default", "main"):
        prefix = f"/collections/{name}"
        answer = client.put(f"{prefix}/documents/a/{name}", json={"text": TEXT}, params=WAIT)
        assert (answer.status_code, answer.json()["id"]) == (201, f"a/{name}")
        assert client.get(f"/documents/a/{name}").status_code == 200
        assert f"a/{name}" in found(client, "tide", prefix)
    assert len(client.get("/collections/main/documents").json()["documents"]) == 2


@pytest.mark.parametrize("path", ["documents", "documents/a", "search"])
def test_a_collection_that_is_not_there(client: TestClient, path: str) -> None:
    for name in ("none", "a%00", "Main"):
        method = "POST" if path == "search" else "GET"
        json_body = {"query": "a"} if path == "search" else None
        answer = client.request(method, f"/collections/{name}/{path}", json=json_body)
        problem(answer, 404, "not_found")


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (StoreFullError("cannot use /srv/data/store.db: the disk is full"), 507, "disk_full"),
        (StoreError("cannot use /srv/data/store.db: read-only"), 503, "store_failed"),
    ],
)
def test_a_failing_store_is_told_to_the_log_alone(
    client: TestClient,
    engine: Engine,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: StoreError,
    status: int,
    code: str,
) -> None:
    put(client, "kept")

    def fail(*_: object) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(type(engine.folder.store), "stage", fail)
        patch.setattr(type(engine.folder.store), "delete", fail)
        answers = [
            client.put("/documents/a", json={"text": TEXT}),
            client.post("/documents", json={"documents": [{"id": "a", "text": TEXT}]}),
            client.delete("/documents/kept"),
            client.post("/documents/delete", json={"ids": ["kept"]}),
        ]
        assert found(client, "tide") == ["kept"]
    for answer in answers:
        problem(answer, status, code)
        assert "srv" not in answer.text
        assert f"{answer.headers['X-Request-ID']} failed: {error}" in caplog.text


def test_more_writes_than_the_server_takes_are_told_to_come_again(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client.app.state.server.writes, "_limit", 0)
    for answer in (
        client.put("/documents/a", json={"text": TEXT}),
        client.post("/documents", json={"documents": [{"id": "a", "text": TEXT}]}),
        client.delete("/documents/a"),
    ):
        problem(answer, 429, "overloaded")
        assert int(answer.headers["Retry-After"]) >= 1
    assert client.get("/documents/a").status_code == 404


def test_who_waits_for_the_index_holds_no_permit(client: TestClient, encoder: Gated) -> None:
    gate = client.app.state.server.writes
    encoder.open.clear()
    for ask in (
        lambda: put(client, "a"),
        lambda: client.post(
            "/documents", json={"documents": [{"id": "b", "text": TEXT}]}, params=WAIT
        ),
    ):
        there = client.get("/documents").json()["documents"]
        with ThreadPoolExecutor() as pool:
            answer = pool.submit(ask)
            while client.get("/documents").json()["documents"] == there:
                pass
            while gate.in_flight:
                assert not answer.done()
            assert not answer.done()
            encoder.open.set()
            assert answer.result().status_code in {200, 201}
        encoder.open.clear()


def test_more_reads_than_the_server_takes_are_told_to_come_again(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(client, "a")
    with monkeypatch.context() as patch:
        patch.setattr(client.app.state.server.reads, "_limit", 0)
        for path in ("/documents", "/documents/a"):
            problem(client.get(path), 429, "overloaded")
    assert client.get("/documents/a").status_code == 200
    assert client.app.state.server.reads.in_flight == 0


def test_a_permit_is_given_back_whatever_happens(client: TestClient) -> None:
    put(client, "a")
    client.put("/documents/a", json={"text": ""})
    client.put("/documents/a", json={"text": "x"}, headers={"If-Match": '"0"'})
    assert client.app.state.server.writes.in_flight == 0


def test_a_body_that_is_no_json_is_told_where(client: TestClient) -> None:
    answer = client.post(
        "/documents",
        content=b'{"documents": [\n  {"id": "a", "text": "s3cret" "title": 3}]}',
        headers={"content-type": "application/json"},
    )
    problem(answer, 422, "invalid_request", "body")
    message = answer.json()["error"]["details"][0]["message"]
    assert message == "not valid JSON: Expecting ',' delimiter: line 2 column 32 (char 47)"
    assert "s3cret" not in answer.text


@pytest.mark.parametrize("body", [{"id": "a", "text": TEXT}, [{"id": "a", "text": TEXT}]])
def test_bare_documents_are_told_where_they_go(client: TestClient, body: object) -> None:
    answer = client.post("/documents", json=body)
    problem(answer, 422, "invalid_request", "body")
    assert '{"documents": [...]}' in answer.json()["error"]["details"][0]["message"]


def test_texts_and_ids_are_never_logged(
    client: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", logger="service")
    put(client, "s3cret-id", "s3cret-text")
    client.put("/documents/s3cret-id", json={"text": "s3cret-text", "metadata": {"n": []}})
    client.put("/documents/s3cret-id", json={"text": "s3cret-text", "x": "s3cret"})
    put_many(client, [{"id": "s3cret-id", "text": "s3cret-text", "metadata": "s3cret"}])
    client.delete("/documents/s3cret-id")
    assert "/documents/{id:rest}" in caplog.text
    assert "s3cret" not in caplog.text
    text = client.get("/metrics").text
    assert "s3cret" not in text
    assert 'path="/documents/{id:rest}",status="204"' in text
    assert 'secondpass_documents_written_total{operation="stored"}' in text


def test_openapi_describes_both_ways_to_each_path(client: TestClient) -> None:
    spec = client.get("/openapi.json").json()
    for path in ("/documents", "/documents/{id}", "/documents/delete", "/search"):
        plain, named = spec["paths"][path], spec["paths"][f"/collections/{{name}}{path}"]
        assert set(plain) == set(named)
        for method, operation in plain.items():
            assert operation["summary"]
            assert {"401", "413", "422", "429", "500", "503", "504"} <= set(operation["responses"])
            names = {p["name"] for p in named[method]["parameters"]}
            assert names == {"name", *(p["name"] for p in operation.get("parameters", []))}
            assert all(p.get("description") for p in named[method]["parameters"])
            assert "404" in named[method]["responses"]
    writes = spec["paths"]["/documents/{id}"]["put"]
    assert {"200", "201", "412", "507"} <= set(writes["responses"])
    assert "ETag" in writes["responses"]["201"]["headers"]
    assert {"If-Match", "If-None-Match", "id", "wait", "timeout_ms"} == {
        parameter["name"] for parameter in writes["parameters"]
    }
    schemas = spec["components"]["schemas"]
    many = schemas["DocumentsRequest"]["properties"]["documents"]
    assert many["items"] == {"$ref": "#/components/schemas/IdentifiedDocumentBody"}
    several = schemas["IdentifiedDocumentBody"]
    assert (many["minItems"], many["maxItems"]) == (1, 1000)
    body = writes["requestBody"]["content"]["application/json"]["schema"]
    assert body == {"$ref": "#/components/schemas/DocumentBody"}
    one = schemas["DocumentBody"]
    assert several["required"] == ["id", "text"]
    assert one["required"] == ["text"]
    for body in (several, one):
        assert body["additionalProperties"] is False
        assert body["examples"]
        assert set(body["properties"]) == {"id", "title", "text", "metadata", "outline"}
        assert all(about["description"] for about in body["properties"].values())
    for name, schema in schemas.items():
        for field, about in schema.get("properties", {}).items():
            assert about.get("description") or "$ref" in about, f"{name}.{field}"


def test_filters_compare_metadata_in_whatever_code_points(client: TestClient) -> None:
    composed, apart = "Huế", unicodedata.normalize("NFD", "Huế")
    sent = {"city": apart, apart: [apart, "x"]}
    body = {"text": TEXT, "metadata": sent}
    assert client.put("/documents/hue", params=WAIT, json=body).status_code == 201
    for filters in ({"city": composed}, {composed: composed}, {apart: ["y", composed]}):
        answer = client.post("/search", json={"query": "tide", "filters": filters})
        assert [hit["metadata"] for hit in answer.json()["hits"]] == [sent]
        listed = client.get("/documents", params={"filters": json.dumps(filters)}).json()
        assert [document["id"] for document in listed["documents"]] == ["hue"]
    answer = client.post("/documents/delete", json={"filters": {"city": composed}})
    assert answer.json() == {"deleted": 1}
