"""Encoders are opened by their kind: a new one needs a module and a line in `KINDS`."""

import asyncio
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import cast

import pytest

from service.engine.build import build_encoder, build_pair_model, encoder_identity
from service.engine.engine import open_engine
from service.engine.ingestion import ingesting
from service.errors import IndexMismatchError, InvalidInputError
from service.models.model_kinds import KINDS, ModelKind
from service.scheduling.gate import Deadline
from service.search.query import Query
from service.settings import Settings
from service.store.data_folder import DataFolder
from tests.fixtures.library import DOCUMENTS
from tests.fixtures.remote_encoder import REMOTE_ENCODER, embedding_server


@pytest.fixture
def url(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setitem(cast("dict[str, ModelKind]", KINDS), "remote", REMOTE_ENCODER)
    with embedding_server() as url:
        yield url


def test_the_opener_of_every_kind_exists() -> None:
    for kind in KINDS.values():
        if kind.stage == "encoder":
            opener = vars(import_module(kind.opener))
            assert callable(opener["identity"])
            assert callable(opener["open_encoder"])


@pytest.mark.parametrize("reranker", ["none", "interaction-v1"])
def test_a_remote_encoder_serves_from_ingest_to_search(
    url: str, tmp_path: Path, reranker: str
) -> None:
    settings = Settings(data_dir=tmp_path, encoder=url, reranker=reranker, device="cpu")
    with DataFolder.open(tmp_path) as folder, ingesting(folder, settings) as ingestor:
        assert ingestor.ingest(DOCUMENTS[:2]).refused == []
    with open_engine(settings) as engine:
        documents, deadline = engine.collection().documents, Deadline(60)
        written = asyncio.run(documents.put(DOCUMENTS[2:4], deadline))
        assert asyncio.run(documents.wait([one.version for one in written], deadline, deadline))
        for document in DOCUMENTS[:4]:
            result = asyncio.run(engine.searcher.search(Query(query=document.text[:150], top_k=3)))
            assert result.hits[0].id == document.id
            assert (result.hits[0].rerank_score is None) == (reranker == "none")
        assert engine.searcher.encoder.identity == encoder_identity(settings)


def test_an_index_of_another_encoder_is_refused(url: str, tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, encoder=url, reranker="none")
    with DataFolder.open(tmp_path) as folder, ingesting(folder, settings) as ingestor:
        ingestor.ingest(DOCUMENTS[:1])
    with pytest.raises(IndexMismatchError, match="model is 'words' there"):
        open_engine(settings.model_copy(update={"encoder": "minilm-l6"}))


def test_a_remote_pair_model_needs_a_stated_threshold(url: str) -> None:
    settings = Settings(pair_model=url)
    with pytest.raises(InvalidInputError, match="no pair threshold for http"):
        build_pair_model(settings)
    model = build_pair_model(settings.model_copy(update={"pair_threshold": 0.8}))
    assert model is not None
    assert model.encoder.identity == build_encoder(Settings(encoder=url)).identity
    model.close()
