"""The default models, prepared once for all tests in the cache folder that the settings name."""

import logging
from collections.abc import Iterator

import pytest

from service.models.sources import PreparedModel, prepare
from service.settings import Settings


@pytest.fixture(scope="session", autouse=True)
def name_of_test_clients() -> Iterator[None]:
    """Starlette's test client calls each server `testserver`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SECONDPASS_ALLOWED_HOSTS", "testserver")
        yield


@pytest.fixture(scope="session", autouse=True)
def float32() -> Iterator[None]:
    """Encode in float32 whatever is fastest on this machine, so that figures are the same."""
    with pytest.MonkeyPatch.context() as patch:
        for work in ("QUERY", "PASSAGE"):
            patch.setenv(f"SECONDPASS_ENCODER_{work}_BACKEND", "torch")
        yield


@pytest.fixture(scope="session")
def e5() -> PreparedModel:
    return prepare("e5-small", "bi-encoder", cache_dir=Settings().cache_dir, offline=True)


@pytest.fixture(scope="session")
def reranker() -> PreparedModel:
    return prepare("minilm-l6-v0", "cross-encoder", cache_dir=Settings().cache_dir, offline=True)


@pytest.fixture
def transformers_log(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """What transformers reports, of a model's missing weights for one; it tells no other logger."""
    logger = logging.getLogger("transformers")
    logger.addHandler(caplog.handler)
    yield caplog
    logger.removeHandler(caplog.handler)
