"""Candidates as calibration sees them, against the service's own answers over the same index."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.confidence.calibration import Calibration, Curve
from service.confidence.judge import Judge, Thresholds
from service.engine.engine import Engine
from service.errors import UnprocessableTextError
from service.evaluation.calibrating import collect_hits
from service.evaluation.candidates import CANDIDATES, Observer, Search, observe
from service.evaluation.query_cache import BLOCK, QueryCache
from service.evaluation.report import SHOWN_HITS
from service.evaluation.searching import Opened
from service.scheduling.gate import Limits
from service.search.query import Query, Result
from service.search.searcher import Searcher
from service.search.second_stage import SecondStage
from service.store.data_folder import DataFolder
from service.types import Document
from service.write.ingestor import Ingestor
from tests.fixtures.doubles import HashEncoder, ScriptedReranker
from tests.fixtures.live import engine_of, retriever_of

ENCODER = HashEncoder()
TEXT = "the derivative of a composed function is the product of two derivatives, says rule"
LONG = "\n\n".join(
    f"{TEXT} {TEXT} {TEXT} {TEXT} part {part} of the long chapter." for part in range(6)
)
DOCUMENTS = [
    *(Document(f"d{i:03d}", f"{TEXT} number {i}") for i in range(130)),
    Document("long", LONG),
]
QUERY = f"query: {TEXT} number 7"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DataFolder]:
    path: Path = tmp_path_factory.mktemp("data")
    with DataFolder.open(path) as opened:
        opened.store.set_identity(ENCODER.identity)
        Ingestor(opened.store, ENCODER, overlap=0).ingest(DOCUMENTS)
        yield opened


def logit(passage: str) -> float:
    """Some order that is not the cosine's, with ties."""
    return float(len(passage) % 7) + passage.count("3")


def engine(
    folder: DataFolder,
    share: float = 0.4,
    depth: int = 100,
    reranker: ScriptedReranker | None = None,
) -> Engine:
    curve = Curve(slope=9.0, intercept=-8.0, n=1000, positive=100, ece=0.0, brier=0.0)
    artifact = Calibration(
        name="test",
        date="2026-01-01",
        encoder_weights_sha256=ENCODER.identity.weights_sha256,
        query_prefix="query: ",
        passage_prefix="passage: ",
        normalizer_version=1,
        reranker_weights_sha256="f" * 64,
        rerank_weights={"*": share},
        rerank_depth=depth,
        curves={"retrieval": curve, "fused": curve, "rerank": curve},
        data={},
    )
    judge = Judge(ENCODER.identity, "f" * 64, artifact, Thresholds(), rerank_depth=depth)
    retriever = retriever_of(folder)
    stage = SecondStage(reranker or ScriptedReranker(logit), judge, 8)
    searcher = Searcher(ENCODER, retriever, stage, Limits(2000, 8, 30_000))
    return engine_of(folder, searcher)


def answer(over: Engine, query: str) -> Result:
    return asyncio.run(over.searcher.search(Query(query, top_k=100)))


def search(observer: Observer, relevant: set[str]) -> Search:
    ((text, encoded),) = observer.encoded([QUERY])
    return observer.search(text, encoded, relevant)


@pytest.mark.parametrize("depth", [100, 30, 4, 0])
@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_order_and_probabilities_are_the_services_own(
    folder: DataFolder, share: float, depth: int
) -> None:
    over = engine(folder, share, depth)
    hits = answer(over, QUERY).hits
    found = search(Observer(over.searcher, depth), {"d007"}).answered
    ordered = found.ranked(share, depth)
    assert ordered.ordering == (
        "retrieval" if not (share and depth) else "rerank" if share == 1.0 else "fused"
    )
    curve = over.searcher.second_stage.judge.artifact.curves[ordered.ordering]
    probabilities = curve.probability(ordered.basis)
    documents = [found.documents[place] for place in ordered.places]
    assert [hit.id for hit in hits] == documents
    assert len(set(documents)) == len(documents)
    assert [hit.score for hit in hits] == ordered.scores.tolist()
    rest = [None] * (len(hits) - len(probabilities))
    assert [hit.probability for hit in hits] == [*probabilities, *rest]
    assert answer(over, QUERY).language == found.language
    assert found.ranking(share, depth) == documents[:10]


@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_curves_are_fitted_on_the_scores_that_the_service_judges_by(
    folder: DataFolder, share: float
) -> None:
    over = engine(folder, share, 30)
    texts = {f"q{n}": f"{TEXT} number {n}" for n in (7, 23, 31)}
    qrels = {query: {f"d{query[1:]:0>3}": 1} for query in texts}
    observed = observe(Observer(over.searcher, 30), "rules", texts, qrels, texts)
    rows = collect_hits([observed], {"*": share}, 30)
    (ordering,) = [name for name, of in rows.items() if of["served"].any()]
    of = rows[ordering]
    curve = over.searcher.second_stage.judge.artifact.curves[ordering]
    of = of[of["answered"]]
    assert list(zip(curve.probability(of["score"]), of["label"], strict=True)) == [
        (hit.probability, hit.id in qrels[query])
        for query in sorted(texts)
        for hit in answer(over, texts[query]).hits[:SHOWN_HITS]
    ]


def test_the_next_candidates_move_up_where_relevant_documents_are_taken_out(
    folder: DataFolder,
) -> None:
    relevant = {"d007", "d001", "long", "none-such"}
    found = search(Observer(engine(folder).searcher, 100), relevant)
    assert len(found.unanswered.documents) == CANDIDATES
    assert not relevant & set(found.unanswered.documents)
    kept = [d for d in found.answered.documents if d not in relevant]
    assert list(found.unanswered.documents[: len(kept)]) == kept
    assert len(found.unanswered.logits) == CANDIDATES


def test_logits_belong_to_the_first_candidates_of_each_way(folder: DataFolder) -> None:
    reranker = ScriptedReranker(logit)
    over = engine(folder, reranker=reranker)
    observer = Observer(over.searcher, 10)
    found = search(observer, {"d007"})
    assert reranker.calls == [11]  # one passage moved up; the others are scored once
    (seventh,) = (d.text for d in DOCUMENTS if d.id == "d007")
    ((_text, encoded),) = observer.encoded([QUERY])
    passages = [passage.text for passage in observer.passages(QUERY, encoded)]
    expected = [logit(passage) for passage in passages if passage != seventh]
    assert found.unanswered.logits.tolist() == expected[:10]
    assert len(found.answered.logits) == 10


def test_a_query_too_long_for_the_reranker_is_not_reranked(folder: DataFolder) -> None:
    def refuse() -> None:
        raise UnprocessableTextError("too long", "query")

    over = engine(folder, reranker=ScriptedReranker(logit, refuse))
    found = search(Observer(over.searcher, 100), {"d007"})
    assert len(found.answered.logits) == 0
    assert found.answered.documents[0] == "d007"


def test_a_collection_is_observed_with_a_part_of_it_reranked(folder: DataFolder) -> None:
    reranker = ScriptedReranker(logit)
    queries = {"a": f"{TEXT} number 1", "b": f"{TEXT} number 2"}
    qrels = {"a": {"d001": 1, "d002": 0}, "b": {"d002": 2}}
    heard: list[int] = []
    observer = Observer(engine(folder, reranker=reranker).searcher, 100)
    found = observe(observer, "rules", queries, qrels, {"b"}, heard.append)
    assert heard == [1, 2]
    assert len(found.searches["a"].answered.logits) == 0
    assert len(found.searches["b"].answered.logits) == CANDIDATES
    assert "d001" not in found.searches["a"].unanswered.documents
    assert "d002" in found.searches["a"].unanswered.documents
    assert len(reranker.calls) == 1


def test_hits_below_the_depth_do_not_hide_that_nothing_answers(folder: DataFolder) -> None:
    low = answer(engine(folder, 1.0, 4, ScriptedReranker(lambda _passage: -5.0)), QUERY)
    assert [hit.confidence for hit in low.hits[:5]] == ["low"] * 4 + ["uncalibrated"]
    assert low.answerable is False
    high = answer(engine(folder, 1.0, 4, ScriptedReranker(lambda _passage: 5.0)), QUERY)
    assert high.answerable is True


@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_answers_are_the_services_own(folder: DataFolder, share: float, tmp_path: Path) -> None:
    over = engine(folder, share, 30)
    queries = {f"q{n}": f"{TEXT} number {n}" for n in range(BLOCK + 3)}
    heard: list[int] = []
    with QueryCache(over.searcher, tmp_path) as cache:
        answers = Opened(over, cache, None).answers(queries, heard.append)
    assert heard == list(range(1, len(queries) + 1))
    for rerank, stage in enumerate(("retrieval", "reranked")):
        assert list(answers[stage]) == list(queries)
        for query in ("q0", f"q{BLOCK}"):
            asked = Query(queries[query], top_k=100, rerank=bool(rerank))
            expected = asyncio.run(over.searcher.search(asked))
            found = answers[stage][query]
            assert found.hits == [(hit.id, hit.score, hit.probability) for hit in expected.hits]
            assert found.status == expected.rerank.status
