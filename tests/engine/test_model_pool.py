"""Weights are in memory once, whatever collections make of them, and go with the last of them."""

import gc
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from service.encoder import bi_encoder, open_bi_encoder
from service.engine.build import build_encoder
from service.engine.model_pool import ModelPool
from service.reranker.interaction_reranker import InteractionReranker
from service.settings import Settings
from tests.fixtures.small_models import write_small_encoder

TEXTS = ["Tides follow the moon.", "Compost needs air, moisture and a mix of materials. " * 4]

GROWTH = """
import sys
from pathlib import Path
from service.memory import freeze_objects, keep_freed_memory

keep_freed_memory()
from service.engine.collection_admin import Collections
from service.engine.engine import open_engine
from service.settings import Settings


def megabytes():
    status = Path("/proc/self/status").read_text()
    return int(status.partition("RssAnon:")[2].split()[0]) / 1024


settings = Settings(data_dir=Path(sys.argv[1]), encoder="sse-512", reranker="none", threads=1)
with open_engine(settings) as engine:
    freeze_objects()
    collections, before = Collections(engine, settings), megabytes()
    for i in range(5):
        own = {"passage_tokens": 100 + i, "embedding_dimensions": 2 ** (5 + i)}
        collections.create(f"c{i}", own)
    collections.create("other", {"encoder": "minilm-l6"})
    most = megabytes()
    for name in ("other", *(f"c{i}" for i in range(5))):
        collections.drop(name)
    print(most - before, megabytes() - before)
"""


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The models of which weights were loaded, in their order."""
    loaded: list[str] = []

    def load(folder: Path, name: str, *options: object) -> object:
        loaded.append(name)
        return bi_encoder.load_model(folder, name, *options)  # type: ignore[arg-type]

    monkeypatch.setattr(open_bi_encoder, "load_model", load)
    return loaded


def test_windows_prefixes_and_dimensions_share_the_weights(
    tmp_path: Path, loads: list[str]
) -> None:
    folder = str(write_small_encoder(tmp_path))
    first = Settings(encoder=folder, passage_tokens=64, device="cpu")
    others = [
        first.model_copy(update={"passage_tokens": 40}),
        first.model_copy(update={"passage_prefix": "text: "}),
    ]
    pool = ModelPool()
    encoders = [pool.encoder(settings) for settings in (first, *others)]
    assert pool.encoder(first) is encoders[0]
    twins = [encoder.twin("indexer") for encoder in encoders]
    assert loads == [folder]
    for settings, encoder, twin in zip((first, *others), encoders, twins, strict=True):
        alone = build_encoder(settings)
        assert encoder.identity == twin.identity == alone.identity
        assert encoder.passage_budget == alone.passage_budget
        vectors = alone.encode_passages(TEXTS)
        assert np.array_equal(encoder.encode_passages(TEXTS), vectors)
        assert np.array_equal(twin.encode_passages(TEXTS), vectors)


def test_weights_that_no_collection_needs_are_let_go_of(tmp_path: Path, loads: list[str]) -> None:
    settings = Settings(encoder=str(write_small_encoder(tmp_path)), device="cpu")
    pool = ModelPool()
    first = pool.encoder(settings)
    second = pool.encoder(settings.model_copy(update={"passage_tokens": 40}))
    del first
    gc.collect()
    assert pool.encoder(settings).encode_queries(TEXTS).shape == (2, 32)
    assert len(loads) == 1, "the second one has them"
    del second
    gc.collect()
    pool.encoder(settings)
    assert len(loads) == 2


def test_a_reranker_and_an_encoder_share_their_base_whichever_comes_first(
    loads: list[str],
) -> None:
    static = Settings(encoder="sse-512", device="cpu", hub_offline=True)
    pool = ModelPool()
    held = pool.encoder(static)
    reranker = pool.reranker(static)
    assert isinstance(reranker, InteractionReranker)
    encoder = pool.encoder(static.model_copy(update={"encoder": "e5-small"}))
    assert loads == [held.identity.model, "e5-small"]
    assert encoder.transformer is reranker._encoder


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_five_collections_take_no_five_models_and_a_drop_gives_memory_back(tmp_path: Path) -> None:
    """190 MB each before, and nothing came back."""
    done = subprocess.run(
        [sys.executable, "-c", GROWTH, str(tmp_path)], capture_output=True, text=True, check=True
    )
    most, after = map(float, done.stdout.split())
    assert most < 190, "five windows of one model, and another small one"
    assert after < 40
