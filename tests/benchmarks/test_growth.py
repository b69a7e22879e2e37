"""What the growth figures are of: the paths that a server and an ingest take."""

import json
import threading
from collections.abc import Iterable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from benchmarks.growth import ingest, rerank, tables
from benchmarks.growth.rerank import Served
from benchmarks.speed.matrix import passage_gflop
from benchmarks.speed.processes import BenchError
from service.models.sources import PreparedModel
from service.protocols import Reranker
from service.settings import Settings
from service.types import EncodedPassage, EncodedQuery, PairScore
from tests.fixtures.doubles import HashEncoder
from tests.fixtures.multilingual import SENTENCES

TEXTS = [text for texts in SENTENCES.values() for text in texts[:2]][:20]


class Noting(Reranker):
    model, weights_sha256, slice_size = "noting", "0" * 64, 8

    def __init__(self) -> None:
        self.calls: list[tuple[str, int]] = []

    def score(
        self, query: EncodedQuery, slices: Iterable[Sequence[EncodedPassage]], /
    ) -> Iterator[list[PairScore]]:
        for passages in slices:
            self.calls.append((query.windows[0], len(passages)))
            yield [PairScore(0.0, False)] * len(passages)


def test_a_rerank_is_timed_in_slices_and_with_another_query_each_time() -> None:
    reranker = Noting()
    served = Served("noting", reranker, HashEncoder(), lambda own: list(map(EncodedPassage, own)))
    short, long = served.works([TEXTS[:4], TEXTS], ["first", "second"])
    for work in (short, long, short, long):
        work()
    assert reranker.calls == [
        *(("first", count) for count in (4, 8, 8, 4)),
        *(("second", count) for count in (4, 8, 8, 4)),
    ]


def test_interaction_is_timed_with_states_from_the_file(
    e5: PreparedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    with rerank._served("interaction-v1", TEXTS[:4]) as served:
        (work,) = served.works([TEXTS[:4]], ["when do the tides come"])

        def refuse(*arguments: object) -> object:
            raise AssertionError("nothing is encoded during a rerank")

        monkeypatch.setattr("service.encoder.transformer.Transformer.states", refuse)
        work()


@pytest.mark.parametrize("states", [True, False])
def test_an_ingest_is_whole(e5: PreparedModel, states: bool) -> None:
    settings = Settings(hub_offline=True, device="cpu", passage_states=states)
    done = ingest.ingested(settings, TEXTS[:3])
    assert (done.documents, done.passages, done.states) == (3, 3, 3 if states else 0)
    assert 0 < done.stored_seconds < done.seconds


@pytest.fixture
def port(request: pytest.FixtureRequest) -> Iterator[int]:
    """Of a server that gives this status and body to whatever it is asked."""
    status, body = request.param

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("port", [(503, b"{}"), (200, b'{"hits": []}')], indirect=True)
def test_a_server_that_finds_nothing_has_no_peak(port: int) -> None:
    with pytest.raises(BenchError):
        ingest.search(port, "anything")
    assert not ingest.answers(port, "anything")


@pytest.mark.parametrize("port", [(200, b'{"hits": [1]}')], indirect=True)
def test_a_server_that_answers_does(port: int) -> None:
    assert ingest.answers(port, "anything")


def test_the_table_tells_what_was_timed() -> None:
    found: dict[str, Any] = {
        "sse": [
            {
                "documents": 100,
                "passages": passages,
                "index": index,
                "store_seconds": 7.5,
                "seconds": 8.5,
                "states_left_to_the_server": passages,
                "bar_seconds": bar,
            }
            for passages, index, bar in ((100, "flat", 60.0), (120, "hnsw", None))
        ],
    }
    made = tables.tables({"ingest": found})["ingest"]
    assert "| 100 documents, 100 passages | flat | 7.5 | 8.5 | at most 60 |" in made
    assert "| 100 documents, 120 passages | hnsw | 7.5 | 8.5 | - |" in made


def test_the_products_of_a_passage_are_counted(tmp_path: Path) -> None:
    config = {"hidden_size": 384, "intermediate_size": 1536, "num_hidden_layers": 12}
    (tmp_path / "config.json").write_text(json.dumps(config))
    linear, attention = 2 * 12 * 12 * 384 * 384 * 100, 12 * 2 * 2 * 100 * 100 * 384
    assert passage_gflop(tmp_path, 100) == pytest.approx((linear + attention) / 1e9)
