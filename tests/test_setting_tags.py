"""Every setting says what it is about and what it decides, and that is so."""

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from service.engine import build
from service.engine.live_collection import build_answer_cache
from service.models.sources import PreparedModel
from service.scheduling.gate import Deadline
from service.search.pair_model import PairModel
from service.search.query import Query
from service.settings import DECIDING, TAGS, Settings
from tests.fixtures.pairs import LIMITS, PairEncoder

OTHER: dict[str, Any] = {
    "query_prefix": "ask: ",
    "passage_prefix": "text: ",
    "embedding_dimensions": 192,
    "rerank_backend": "torch",
    "encoder_query_backend": "torch-bf16",
    "encoder_passage_backend": "torch-bf16",
    "rerank_weight": 0.3,
    "passage_states": False,
    "search_mode": "sparse",
    "hybrid_fusion": "rrf",
    "hybrid_weight": 0.3,
    "calibration": Path("other.json"),
    "confidence_high": 0.9,
    "confidence_medium": 0.4,
}
"""A value other than the default; of a whole number it is one more."""


CHANGES_AN_ANSWER = {
    # What the index holds.
    "encoder",
    "query_prefix",
    "passage_prefix",
    "embedding_dimensions",
    "passage_tokens",
    "passage_overlap",
    # Which passages are found.
    "passages_per_document",
    "search_mode",
    "hybrid_fusion",
    "hybrid_weight",
    "hnsw_threshold",
    # How they are scored and judged.
    "reranker",
    "rerank_max_length",
    "rerank_weight",
    "encoder_query_backend",
    "encoder_passage_backend",
    "rerank_backend",
    "rerank_window",
    "rerank_depth",
    "passage_states",
    "calibration",
    "confidence_high",
    "confidence_medium",
}
"""Written by hand, as the tags are: one that is forgotten in one place is found here."""


def changed(name: str) -> Settings:
    plain = Settings()
    value = getattr(plain, name)
    other = value + 1 if isinstance(value, int) else "other"
    return plain.model_copy(update={name: OTHER.get(name, other)})


def prepared(
    name: str, *_: object, query_prefix: str | None, passage_prefix: str | None, **__: Any
):
    """Any model, with nothing behind it."""
    prefixes = (query_prefix or "query: ", passage_prefix or "passage: ")
    return PreparedModel(
        name, "bi-encoder", Path(), "0" * 64, *prefixes, "registry", 384, 512, None, (192,)
    )


def test_every_setting_has_a_tag() -> None:
    assert list(TAGS) == list(Settings.model_fields)


def test_what_decides_an_index_is_in_its_identity_and_nothing_else_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(build, "prepare", prepared)
    plain = build.index_digest(Settings())
    decides = [name for name in TAGS if build.index_digest(changed(name)) != plain]
    assert decides == [name for name, tag in TAGS.items() if tag.decides == "index"]


def test_what_decides_an_answer_is_in_the_key_of_a_kept_one() -> None:
    plain = version_of(Settings())
    names = [*CHANGES_AN_ANSWER, "threads", "device", "rerank_cache_mb", "log_level"]
    assert {name for name in names if version_of(changed(name)) != plain} == CHANGES_AN_ANSWER
    assert set(DECIDING) == CHANGES_AN_ANSWER


def version_of(settings: Settings) -> str:
    """What an answer cache of these settings keeps an answer under, beside its query."""
    model: Any = PairModel(PairEncoder(), 0.8, LIMITS)
    settings = settings.model_copy(update={"answer_cache": 4})
    retriever: Any = SimpleNamespace(version="7")
    stage: Any = SimpleNamespace(judge=SimpleNamespace(name="one"))
    try:
        cache = build_answer_cache(settings, model, retriever, stage)
        assert cache is not None
        return asyncio.run(cache.look_up(Query("a"), "a", Deadline(10))).version
    finally:
        model.close()
