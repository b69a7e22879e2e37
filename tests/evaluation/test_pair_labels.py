"""A cross-encoder's figures on labelled pairs."""

from pathlib import Path

from service.collection import LabelledPair
from service.evaluation.pair_labels import evaluate_cross_encoder
from service.settings import Settings
from tests.fixtures.library import DOCUMENTS
from tests.fixtures.small_models import write_two_headed_reranker

QUERY = "why are there two high tides a day"


def test_a_pairs_logit_is_its_own_whatever_else_is_measured(tmp_path: Path) -> None:
    pairs = [LabelledPair(QUERY, d.text, n % 2) for n, d in enumerate(DOCUMENTS[:6])]
    folder = write_two_headed_reranker(tmp_path)
    settings = Settings(
        reranker=str(folder),
        cache_dir=tmp_path / "cache",
        device="cpu",
        rerank_backend="torch",
        rerank_keep=2,
    )
    _report, together = evaluate_cross_encoder(pairs, settings, 1.0)
    one_step = settings.model_copy(update={"rerank_keep": 0, "cache_dir": tmp_path / "other"})
    assert together == evaluate_cross_encoder(pairs, one_step, 1.0)[1]
    assert len(set(together)) == len(pairs)
