"""A cross-encoder's figures on labelled pairs."""

from pathlib import Path

from service.datasets import LabelledPair
from service.evaluation.pairs import evaluate_cross_encoder
from service.settings import Settings
from tests.fixtures.library import DOCUMENTS
from tests.fixtures.small_models import write_small_reranker

QUERY = "why are there two high tides a day"


def test_a_pairs_logit_is_its_own_whatever_else_is_measured(tmp_path: Path) -> None:
    pairs = [LabelledPair(QUERY, d.text, n % 2) for n, d in enumerate(DOCUMENTS[:6])]
    folder = write_small_reranker(tmp_path)
    settings = Settings(
        reranker=str(folder),
        cache_dir=tmp_path / "cache",
        device="cpu",
        rerank_backend="torch",
    )
    _report, together = evaluate_cross_encoder(pairs, settings, 1.0)
    elsewhere = settings.model_copy(update={"cache_dir": tmp_path / "other"})
    parts = [pairs[start : start + 2] for start in range(0, len(pairs), 2)]
    apart = [logit for part in parts for logit in evaluate_cross_encoder(part, elsewhere, 1.0)[1]]
    assert together == apart
