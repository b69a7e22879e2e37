"""The default models, prepared once for all tests in the cache folder that the settings name."""

import pytest

from service.models.sources import PreparedModel, prepare
from service.settings import Settings


@pytest.fixture(scope="session")
def e5() -> PreparedModel:
    return prepare("e5-small", "bi-encoder", cache_dir=Settings().cache_dir, offline=True)


@pytest.fixture(scope="session")
def reranker() -> PreparedModel:
    return prepare("minilm-l6-v0", "cross-encoder", cache_dir=Settings().cache_dir, offline=True)
