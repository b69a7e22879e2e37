"""What several workers share out, and how their figures become one text."""

import pytest

from service.api import crew
from service.api.crew import per_worker
from service.api.metrics import Metrics, of_workers
from service.settings import Settings


def test_the_figures_of_each_worker_stand_side_by_side() -> None:
    owner, reader = Metrics(), Metrics()
    for metrics, times in ((owner, 2), (reader, 3)):
        metrics.documents.set(7)
        for _ in range(times):
            metrics.observe_request("POST", "/search", 200, 0.02)
    text = of_workers({"0": owner.render(), "1": reader.render()}, "0").decode()
    lines = text.splitlines()
    asked = 'secondpass_requests_total{method="POST",path="/search",status="200",worker="%d"} %.1f'
    assert asked % (0, 2) in lines
    assert asked % (1, 3) in lines
    took = 'secondpass_request_seconds_bucket{le="0.025",path="/search",worker="%d"} %.1f'
    assert took % (0, 2) in lines
    assert took % (1, 3) in lines
    assert [line for line in lines if line.startswith("secondpass_documents{")] == [
        'secondpass_documents{worker="0"} 7.0'
    ]
    assert text.count("# TYPE secondpass_requests_total counter") == 1
    assert text.count("# HELP secondpass_request_seconds ") == 1
    assert text.count("# TYPE secondpass_request_seconds histogram") == 1


@pytest.mark.parametrize(
    ("workers", "threads", "each"), [(1, 0, 0), (2, 0, 4), (3, 0, 2), (16, 0, 1), (2, 6, 6)]
)
def test_cores_are_shared_out_where_nobody_says_how(
    monkeypatch: pytest.MonkeyPatch, workers: int, threads: int, each: int
) -> None:
    monkeypatch.setattr(crew, "_cores", lambda: 8)
    assert per_worker(Settings(workers=workers, threads=threads)).threads == each
