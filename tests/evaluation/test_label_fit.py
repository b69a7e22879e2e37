"""A calibration from labels: the server's curve adjusted, or a curve of its own."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from service.confidence.calibration import Calibration
from service.engine.calibrations import Calibrations
from service.errors import InvalidInputError
from service.evaluation.candidates import Observed
from service.evaluation.label_fit import fit_labels
from service.evaluation.label_report import label_report
from service.evaluation.label_set import LabelSet
from service.settings import Settings
from tests.fixtures.candidates import observed
from tests.fixtures.doubles import HashEncoder, ScriptedReranker

CURVE = {"slope": 1.0, "intercept": -2.0, "n": 100, "positive": 50, "ece": 0.0, "brier": 0.1}


def collection(tmp_path: Path, *, base: bool = True) -> Any:
    """What a fit reads of a live collection: its models, and the server's calibration."""
    encoder, reranker = HashEncoder.identity, ScriptedReranker(len)
    artifact = Calibration.model_validate(
        {
            "name": "server",
            "date": "2026-01-01",
            "encoder_weights_sha256": encoder.weights_sha256,
            "query_prefix": encoder.query_prefix,
            "passage_prefix": encoder.passage_prefix,
            "normalizer_version": encoder.normalizer_version,
            "reranker_weights_sha256": reranker.weights_sha256,
            "rerank_weights": {"*": 1.0},
            "curves": {"retrieval": {**CURVE, "slope": 50.0, "intercept": -44.0}, "rerank": CURVE},
            "data": {},
        }
    )
    (tmp_path / "server.json").write_text(artifact.model_dump_json())
    settings = Settings(calibration=tmp_path / "server.json" if base else None)
    calibrations = Calibrations(tmp_path / "calibration.json", settings, encoder, reranker)
    stage = SimpleNamespace(reranker=reranker, judge=calibrations.judge())
    searcher = SimpleNamespace(encoder=SimpleNamespace(identity=encoder), second_stage=stage)
    return SimpleNamespace(name="main", searcher=searcher, calibrations=calibrations)


def judged(queries: int, hits: int = 3, answer_at: int = 1) -> tuple[LabelSet, Observed]:
    """Queries whose answer and some other hits are judged."""
    seen = observed("en", "en", good_logits=True, queries=queries, answer_at=answer_at)
    grades = {"d1": 2} | {f"d{place}": 0 for place in range(2, hits + 1)}
    qrels = {query: dict(grades) for query in seen.qrels}
    labels = LabelSet("main labels", {query: f"text of {query}" for query in qrels}, qrels)
    return labels, replace(seen, qrels=qrels)


def test_few_labels_adjust_the_servers_curve(tmp_path: Path) -> None:
    found = fit_labels(collection(tmp_path), *judged(queries=5))
    assert found.artifact.adjusted_from == "server"
    assert found.report["curves"] == {"retrieval": "adjusted", "rerank": "adjusted"}
    assert found.artifact.adjustments["rerank"].hits == 15
    assert found.artifact.curves["rerank"].slope > 1.0  # labels and logits agree well
    assert found.artifact.rerank_weights == {"*": 1.0}
    assert found.report["warnings"] == []
    assert [move["before"] for move in found.report["moves"]] == [0.1, 0.3, 0.5, 0.7, 0.9]
    assert all(move["low"] < move["after"] < move["high"] for move in found.report["moves"])


def test_enough_labels_have_a_curve_of_their_own_without_a_base(tmp_path: Path) -> None:
    live = collection(tmp_path, base=False)
    with pytest.raises(InvalidInputError, match=r"50 relevant hits of 5 queries.* there are 20"):
        fit_labels(live, *judged(queries=20))
    found = fit_labels(live, *judged(queries=60, hits=6))
    assert found.artifact.adjusted_from is None
    assert set(found.report["curves"].values()) <= {"platt", "isotonic"}
    assert found.artifact.thresholds["high"].probability is not None
    assert any("200 are enough" in said for said in found.report["warnings"])


def test_hits_without_a_judgement_are_no_evidence(tmp_path: Path) -> None:
    labels, seen = judged(queries=5)
    found = fit_labels(collection(tmp_path), labels, seen)
    assert found.artifact.curves["rerank"].n == 15  # of 100 hits that were seen


def test_labels_of_few_queries_are_warned_about(tmp_path: Path) -> None:
    found = fit_labels(collection(tmp_path), *judged(queries=2, hits=8))
    assert any("belong to 2 queries" in said for said in found.report["warnings"])


def test_labels_of_documents_that_no_search_finds_say_so(tmp_path: Path) -> None:
    labels, seen = judged(queries=5)
    nowhere = {query: {"elsewhere": 2, "nowhere": 0} for query in seen.qrels}
    with pytest.raises(InvalidInputError, match="none of the judged hits is found"):
        fit_labels(
            collection(tmp_path), replace(labels, qrels=nowhere), replace(seen, qrels=nowhere)
        )


def test_the_report_tells_what_is_lost_and_where(tmp_path: Path) -> None:
    labels, seen = judged(queries=3, hits=1)
    qrels = {**labels.qrels, "q0": {"gone": 2}, "q1": {"d5": 1, "d1": 0}}
    judge = collection(tmp_path).calibrations.judge()
    report = label_report(replace(labels, qrels=qrels), replace(seen, qrels=qrels), judge)
    first, second = report["lost"]
    assert (first["query_id"], first["document"], first["reason"]) == ("q0", "gone", "not_found")
    assert (second["query_id"], second["document"]) == ("q1", "d5")
    assert second["reason"] in {"below_unjudged", "below_not_relevant"}
    assert report["measures"]["reranked"]["recall@100"]["value"] == pytest.approx(2 / 3)
    assert report["depths"][-1]["depth"] == 100
    assert report["coverage"]["usable"] == 3
    assert "text of" not in str(report)
