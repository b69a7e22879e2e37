"""Documents through both clients, against a real server on the loopback."""

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

import secondpass_client as clients
from secondpass_client import (
    AsyncSearchClient,
    ConnectionFailedError,
    InvalidRequestError,
    NotFoundError,
    PreconditionFailedError,
    RefusedDocument,
    ReplacedDocument,
    SearchClient,
    SearchError,
)
from secondpass_client import documents as requests
from service.api.app import create_app
from service.api.schemas import document_schemas as wire
from tests.fixtures.hash_models import hash_settings, open_hash_engine
from tests.fixtures.loopback import serving

TEXT = "The tide rises twice a day because the moon pulls at the sea."


class AsyncBehindLoop:
    """`AsyncSearchClient`, each call run to its end, so that one test serves both clients."""

    def __init__(self, url: str, **options: Any) -> None:
        self._runner = asyncio.Runner()
        self._client = AsyncSearchClient(url, **options)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._client, name)
        if name == "documents":
            return lambda *args, **named: self._runner.run(_all(method(*args, **named)))
        return lambda *args, **named: self._runner.run(method(*args, **named))

    def close(self) -> None:
        self._runner.run(self._client.aclose())
        self._runner.close()


async def _all(iterator: Any) -> Any:
    return iter([item async for item in iterator])


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    settings = hash_settings(tmp_path_factory.mktemp("data"), max_document_chars=100_000)
    with serving(create_app(settings, lambda: open_hash_engine(settings))) as url:
        yield url


@pytest.fixture(params=[SearchClient, AsyncBehindLoop])
def client(request: pytest.FixtureRequest, url: str) -> Iterator[Any]:
    """Each client in turn, and no document."""
    client = request.param(url, retries=0)
    yield client
    while ids := [document.id for document in client.documents(page_size=1000)]:
        client.delete_documents(ids)
    client.close()


def found(client: Any, query: str) -> list[str]:
    return [hit.id for hit in client.search(query).hits]


def test_a_document_is_put_read_searched_and_deleted(client: Any) -> None:
    document = {"id": "tides", "title": "Tides", "text": TEXT, "metadata": {"level": 3}}
    written = client.put_document(document, wait=True)
    assert (written.id, written.created, written.indexed) == ("tides", True, True)
    stored = client.get_document("tides")
    assert (stored.title, stored.text, stored.metadata) == ("Tides", TEXT, {"level": 3})
    assert (stored.version, stored.indexed, stored.problem) == (written.version, True, None)
    assert found(client, "tide moon") == ["tides"]
    assert client.put_document(document, wait=True).created is False
    client.delete_document("tides")
    client.delete_document("tides")
    assert found(client, "tide moon") == []
    with pytest.raises(NotFoundError):
        client.get_document("tides")


@pytest.mark.parametrize(
    "id_",
    [
        "%2F", "50%", "%", "a/b", "/", "//a//", ".", "..", "a/../b", "./a", "?a=b", "#", "a b",
        " a ", "+", "Đạo hàm", "日本", "🦊", "delete", "bulk", "\\", ";", "x" * 512, "ü" * 512,
    ],
)  # fmt: skip
def test_ids_of_every_kind_come_back(client: Any, id_: str) -> None:
    assert client.put_document({"id": id_, "text": TEXT}, wait=True).id == id_
    assert client.get_document(id_).id == id_
    assert [document.id for document in client.documents()] == [id_]
    assert found(client, "tide") == [id_]
    client.delete_document(id_)
    assert list(client.documents()) == []


@pytest.mark.parametrize("id_", ["", " ", "a\0b", "a\n", "\n", "a\x7f", "x" * 513, "\ud800"])
def test_ids_that_cannot_be_are_refused(client: Any, id_: str) -> None:
    for call in (
        lambda: client.put_document({"id": id_, "text": TEXT}),
        lambda: client.get_document(id_),
        lambda: client.delete_document(id_),
    ):
        with pytest.raises(InvalidRequestError) as caught:
            call()
        assert caught.value.details[0]["field"] == "id"
    assert client.put_documents([{"id": id_, "text": TEXT}]).refused[0].error.startswith("id ")
    assert list(client.documents()) == []


def test_a_document_needs_an_id(client: Any) -> None:
    with pytest.raises(ValueError, match="no id"):
        client.put_document({"text": TEXT})
    assert client.put_document({"id": 7, "text": TEXT}).id == "7"


def test_metadata_is_patched_and_counted(client: Any) -> None:
    documents = [
        {"id": "a", "text": TEXT, "metadata": {"level": 1, "topic": "sea"}},
        {"id": "b", "text": TEXT, "metadata": {"level": 2}},
    ]
    client.put_documents(documents, wait=True)
    patched = client.patch_document("a", {"level": None, "note": "x"})
    assert (patched.id, patched.indexed) == ("a", True)
    assert client.get_document("a").metadata == {"topic": "sea", "note": "x"}
    assert client.patch_document("a", {"level": 3}, if_match=patched.version)
    with pytest.raises(PreconditionFailedError):
        client.patch_document("a", {"level": 4}, if_match=patched.version)
    with pytest.raises(NotFoundError):
        client.patch_document("c", {"level": 4})
    assert client.count_documents() == 2
    assert client.count_documents({"level": {"gte": 3}}) == 1
    fields = client.fields(limit=2)
    assert [(field.name, dict(field.types)) for field in fields] == [
        ("level", {"number": 2}),
        ("note", {"text": 1}),
    ]
    assert [field.name for field in client.fields({"level": 2})] == ["level"]
    result = client.search("tide moon", facets=["topic"], highlights=1, explain=True)
    assert result.facets["topic"].missing == 1
    assert result.hits[0].highlights
    assert result.hits[0].explanation.final.rank == 1
    shown = client.search("tide", fields={"include": ["metadata.level"]}).hits[0]
    assert (shown.text, list(shown.metadata)) == (None, ["level"])


def test_conditions(client: Any) -> None:
    one = client.put_document({"id": "a", "text": "one"}, only_new=True)
    with pytest.raises(PreconditionFailedError) as caught:
        client.put_document({"id": "a", "text": "two"}, only_new=True)
    assert (caught.value.status, str(one.version) in caught.value.message) == (412, True)
    two = client.put_document({"id": "a", "text": "two"}, if_match=one.version)
    with pytest.raises(PreconditionFailedError):
        client.put_document({"id": "a", "text": "three"}, if_match=one.version)
    with pytest.raises(PreconditionFailedError):
        client.delete_document("a", if_match=one.version)
    with pytest.raises(PreconditionFailedError):
        client.put_document({"id": "b", "text": "new"}, if_match="*")
    assert client.get_document("a").text == "two"
    client.delete_document("a", if_match=two.version)
    assert list(client.documents()) == []


def test_many_documents_go_in_several_requests(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requests, "MOST_DOCUMENTS", 10)
    documents: list[dict[str, Any]] = [{"id": f"d{n:02}", "text": f"no {n}"} for n in range(25)]
    documents[12]["text"] = ""
    documents[23]["id"] = "d21"
    result = client.put_documents(iter(documents), wait=True)
    assert (result.accepted, result.indexed) == (23, True)
    assert result.refused == [RefusedDocument(12, "d12", "text is empty")]
    assert result.replaced == [ReplacedDocument(21, "d21", by=23)]
    assert client.get_document("d21").text == "no 23"
    stored = [document.id for document in client.documents(page_size=7)]
    assert stored == [f"d{n:02}" for n in range(25) if n not in {12, 23}]
    assert client.delete_documents(iter([*stored[:15], "gone"])) == 15
    assert [document.id for document in client.documents()] == stored[15:]


def test_none_at_all_is_no_request(client: Any) -> None:
    assert client.put_documents([]) == clients.PutResult()
    assert client.delete_documents([]) == 0


def test_what_is_no_unicode_is_refused_by_itself(client: Any) -> None:
    result = client.put_documents([{"id": "a", "text": "x\ud800"}, {"id": "b", "text": TEXT}])
    assert result.accepted == 1
    assert result.refused == [RefusedDocument(0, "a", "text is not valid Unicode (UTF-8)")]
    with pytest.raises(ValueError, match="JSON"):
        client.put_documents([{"id": "a", "text": "x", "metadata": {"n": float("nan")}}])


def test_filters_choose_what_is_listed_and_deleted(client: Any) -> None:
    client.put_documents(
        [{"id": f"{n}", "text": TEXT, "metadata": {"n": n, "名": "é"}} for n in range(9)]
    )
    few = {"n": {"gte": 3, "lt": 6}, "名": "é"}
    assert [document.id for document in client.documents(few, page_size=2)] == ["3", "4", "5"]
    assert client.delete_documents(filters=few) == 3
    assert [document.id for document in client.documents()] == ["0", "1", "2", "6", "7", "8"]
    for wrong in ({}, {"ids": ["0"], "filters": few}):
        with pytest.raises(ValueError, match="either ids or filters"):
            client.delete_documents(**wrong)
    with pytest.raises(InvalidRequestError):
        client.delete_documents(filters={})
    assert len(list(client.documents())) == 6


def test_the_collection_is_the_clients_or_the_calls(client: Any, url: str) -> None:
    client.put_document({"id": "a", "text": TEXT}, collection="main", wait=True)
    assert client.get_document("a", collection="default").id == "a"
    assert client.search("tide", collection="main").hits[0].id == "a"
    for call in (
        lambda: client.get_document("a", collection="none"),
        lambda: client.put_documents([{"id": "a", "text": TEXT}], collection="none"),
        lambda: client.delete_documents(["a"], collection="../main"),
        lambda: client.search("tide", collection="none"),
        lambda: list(client.documents(collection="..")),
    ):
        with pytest.raises(NotFoundError):
            call()
    other = type(client)(url, collection="none", retries=0)
    with pytest.raises(NotFoundError):
        other.get_document("a")
    assert other.get_document("a", collection="main").id == "a"
    other.close()


# What needs no server


def test_bodies_have_at_most_so_many_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "MOST_BYTES", 100)
    documents = [{"id": str(n), "text": "é" * 20} for n in range(4)] + [{"id": "4", "text": "x"}]
    bodies = list(requests.bodies(documents))
    assert [offset for offset, _ in bodies] == [0, 1, 2, 3]
    assert [row for _, body in bodies for row in json.loads(body)["documents"]] == documents
    for _, body in bodies:
        wire.DocumentsRequest.model_validate_json(body)


def test_the_records_have_the_fields_of_the_wire() -> None:
    for record, body in (
        (clients.StoredDocument, wire.StoredDocumentBody),
        (clients.PutResult, wire.DocumentsResponse),
        (clients.RefusedDocument, wire.RefusedBody),
        (clients.ReplacedDocument, wire.ReplacedBody),
    ):
        assert set(record.__slots__) == set(body.model_fields)
    assert set(clients.WrittenDocument.__slots__) == {"created", *wire.WrittenBody.model_fields}


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (409, "conflict", clients.ConflictError),
        (412, "precondition_failed", clients.PreconditionFailedError),
        (503, "store_failed", clients.StoreFailedError),
        (507, "disk_full", clients.DiskFullError),
    ],
)
def test_each_code_has_its_exception(status: int, code: str, kind: type[SearchError]) -> None:
    error = {"code": code, "message": "why", "request_id": "r1"}
    calls = []

    def answer(request: httpx.Request) -> httpx.Response:
        calls.append(request)
        return httpx.Response(status, json={"error": error})

    transport = httpx.MockTransport(answer)
    client = SearchClient("http://search", transport=transport)
    with client, pytest.raises(SearchError) as caught:
        client.get_document("a")
    assert (type(caught.value), caught.value.status, len(calls)) == (kind, status, 1)


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_conditional_write_is_not_repeated_when_its_answer_is_lost(
    monkeypatch: pytest.MonkeyPatch, asynchronous: bool
) -> None:
    calls: list[str] = []

    async def no_sleep(_: float) -> None: ...

    monkeypatch.setattr("time.sleep", lambda _: None)
    monkeypatch.setattr("asyncio.sleep", no_sleep)

    def answer(request: httpx.Request) -> httpx.Response:
        calls.append(request.method)
        if len(calls) % 2:
            return httpx.Response(429, json={"error": {"code": "overloaded", "message": "later"}})
        raise httpx.ReadError("hung up")

    transport = httpx.MockTransport(answer)
    kind = AsyncBehindLoop if asynchronous else SearchClient
    client: Any = kind("http://search", transport=transport, retries=3)
    with pytest.raises(ConnectionFailedError):
        client.put_document({"id": "a", "text": "x"}, only_new=True)
    assert len(calls) == 2
    with pytest.raises(ConnectionFailedError):
        client.delete_document("a", if_match=1)
    assert len(calls) == 4
    with pytest.raises(ConnectionFailedError):
        client.put_document({"id": "a", "text": "x"})
    assert len(calls) == 8
    client.close()
