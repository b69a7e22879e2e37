"""`POST /similarity`, and searches that the answer cache serves."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import permutations

import pytest
from fastapi.testclient import TestClient

from service.api.app import create_app
from service.engine.engine import Engine
from service.search.pair_model import PairModel
from service.settings import Settings
from service.store.key_file import hash_key
from tests.fixtures.live import engine_of
from tests.fixtures.pairs import LIMITS, THRESHOLD, PairEncoder, fill, searcher_with_cache

A, B = "why does the tide rise twice a day", "twice a day why does the tide rise"


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """The application with a pair model that knows words alone, and an answer cache."""
    encoder = PairEncoder()

    def load() -> Engine:
        folder = fill(tmp_path_factory.mktemp("pairs"))
        model = PairModel(encoder, THRESHOLD, LIMITS)
        engine = engine_of(folder, searcher_with_cache(folder, model, size=64))
        engine.pair_model = model
        return engine

    with TestClient(create_app(Settings(), load)) as client:
        while client.get("/readyz").status_code != 200:
            assert not client.app.state.server.failed
        client.encoder = encoder
        yield client


def compare(client: TestClient, *pairs: tuple[str, str], **fields: object) -> dict:
    body = {"pairs": [{"a": a, "b": b} for a, b in pairs], **fields}
    answer = client.post("/similarity", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_each_pair_has_a_verdict_with_the_threshold_and_the_model(pairs: TestClient) -> None:
    body = compare(pairs, (A, B), (A, "a worn chain"), timeout_ms=5000)
    assert set(body) == {"results", "threshold", "model", "timings_ms", "request_id"}
    assert (body["threshold"], body["model"]) == (THRESHOLD, "hash")
    first, second = body["results"]
    assert first == {"index": 0, "similarity": 1.0, "same": True, "truncated": False}
    assert (second["index"], second["same"]) == (1, False)
    assert second["similarity"] < THRESHOLD
    assert set(body["timings_ms"]) == {"normalize", "encode", "total"}


def test_sixteen_threads_get_the_verdicts_of_one(pairs: TestClient) -> None:
    several = [(A, B), (A, "the moon"), ("the moon", "a moon"), ("chain", "a worn chain")]
    alone = [compare(pairs, pair)["results"][0]["similarity"] for pair in several]
    begin = threading.Barrier(16)

    def ask(number: int) -> list[float]:
        begin.wait(10)
        turned = several[number % 4 :] + several[: number % 4]
        return [verdict["similarity"] for verdict in compare(pairs, *turned)["results"]]

    with ThreadPoolExecutor(16) as threads:
        for number, found in enumerate(threads.map(ask, range(16))):
            assert found == alone[number % 4 :] + alone[: number % 4]
    assert len(pairs.encoder.threads) == 1


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "pairs"),
        ({"pairs": []}, "pairs"),
        ({"pairs": [{"a": "x", "b": "y"}] * 101}, "pairs"),
        ({"pairs": {"a": "x", "b": "y"}}, "pairs"),
        ({"pairs": [["x", "y"]]}, "pairs.0"),
        ({"pairs": [{"a": "x", "b": "y"}, {"a": "x"}]}, "pairs.1.b"),
        ({"pairs": [{"a": "x", "b": 7}]}, "pairs.0.b"),
        ({"pairs": [{"a": "x", "b": None}]}, "pairs.0.b"),
        ({"pairs": [{"a": "x", "b": "y", "c": "z"}]}, "pairs.0.c"),
        ({"pairs": [{"a": "x", "b": " \u200b"}]}, "pairs.0.b"),
        ({"pairs": [{"a": "x" * 2001, "b": "y"}]}, "pairs.0.a"),
        ({"pairs": [{"a": "x", "b": "y"}], "threshold": 0.5}, "threshold"),
        ({"pairs": [{"a": "x", "b": "y"}], "timeout_ms": 0}, "timeout_ms"),
    ],
)
def test_what_is_wrong_is_named(pairs: TestClient, body: dict, field: str) -> None:
    answer = pairs.post("/similarity", json=body)
    assert answer.status_code == 422
    error = answer.json()["error"]
    assert error["code"] == "invalid_request"
    assert error["details"][0]["field"] == field


def test_a_body_full_of_errors_is_answered_briefly(pairs: TestClient) -> None:
    wrong = {"pairs": [{f"unknown{i}": i for i in range(2000)} for _ in range(20)]}
    answer = pairs.post("/similarity", json=wrong)
    assert answer.status_code == 422
    assert len(answer.content) < 10_000


def test_a_server_without_a_pair_model_says_so(client: TestClient) -> None:
    answer = client.post("/similarity", json={"pairs": [{"a": A, "b": B}]})
    assert answer.status_code == 409
    assert answer.json()["error"]["code"] == "not_available"
    assert "pair_model" in answer.json()["error"]["message"]
    assert "Retry-After" not in answer.headers


def test_the_key_is_asked_for_here_too(engine: Engine) -> None:
    settings = Settings(api_key_hashes=frozenset({hash_key("right")}))
    with TestClient(
        create_app(settings, lambda: engine_of(engine.folder, engine.searcher))
    ) as client:
        client.app.state.server.close = lambda: None  # the engine is its owner's to close
        assert client.post("/similarity", json={"pairs": []}).status_code == 401


def test_texts_are_not_logged(pairs: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("DEBUG"):
        compare(pairs, ("a very private question", "another private one"))
    assert "/similarity" in caplog.text
    assert "private" not in caplog.text


def test_the_description_has_limits_and_an_example(pairs: TestClient) -> None:
    spec = pairs.get("/openapi.json").json()
    request = spec["components"]["schemas"]["SimilarityRequest"]
    limits = request["properties"]["pairs"]
    assert (limits["minItems"], limits["maxItems"]) == (1, 100)
    (example,) = request["examples"]
    assert pairs.post("/similarity", json=example).status_code == 200
    assert "409" in spec["paths"]["/similarity"]["post"]["responses"]


SAME = [
    ("why are there two high tides a day", "why does the tide come in twice daily"),
    ("Tính đạo hàm của hàm hợp như thế nào?", "Cách tính đạo hàm hàm hợp"),
    ("緑茶は何度のお湯でいれますか", "緑茶をいれるお湯の温度は"),
]
DIFFERENT = [
    ("why are there two high tides a day", "how much sun do tomatoes need"),
    ("Tính đạo hàm của hàm hợp như thế nào?", "Tính tích phân xác định như thế nào?"),
    ("緑茶は何度のお湯でいれますか", "地震のときはどうすればいいですか"),
]


def test_e5_tells_paraphrases_from_other_questions_alone_as_together(
    client: TestClient, engine: Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = settings.model_copy(update={"pair_model": "e5-small", "pair_threshold": 0.92})
    model = engine.models.pair_model(wanted)
    assert model.encoder is engine.searcher.encoder
    monkeypatch.setattr(engine, "pair_model", model)
    together = compare(client, *SAME, *DIFFERENT)
    assert [verdict["same"] for verdict in together["results"]] == [True] * 3 + [False] * 3
    assert together["model"] == "e5-small"
    for place, pair in ((0, SAME[0]), (4, DIFFERENT[1])):
        alone = compare(client, pair)["results"][0]
        assert alone == {**together["results"][place], "index": 0}
    model.close()


# The answer cache


def search(client: TestClient, query: str, **fields: object) -> dict:
    answer = client.post("/search", json={"query": query, **fields})
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_a_cached_answer_says_so_and_shows_nothing_of_the_earlier_query(pairs: TestClient) -> None:
    first = search(pairs, "my private moon question", top_k=2)
    assert first["cached"] is None
    response = pairs.post("/search", json={"query": "question private my moon", "top_k": 2})
    again = response.json()
    assert again["query"] == "question private my moon"
    assert again["hits"] == first["hits"]
    assert again["cached"]["query_similarity"] == 1.0
    assert again["cached"]["age_ms"] >= 0
    assert "my private moon" not in response.text
    assert set(again["timings_ms"]) == {"normalize", "cache", "total"}
    assert again["request_id"] == response.headers["X-Request-ID"] != first["request_id"]
    assert "cache;dur=" in response.headers["Server-Timing"]
    textless = search(pairs, "question private my moon", top_k=2, return_text=False)
    assert textless["cached"] is not None
    assert {hit["text"] for hit in textless["hits"]} == {None}


def outcomes(client: TestClient) -> dict[str, float]:
    prefix = 'secondpass_answer_cache_total{outcome="'
    lines = [line for line in client.get("/metrics").text.splitlines() if line.startswith(prefix)]
    return {line[len(prefix) :].split('"')[0]: float(line.split()[-1]) for line in lines}


def test_sixteen_threads_of_paraphrases_get_one_answer_and_all_are_counted(
    pairs: TestClient,
) -> None:
    before = outcomes(pairs)
    words = ["sea", "rises", "coast", "because", "tide"]
    texts = [" ".join(order) for order in permutations(words)][:64]
    begin = threading.Barrier(16)

    def ask(number: int) -> list[dict]:
        begin.wait(10)
        return [search(pairs, text) for text in texts[number::16]]

    with ThreadPoolExecutor(16) as threads:
        answers = [answer for some in threads.map(ask, range(16)) for answer in some]
    assert len({tuple(hit["id"] for hit in answer["hits"]) for answer in answers}) == 1
    served = sum(answer["cached"] is not None for answer in answers)
    assert served >= len(texts) / 2
    after = outcomes(pairs)
    assert after["hit"] - before.get("hit", 0) == served
    assert sum(after.values()) - sum(before.values()) == len(texts)
    assert "secondpass_answer_cache_answers" in pairs.get("/metrics").text
