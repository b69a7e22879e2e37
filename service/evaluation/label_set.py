"""A collection's own labels, and what its own stages find for the labelled queries."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

from service.datasets.labels import Grades
from service.engine.job_work import OnProgress
from service.engine.label_export import known_labels
from service.engine.live_collection import LiveCollection
from service.errors import InvalidInputError
from service.evaluation.candidates import Observed, Observer, observe
from service.protocols import Encoder
from service.scheduling.background import ACCOUNT, Background
from service.search.query import encode_queries
from service.store.label_store import LabelKind
from service.types import EncodedPassage, EncodedQuery, PairScore


@dataclass(frozen=True, slots=True)
class LabelSet:
    """Labelled queries, texts by id, and the grades of their documents."""

    name: str
    queries: dict[str, str]
    qrels: Grades

    @property
    def sha256(self) -> str:
        """Equal for equal labels."""
        content = json.dumps([self.queries, self.qrels], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()


def read_label_set(live: LiveCollection, kind: LabelKind) -> LabelSet:
    """The labels of documents that are still there. Raises `InvalidInputError` if there are none.

    A query that is too long by now is left out.
    """
    with live.folder.store.view() as view:
        known = known_labels(view, live.folder.labels.queries(kind))
    most = live.searcher.limits.query_chars
    known = [query for query in known if len(query.text) <= most]
    if not known:
        raise InvalidInputError(f"the collection {live.name!r} has no {kind}", "labels")
    return LabelSet(
        f"{live.name} {kind}",
        {query.id: query.text for query in known},
        {query.id: {one.document: one.effective for one in query.judged} for query in known},
    )


def observe_labels(live: LiveCollection, labels: LabelSet, on_progress: OnProgress) -> Observed:
    """Search and rerank all labelled queries as the collection does. Gives way to requests."""
    searcher, total = live.searcher, len(labels.queries)
    encoder, stage = live.jobs_encoder, searcher.second_stage
    layers = stage.reranker.layers(encoder.identity) if stage.reranker else ()

    def score(query: EncodedQuery, passages: Sequence[EncodedPassage]) -> list[PairScore]:
        return stage.score_in_background(query, passages, ACCOUNT)

    observer = Observer(
        searcher,
        stage.judge.rerank_depth,
        encode=lambda texts: _encoded(encoder, texts, layers),
        score=score,
        mode=None,
    )
    on_progress(0, total)
    # Without grades: these searches keep their relevant documents.
    seen = observe(
        observer, labels.name, labels.queries, {}, labels.queries, lambda n: on_progress(n, total)
    )
    return replace(seen, qrels=labels.qrels)


def _encoded(encoder: Encoder, texts: Sequence[str], layers: Sequence[int]) -> list[EncodedQuery]:
    found: dict[int, EncodedQuery] = {}

    def encode(places: Sequence[int]) -> None:
        part = encode_queries(encoder, [texts[place] for place in places], layers)
        found.update(zip(places, part, strict=True))

    Background().encode(encode, texts)
    return [found[place] for place in range(len(texts))]
