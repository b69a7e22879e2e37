from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from service.api.app import create_app
from service.engine.engine import Engine, open_engine
from service.engine.ingestion import ingesting
from service.settings import Settings
from service.store.data_folder import DataFolder
from service.store.key_file import hash_key
from tests.fixtures.library import DOCUMENTS
from tests.fixtures.serving import KEY, serving


@pytest.fixture(scope="package")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A data folder that holds the small library, encoded by the default models."""
    settings = Settings(data_dir=tmp_path_factory.mktemp("library"))
    with DataFolder.open(settings.data_dir) as folder, ingesting(folder, settings) as ingestor:
        report = ingestor.ingest(DOCUMENTS)
    assert report.refused == []
    return settings


@pytest.fixture(scope="package")
def client(settings: Settings) -> Iterator[TestClient]:
    """The application on the real models, ready."""
    with TestClient(create_app(settings, lambda: open_engine(settings))) as client:
        while client.get("/readyz").status_code != 200:
            assert not client.app.state.server.failed
        yield client


@pytest.fixture(scope="package")
def engine(client: TestClient) -> Engine:
    """The loaded engine of `client`."""
    return client.app.state.server.engine


@pytest.fixture(scope="module")
def url(engine: Engine, settings: Settings) -> Iterator[str]:
    """A server on a port of the loopback that asks for `KEY`."""
    asked = settings.model_copy(update={"api_key_hashes": frozenset({hash_key(KEY)})})
    with serving(engine, asked) as address:
        yield address
