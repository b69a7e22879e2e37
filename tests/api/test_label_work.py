"""Evaluations and calibrations over HTTP: labels change what the words say, at once."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from service.confidence.calibration import Calibration, Curve
from service.evaluation import label_jobs
from service.settings import Settings
from tests.fixtures.hash_models import HashPool, hash_settings
from tests.fixtures.hash_server import running, until

FINAL = {"done", "failed", "cancelled"}
CURVE = Curve(slope=8.0, intercept=-4.0, n=100, positive=50, ece=0.0, brier=0.1)
WORDS = ["red", "green", "blue", "brown", "black", "white", "pink", "grey", "gold", "teal"]


def documents() -> list[dict[str, Any]]:
    return [{"id": f"d{n}", "text": f"the {word} ferry leaves"} for n, word in enumerate(WORDS)]


def server_calibration(settings: Settings) -> Calibration:
    """The operator's artifact, for the stand-in for the encoder."""
    identity = HashPool().identity(settings)
    return Calibration(
        name="the operator's",
        date="2026-01-01",
        encoder_weights_sha256=identity.weights_sha256,
        query_prefix=identity.query_prefix,
        passage_prefix=identity.passage_prefix,
        normalizer_version=identity.normalizer_version,
        reranker_weights_sha256=None,
        rerank_weights={},
        curves={"retrieval": CURVE},
        mixed_curves={"retrieval": CURVE},
        data={},
    )


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    plain = hash_settings(tmp_path / "data")
    artifact = tmp_path / "server.json"
    artifact.write_text(server_calibration(plain).model_dump_json())
    return plain.model_copy(update={"calibration": artifact})


@pytest.fixture
def client(settings: Settings) -> Iterator[TestClient]:
    with running(settings) as client:
        sent = {"documents": documents()}
        assert client.post("/documents?wait=true", json=sent).json()["indexed"]
        yield client


QUERY = "the red ferry"


def search(client: TestClient, query: str = QUERY) -> dict[str, Any]:
    return dict(client.post("/search", json={"query": query}).json())


def label(client: TestClient, query: str = QUERY, right: int = 9) -> None:
    hits = search(client, query)["hits"]
    judged = [
        {"id": hit["id"], "judgement": "relevant" if place < right else "not_relevant"}
        for place, hit in enumerate(hits)
    ]
    assert client.post("/labels", json={"query": query, "hits": judged}).status_code == 200


def run(client: TestClient, path: str, **body: Any) -> dict[str, Any]:
    answer = client.post(path, json=body)
    assert answer.status_code == 202, answer.text
    return finished(client, answer.json()["job_id"])


def finished(client: TestClient, id_: str) -> dict[str, Any]:
    until(lambda: client.get(f"/jobs/{id_}").json()["state"] in FINAL)
    return dict(client.get(f"/jobs/{id_}").json())


def words(client: TestClient) -> list[str]:
    return [hit["confidence"] for hit in search(client)["hits"]]


def test_ten_labels_change_the_words_at_once_and_after_a_restart(
    client: TestClient, settings: Settings
) -> None:
    before, old = search(client), client.get("/calibration").json()
    assert (old["name"], old["origin"], old["can_restore"]) == ("the operator's", "settings", False)
    assert before["models"]["calibration"] == "the operator's"
    label(client)
    job = run(client, "/calibration")
    assert (job["state"], job["kind"], job["done"], job["total"]) == ("done", "calibration", 1, 1)
    after = search(client)
    assert words(client) != [hit["confidence"] for hit in before["hits"]]
    assert [hit["id"] for hit in after["hits"]] == [hit["id"] for hit in before["hits"]]
    name = after["models"]["calibration"]
    assert name == job["result"]["name"] == client.get("/calibration").json()["name"]
    assert name.startswith("main-labels-")
    found = client.get("/calibration").json()
    assert (found["origin"], found["adjusted_from"]) == ("labels", "the operator's")
    (moved,) = found["adjustments"]
    assert moved["shift_low"] < moved["shift"] < moved["shift_high"]
    assert moved["shift"] > 0  # most hits were right, more than the old curve said
    assert job["result"]["changed"]
    assert any("1 queries" in said for said in job["result"]["warnings"])
    probabilities = [hit["probability"] for hit in after["hits"]]
    client.__exit__(None, None, None)
    with running(settings) as again:
        same = search(again)
        assert same["models"]["calibration"] == name
        assert [hit["probability"] for hit in same["hits"]] == probabilities


def test_the_calibration_before_comes_back_and_goes_again(client: TestClient) -> None:
    assert client.post("/calibration/restore", json={}).status_code == 409
    before = words(client)
    label(client)
    name = run(client, "/calibration")["result"]["name"]
    after = words(client)
    back = client.post("/calibration/restore", json={}).json()
    assert (back["name"], back["origin"], back["previous"]) == ("the operator's", "settings", name)
    assert words(client) == before
    assert client.post("/calibration/restore", json={}).json()["name"] == name
    assert words(client) == after


def test_a_second_calibration_starts_from_the_servers_own(client: TestClient) -> None:
    label(client)
    first = run(client, "/calibration")["result"]
    second = run(client, "/calibration")["result"]
    assert first["name"] != second["name"]
    assert first["moves"] == second["moves"]  # not moved twice
    assert client.get("/calibration").json()["previous"] == first["name"]


def test_too_few_labels_fail_and_say_what_is_missing(client: TestClient) -> None:
    job = run(client, "/calibration")
    assert (job["state"], job["result"]) == ("failed", None)
    assert job["reason"] == "the collection 'main' has no labels"
    label(client, right=10)
    job = run(client, "/calibration")
    assert (job["state"], job["reason"]) == (
        "failed",
        "no judged hit is not relevant; calibration needs both kinds",
    )
    assert client.get("/calibration").json()["origin"] == "settings"


def test_an_evaluation_tells_measures_coverage_and_what_is_lost(client: TestClient) -> None:
    second = search(client)["hits"][1]["id"]
    hits = [{"id": second, "judgement": "relevant"}]
    client.post("/labels", json={"query": QUERY, "hits": hits})
    job = run(client, "/evaluation")
    assert job["state"] == "done", job
    report = job["result"]
    measures = report["measures"]["reranked"]
    assert measures["mrr@10"]["value"] == 0.5
    assert measures["recall@100"]["value"] == 1.0
    assert report["coverage"]["shown_judged"] == 1
    assert report["coverage"]["missing"] == ["9 more judged hits", "a hit that is not relevant"]
    (lost,) = report["lost"]
    assert (lost["document"], lost["reason"], lost["rank"]) == (second, "below_unjudged", 2)
    assert lost["query_id"] == "q1"
    assert QUERY not in json.dumps(job)  # its text is kept with the labels alone
    assert report["confidence"]["hits"] == 1
    assert report["depths"] == []  # there is no reranker


def test_clicks_alone_are_no_basis_for_probabilities(client: TestClient) -> None:
    hits = [{"id": hit["id"], "clicked": True} for hit in search(client)["hits"]]
    client.post("/feedback", json={"query": QUERY, "hits": hits})
    job = run(client, "/calibration", labels="feedback")
    assert job["state"] == "failed"
    assert "not relevant" in job["reason"]
    assert run(client, "/evaluation", labels="feedback")["state"] == "done"


def test_one_job_of_a_kind_at_a_time(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    label(client)
    jobs = client.app.state.server.engine.jobs  # type: ignore[attr-defined]

    def work(name: str, options: Any, on_progress: Any) -> Any:
        for done in range(2000):
            on_progress(done, 2000)
            time.sleep(0.01)
        raise AssertionError("it was not stopped")

    monkeypatch.setattr(jobs, "_works", {**jobs._works, "evaluation": work})
    id_ = client.post("/evaluation", json={}).json()["job_id"]
    until(lambda: client.get(f"/jobs/{id_}").json()["done"] > 0)
    again = client.post("/evaluation", json={})
    assert again.status_code == 409
    assert id_ in again.json()["error"]["message"]
    assert client.delete(f"/jobs/{id_}").json()["state"] == "cancelled"
    assert run(client, "/calibration")["state"] == "done"  # the thread is free


def test_a_calibration_that_was_cancelled_during_its_fit_does_not_apply(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    label(client)
    jobs, fit = client.app.state.server.engine.jobs, label_jobs.fit_labels  # type: ignore[attr-defined]

    def cancelled(*given: Any) -> Any:
        jobs.cancel(jobs.newest(1)[0].id)
        return fit(*given)

    monkeypatch.setattr(label_jobs, "fit_labels", cancelled)
    assert run(client, "/calibration")["state"] == "cancelled"
    assert run(client, "/evaluation")["state"] == "done"  # the thread is free
    assert client.get("/calibration").json()["origin"] == "settings"


def test_a_calibration_of_other_models_is_not_used(settings: Settings, client: TestClient) -> None:
    label(client)
    run(client, "/calibration")
    client.__exit__(None, None, None)
    path = settings.data_dir / "calibration.json"
    kept = json.loads(path.read_text())
    kept["current"]["encoder_weights_sha256"] = "0" * 64
    path.write_text(json.dumps(kept))
    with running(settings) as again:
        assert search(again)["models"]["calibration"] == "the operator's"
        assert any("other models" in note for note in again.get("/readyz").json()["notes"])


@pytest.mark.parametrize("content", ["", "{", '{"format": 9}'])
def test_a_damaged_calibration_keeps_no_server_from_searching(
    settings: Settings, content: str
) -> None:
    settings.data_dir.mkdir()
    (settings.data_dir / "calibration.json").write_text(content)
    with running(settings) as client:
        assert client.get("/calibration").json()["origin"] == "settings"
        assert any("calibrate again" in note for note in client.get("/readyz").json()["notes"])


def test_each_collection_has_its_own(client: TestClient) -> None:
    client.post("/collections", json={"name": "next"})
    sent = {"documents": documents()}
    client.post("/collections/next/documents?wait=true", json=sent)
    label(client)
    run(client, "/calibration")
    assert client.get("/collections/next/calibration").json()["origin"] == "settings"
    other = client.post("/collections/next/search", json={"query": QUERY}).json()
    assert other["models"]["calibration"] == "the operator's"
