"""A few documents in a served folder, and what searches must find of them whatever happens."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from fastapi.testclient import TestClient

from service.settings import Settings

Serve = Callable[[Settings], AbstractContextManager[TestClient]]

TEXTS = {f"d{i}": f"ferry number {i} leaves from pier {i % 5}" for i in range(40)}
QUERIES = ["ferry 7", "pier 3", "number 21 leaves"]


def fill(client: TestClient) -> None:
    rows = [{"id": id_, "text": text} for id_, text in TEXTS.items()]
    answer = client.post("/documents?wait=true", json={"documents": rows})
    assert answer.json()["accepted"] == len(TEXTS), answer.text


def answers(client: TestClient) -> list[list[tuple[str, float]]]:
    found = []
    for query in QUERIES:
        answer = client.post("/search", json={"query": query, "top_k": 10})
        assert answer.status_code == 200, answer.text
        hits = answer.json()["hits"]
        found.append([(hit["id"], hit["retrieval_score"]) for hit in hits])
    assert all(len(hits) == 10 for hits in found)
    return found


def put(client: TestClient, id_: str, text: str = "a new ferry") -> int:
    answer = client.put(f"/documents/{id_}?wait=true", json={"text": text})
    if answer.status_code >= 400:
        assert answer.json()["error"]["message"]
    return int(answer.status_code)


def only_generation(settings: Settings) -> Path:
    (folder,) = (settings.data_dir / "generations").iterdir()
    return folder


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)
