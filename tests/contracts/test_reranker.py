"""What every `Reranker` has to keep; one of them scores over HTTP, as another service would."""

import json
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import cast

import numpy as np
import pytest

from service.engine.build import build_reranker
from service.errors import InferenceError
from service.evaluation.logits import CachedReranker
from service.models.model_kinds import KINDS, ModelKind
from service.protocols import Reranker
from service.search.relevant_spans import matches_of, part_scores
from service.settings import Settings
from service.types import EncodedPassage, EncodedQuery
from tests.fixtures.multilingual import SENTENCES
from tests.fixtures.remote_reranker import REMOTE

QUERY = "why are there two high tides a day"
PASSAGES = [text for texts in SENTENCES.values() for text in texts[:3]]


class _SharedWords(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        pairs = zip(asked["queries"], asked["texts"], strict=True)
        scores = [float(len({*query.split()} & {*text.split()})) for query, text in pairs]
        body = json.dumps(scores).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _SharedWords) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


@pytest.fixture(scope="module", params=["interaction-v1", "minilm-l6-v0", "remote", "cached"])
def scorer(
    request: pytest.FixtureRequest, server: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Reranker]:
    name = {"cached": "interaction-v1", "remote": server}.get(request.param, request.param)
    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(cast("dict[str, ModelKind]", KINDS), "remote", REMOTE)
        reranker = build_reranker(Settings(reranker=name, device="cpu"))
    assert reranker
    if request.param == "cached":
        file = tmp_path_factory.mktemp("logits") / "l.db"
        with CachedReranker(reranker, file, variant="") as cached:
            yield cached
    else:
        yield reranker


def logits(scorer: Reranker, passages: Sequence[str]) -> list[float]:
    return [score.logit for score in scorer.score_pairs([(QUERY, text) for text in passages])]


def test_each_passage_has_a_finite_score_in_its_place(scorer: Reranker) -> None:
    scores = logits(scorer, PASSAGES)
    assert len(scores) == len(PASSAGES)
    assert np.isfinite(scores).all()
    np.testing.assert_allclose(logits(scorer, PASSAGES[::-1])[::-1], scores, atol=1e-3)


def test_a_score_is_the_same_alone_and_among_others(scorer: Reranker) -> None:
    alone = [logits(scorer, [text])[0] for text in PASSAGES]
    np.testing.assert_allclose(logits(scorer, PASSAGES), alone, atol=1e-3)


def test_nothing_to_score_gives_no_score(scorer: Reranker) -> None:
    assert scorer.score_pairs([]) == []


def test_a_slice_is_read_when_its_turn_comes(scorer: Reranker) -> None:
    read: list[int] = []

    def slices() -> Iterator[list[EncodedPassage]]:
        for at in range(3):
            read.append(at)
            yield [EncodedPassage(text) for text in PASSAGES[2 * at : 2 * at + 2]]

    scores = scorer.score(EncodedQuery((QUERY,), np.empty((0, 0), np.float32), 0), slices())
    for at in range(3):
        assert len(next(scores)) == 2
        assert read == list(range(at + 1))
    assert next(scores, None) is None


def test_each_window_of_a_query_is_compared_with_its_own_passages(scorer: Reranker) -> None:
    windows = (QUERY, "how is a chain oiled")
    query = EncodedQuery(windows, np.empty((0, 0), np.float32), 0)
    passages = [EncodedPassage(text, window=at % 2) for at, text in enumerate(PASSAGES)]
    (found,) = scorer.score(query, [passages])
    # One pair at a time: together, a reranker that reads the first window alone would agree.
    expected = [
        scorer.score_pairs([(windows[at % 2], text)])[0] for at, text in enumerate(PASSAGES)
    ]
    np.testing.assert_allclose(
        [score.logit for score in found], [score.logit for score in expected], atol=1e-3
    )


def test_it_says_what_it_is(scorer: Reranker) -> None:
    assert scorer.model
    assert len(scorer.weights_sha256) == 64
    assert scorer.slice_size > 0
    if scorer.reads == "texts":
        with pytest.raises(InferenceError):
            scorer.pack(PASSAGES)
    else:
        packed = scorer.pack(PASSAGES)
        assert all(isinstance(each, bytes) for each in packed)
        kept = [EncodedPassage(text, own) for text, own in zip(PASSAGES, packed, strict=True)]
        query = EncodedQuery((QUERY,), np.empty((0, 0), np.float32), 0)
        (found,) = scorer.score(query, [kept])
        np.testing.assert_allclose(
            [score.logit for score in found], logits(scorer, PASSAGES), atol=1e-3
        )


def test_threads_get_the_same_scores_where_they_may_score_at_a_time(scorer: Reranker) -> None:
    if not scorer.concurrent:
        pytest.skip("one thread at a time")
    expected = logits(scorer, PASSAGES)
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(lambda _: logits(scorer, PASSAGES), range(8)):
            np.testing.assert_allclose(found, expected, atol=1e-3)


def test_a_part_of_a_passage_scores_at_most_what_the_passage_scores(scorer: Reranker) -> None:
    text = f"{PASSAGES[1]} {PASSAGES[0]} {PASSAGES[2]}"
    ends = [len(PASSAGES[1]), len(text) - len(PASSAGES[2]), len(text), len(text)]
    query = EncodedQuery((QUERY,), np.empty((0, 0), np.float32), 0)
    parts = part_scores(matches_of(scorer, query, EncodedPassage(text)), ends)
    if not parts:
        return  # it cannot tell
    *scores, nothing = parts
    assert nothing is None
    (whole,) = logits(scorer, [text])
    assert all(score is not None and score <= whole + 1e-3 for score in scores)
    assert scores.index(max(scores)) == 1  # where the answer is
    (alone,) = part_scores(matches_of(scorer, query, EncodedPassage(text)), [len(text)])
    assert alone == pytest.approx(whole, abs=1.0)


def test_matches_add_up_to_the_score_and_name_their_tokens(scorer: Reranker) -> None:
    text = f"{PASSAGES[1]} The moon makes two tides a day."
    query = EncodedQuery((QUERY,), np.empty((0, 0), np.float32), 0)
    matches = matches_of(scorer, query, EncodedPassage(text))
    if matches is None:
        return  # it cannot tell
    (whole,) = logits(scorer, [text])
    score = matches.rest + matches.points @ matches.similar.max(axis=1)
    assert score == pytest.approx(whole, abs=0.01)
    asked = [QUERY[start:end].strip() for start, end in matches.query]
    read = [text[start:end].strip() for start, end in matches.passage]
    day, article = asked.index("day"), asked.index("a")
    assert matches.points[day] > 2 * matches.points[article]
    assert read[int(matches.similar[day].argmax())] == "day"
