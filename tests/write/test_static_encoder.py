"""A static embedding as the service's encoder, whole and cut to a Matryoshka size."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from service.engine.build import index_digest
from service.engine.engine import open_engine
from service.engine.ingestion import ingesting
from service.errors import IndexMismatchError, InvalidInputError
from service.search.query import Query
from service.settings import Settings
from service.store.data_folder import DataFolder
from tests.cli.test_commands import secondpass
from tests.fixtures.library import DOCUMENTS
from tests.fixtures.small_sse import write_small_sse

MakeSettings = Callable[..., Settings]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_sse(tmp_path_factory.mktemp("sse"))


@pytest.fixture
def settings(encoder: Path, tmp_path: Path) -> MakeSettings:
    def make(dimensions: int | None = None) -> Settings:
        return Settings(
            encoder=str(encoder),
            reranker="none",
            data_dir=tmp_path / "data",
            embedding_dimensions=dimensions,
            device="cpu",
            threads=1,
        )

    return make


def ingest(settings: Settings) -> None:
    with DataFolder.open(settings.data_dir) as folder, ingesting(folder, settings) as ingestor:
        ingestor.ingest(iter(DOCUMENTS))


@pytest.mark.parametrize("dimensions", [None, 32])
def test_a_document_is_found_by_its_own_words(
    settings: MakeSettings, dimensions: int | None, caplog: pytest.LogCaptureFixture
) -> None:
    ingest(settings(dimensions))
    engine = open_engine(settings(dimensions))
    try:
        query = Query(query=DOCUMENTS[2].text[:200], top_k=3)
        result = asyncio.run(engine.searcher.search(query))
    finally:
        engine.folder.close()
    assert result.hits[0].id == DOCUMENTS[2].id
    assert engine.searcher.encoder.identity.dimension == (dimensions or 64)
    assert "no prefixes are known" not in caplog.text


def test_an_index_of_another_size_is_refused(settings: MakeSettings) -> None:
    ingest(settings(32))
    with pytest.raises(IndexMismatchError, match="dimension is 32 there, 64 here"):
        open_engine(settings())
    assert index_digest(settings(32)) != index_digest(settings())


@pytest.mark.parametrize("dimensions", [48, 128, 1])
def test_a_size_that_the_model_was_not_trained_for_is_refused(
    settings: MakeSettings, dimensions: int
) -> None:
    with pytest.raises(InvalidInputError, match=f"cannot be cut to {dimensions} .*64, 32, 16"):
        ingest(settings(dimensions))


def test_models_show_tells_the_sizes(encoder: Path) -> None:
    whole = secondpass("models", "show", encoder)
    assert "dimension       64" in whole.stdout
    assert "may be cut to   64, 32, 16" in whole.stdout
    cut = secondpass("models", "show", encoder, "--embedding-dimensions", 16)
    assert "dimension       16" in cut.stdout
    refused = secondpass("models", "show", encoder, "--embedding-dimensions", 10)
    assert refused.returncode != 0
    assert "cannot be cut to 10 dimensions" in refused.stderr
