"""A text and a title have the same limits at every door."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from service.datasets import read_documents
from service.settings import Settings
from service.types import Document, Refused
from tests.fixtures.hash_models import hash_settings
from tests.fixtures.hash_server import running, until

TEXT, TITLE = 100, 10
TAR = {"content-type": "application/x-tar"}
NDJSON = {"content-type": "application/x-ndjson"}
FIT = {"text": "x" * TEXT, "title": "t" * TITLE}
LONG = [("text", {**FIT, "text": "x" * (TEXT + 1)}), ("title", {**FIT, "title": "t" * (TITLE + 1)})]
MOST = {"text": TEXT, "title": TITLE}


def limited(data_dir: Path) -> Settings:
    return hash_settings(data_dir, max_document_chars=TEXT, max_title_chars=TITLE)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with running(limited(tmp_path_factory.mktemp("data"))) as client:
        yield client


def said(field: str) -> str:
    return f"{field} has {MOST[field] + 1} characters; {MOST[field]} are the most that are taken"


@pytest.mark.parametrize(("field", "document"), LONG)
def test_one_document(client: TestClient, field: str, document: dict[str, str]) -> None:
    assert client.put("/documents/a", json=FIT).status_code in {200, 201}
    answer = client.put("/documents/a", json=document)
    assert answer.status_code == 422
    assert answer.json()["error"]["details"] == [{"field": field, "message": said(field)}]


@pytest.mark.parametrize(("field", "document"), LONG)
def test_a_batch(client: TestClient, field: str, document: dict[str, str]) -> None:
    rows = [{"id": "fit", **FIT}, {"id": "long", **document}]
    answer = client.post("/documents", json={"documents": rows}).json()
    assert answer["accepted"] == 1
    assert answer["refused"] == [{"index": 1, "id": "long", "error": said(field)}]


@pytest.mark.parametrize(("field", "document"), LONG)
def test_a_bulk_upload(client: TestClient, field: str, document: dict[str, str]) -> None:
    lines = "\n".join(json.dumps(row) for row in ({"id": "fit", **FIT}, {"id": "long", **document}))
    job = client.post("/documents/bulk", content=lines, headers=NDJSON).json()["job_id"]
    until(lambda: client.get(f"/jobs/{job}").json()["state"] == "done")
    (refusal,) = client.get(f"/jobs/{job}").json()["refusals"]
    assert (refusal["line"], refusal["id"], refusal["field"]) == (2, "long", field)
    assert said(field).endswith(refusal["reason"])


@pytest.mark.parametrize(("field", "document"), LONG)
def test_a_restore(
    client: TestClient, field: str, document: dict[str, str], tmp_path: Path
) -> None:
    with running(hash_settings(tmp_path / "other")) as other:
        assert other.put("/documents/a?wait=true", json=document).status_code == 201
        archive = other.get("/collections/main/snapshot").content
    for more in ("", "?re_embed=true"):
        answer = client.post(f"/collections/again/restore{more}", content=archive, headers=TAR)
        assert answer.status_code == 422
        assert f"document 'a': {field}: has" in answer.json()["error"]["message"]
        assert client.get("/collections/again").status_code == 404


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.csv"])
@pytest.mark.parametrize(("field", "document"), LONG)
def test_files(tmp_path: Path, field: str, document: dict[str, str], name: str) -> None:
    path = tmp_path / name
    if path.suffix == ".csv":
        path.write_text(f"id,title,text\nlong,{document['title']},{document['text']}\n")
    else:
        path.write_text(json.dumps({"id": "long", **document}))
    (row,) = read_documents(path, limited(tmp_path).document_limits)
    assert isinstance(row, Refused)
    assert (row.field, f"{field} {row.reason}") == (field, said(field))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("page.html", f"<title>{'t' * 50}</title><p>text</p>"),
        ("notes.md", f"# {'t' * 50}\n\ntext"),
    ],
)
def test_a_title_that_was_found_in_a_file_is_cut(tmp_path: Path, name: str, content: str) -> None:
    """It was not written as a title of ours, so that it is long is no fault of the document's."""
    (tmp_path / name).write_text(content)
    (row,) = read_documents(tmp_path / name, limited(tmp_path).document_limits)
    assert isinstance(row, Document)
    assert row.title == "t" * TITLE


def test_a_title_that_stands_for_the_text_has_the_limit_of_a_text(client: TestClient) -> None:
    answer = client.put("/documents/b", json={"title": "t" * TEXT, "text": " "})
    assert answer.status_code == 201
    assert client.get("/documents/b").json()["text"] == "t" * TEXT
    answer = client.put("/documents/b", json={"title": "t" * (TEXT + 1), "text": " "})
    assert answer.json()["error"]["details"][0]["field"] == "title"
