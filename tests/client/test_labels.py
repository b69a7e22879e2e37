"""Labels and feedback with both clients, over a real connection."""

import asyncio
import zipfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from secondpass_client import (
    AsyncSearchClient,
    ConflictError,
    InvalidRequestError,
    NotFoundError,
    SearchClient,
    UnexpectedAnswerError,
)
from service.api.app import create_app
from tests.fixtures.hash_models import hash_settings, open_hash_engine
from tests.fixtures.hash_server import ROWS
from tests.fixtures.loopback import serving

FIRST, SECOND = (row["id"] for row in ROWS[:2])


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    settings = hash_settings(tmp_path_factory.mktemp("data"))
    with serving(create_app(settings, lambda: open_hash_engine(settings))) as url:
        with SearchClient(url) as client:
            client.put_documents(ROWS, wait=True)
        yield url


@pytest.fixture
def client(url: str) -> Iterator[SearchClient]:
    with SearchClient(url, retries=0) as client:
        yield client
        client.delete_labels()
        client.delete_labels("feedback")


def test_labels_come_back_and_go(client: SearchClient) -> None:
    client.label("tides", {FIRST: "relevant", SECOND: "not_relevant"})
    client.label("waves", {FIRST: "partly"})
    client.label("tides", {SECOND: None})
    first, second = client.labels()
    assert (first.query, [(hit.id, hit.judgement) for hit in first.hits]) == (
        "tides",
        [(FIRST, "relevant")],
    )
    assert client.label_counts().judged == 2
    assert client.delete_labels(query_id=second.id) == 1
    with pytest.raises(NotFoundError):
        client.delete_labels(query_id=second.id)
    with pytest.raises(InvalidRequestError, match=r"hits\.0\.id"):
        client.label("tides", {"nothing": "relevant"})


def test_all_pages_are_read(client: SearchClient) -> None:
    for number in range(103):
        client.label(f"query {number}", {FIRST: "relevant"})
    assert [one.query for one in client.labels()] == [f"query {n}" for n in range(103)]


def test_a_click_is_counted_once_for_a_request(client: SearchClient) -> None:
    for _ in range(2):
        client.send_feedback("tides", [{"id": FIRST, "clicked": True, "rank": 2}], request_id="r")
    (query,) = client.labels("feedback")
    assert (query.hits[0].clicks, query.hits[0].rank, query.hits[0].judgement) == (1, 2, None)
    assert not list(client.labels())


def test_the_export_is_whole_or_not_there(client: SearchClient, tmp_path: Path) -> None:
    client.label("tides", {FIRST: "relevant"})
    client.export_labels(tmp_path / "labels.zip")
    with zipfile.ZipFile(tmp_path / "labels.zip") as archive:
        assert archive.read("qrels.tsv").splitlines()[1].endswith(f"\t{FIRST}\t2".encode())
        assert sorted(archive.namelist()) == ["corpus.jsonl", "qrels.tsv", "queries.jsonl"]
    whole = (tmp_path / "labels.zip").read_bytes()
    cut = httpx.MockTransport(lambda _request: httpx.Response(200, content=whole[:-5]))
    with (
        SearchClient("http://test", transport=cut) as broken,
        pytest.raises(UnexpectedAnswerError, match="cut off"),
    ):
        broken.export_labels(tmp_path / "other.zip")
    assert [path.name for path in tmp_path.iterdir()] == ["labels.zip"]


def test_jobs_on_labels_and_the_calibration_that_applies(client: SearchClient) -> None:
    client.label("tides", {FIRST: "relevant", SECOND: "not_relevant"})
    job = client.wait(client.evaluate())
    assert (job.kind, job.state) == ("evaluation", "done")
    assert job.result["coverage"]["judged"] == 2
    failed = client.wait(client.calibrate())
    assert (failed.state, failed.result) == ("failed", None)
    found = client.calibration()
    assert (found.name, found.origin, found.can_restore) == (None, "shipped", False)
    with pytest.raises(ConflictError, match="no earlier calibration"):
        client.restore_calibration()


def test_the_client_for_asyncio_has_the_same_calls(url: str, client: SearchClient) -> None:
    async def ask() -> list[str]:
        async with AsyncSearchClient(url) as other:
            await other.label("tides", {FIRST: "relevant"})
            return [one.query async for one in other.labels()]

    assert asyncio.run(ask()) == ["tides"]
