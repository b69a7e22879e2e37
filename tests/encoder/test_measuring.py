"""Which backends run an encoder: what was measured, on this machine, of these weights."""

import re
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from service.backend_record import record_file
from service.encoder import measuring, onnx_layers
from service.encoder.measuring import EncoderRecord, chosen_backends, measured_backends
from service.encoder.onnx_layers import layers_file
from service.encoder.open_bi_encoder import load_weights
from service.encoder.transformer import Transformer
from service.encoder.transformer_backends import PLAIN, Backends
from service.errors import ModelSourceError
from service.extras import install_command
from service.models import onnx_files
from service.models.onnx_files import onnx_is_installed
from service.models.sources import PreparedModel, prepare
from service.settings import Settings
from service.types import EncoderBackend
from tests.fixtures.multilingual import LONG, SENTENCES
from tests.fixtures.small_models import write_small_encoder

TEXTS = [*(text for texts in SENTENCES.values() for text in texts), *LONG[:2]]


@pytest.fixture
def small(tmp_path: Path) -> PreparedModel:
    folder = write_small_encoder(tmp_path)
    return prepare(str(folder), "bi-encoder", cache_dir=tmp_path / "cache", offline=True)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    auto = {"encoder_query_backend": "auto", "encoder_passage_backend": "auto"}
    return Settings(cache_dir=tmp_path / "cache", device="cpu", **auto)


def cosines(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    norms = np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs, axis=1)
    return (ours * theirs).sum(axis=1) / norms


def test_bfloat16_gives_the_default_encoders_vectors(e5: PreparedModel) -> None:
    both = Transformer.load(
        e5.folder, batch_tokens=1024, device="cpu", backends=Backends("torch", "torch-bf16")
    )
    exact, fast = both.queries.encode(TEXTS, 64), both.encode(TEXTS, 64)
    assert not np.array_equal(exact, fast)
    assert cosines(exact, fast).min() >= measuring.LEAST_COSINE
    states = [one.states(TEXTS[:3], 64, (0, 12)) for one in (both.queries, both)]
    for ours, theirs in zip(*states, strict=True):
        assert np.array_equal(ours.ids, theirs.ids)
        assert cosines(ours.states[:, 384:], theirs.states[:, 384:]).min() >= 0.99


def test_what_is_measured_is_recorded_and_taken_from_then_on(
    small: PreparedModel, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = chosen_backends(settings, small)
    record = EncoderRecord.read(settings.cache_dir, small.weights_sha256)
    assert record is not None
    assert record.chosen[:2] == first[:2]
    assert record.measured["torch"].least_cosine == pytest.approx(1.0, abs=1e-5)
    other = Backends("torch-bf16", "torch")
    record.model_copy(update={"chosen": other}).write(settings.cache_dir)
    monkeypatch.setattr(measuring, "measured_backends", None)
    assert chosen_backends(settings, small) == other
    named = settings.model_copy(update={"encoder_query_backend": "torch"})
    assert chosen_backends(named, small) == PLAIN


def test_another_machine_measures_again(
    small: PreparedModel, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = measured_backends(settings, small)
    assert measured is not None
    measured.model_copy(update={"cpu": "another"}).write(settings.cache_dir)
    chosen_backends(settings, small)
    again = EncoderRecord.read(settings.cache_dir, small.weights_sha256)
    assert again is not None
    assert again.cpu == measured.cpu


def test_a_backend_that_is_not_close_is_never_chosen(
    small: PreparedModel, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measuring, "LEAST_COSINE", 1.1)
    record = measured_backends(settings, small)
    assert record is not None
    assert record.chosen == PLAIN


def test_a_cache_that_cannot_be_written_is_no_error(
    small: PreparedModel, settings: Settings
) -> None:
    record_file(settings.cache_dir, small.weights_sha256).mkdir(parents=True)
    assert set(chosen_backends(settings, small).names) <= set(get_args(EncoderBackend))


@pytest.fixture
def int8(small: PreparedModel, settings: Settings) -> Path:
    """The file of a recorded choice of int8 for queries."""
    if not onnx_is_installed():
        pytest.skip("the extra onnx is not installed")
    record = measured_backends(settings, small)
    assert record is not None
    assert set(record.measured) >= {"torch", "onnx", "onnx-int8"}
    assert record.measured["onnx"].least_cosine == pytest.approx(1.0, abs=1e-5)
    record.model_copy(update={"chosen": Backends("onnx-int8", "torch")}).write(settings.cache_dir)
    return layers_file(small, "onnx-int8", settings.cache_dir, make=False)


def test_a_damaged_file_leaves_it_to_torch(
    small: PreparedModel, settings: Settings, int8: Path, caplog: pytest.LogCaptureFixture
) -> None:
    found = chosen_backends(settings, small)
    assert found == Backends("onnx-int8", "torch", (("onnx-int8", int8),))
    damaged = bytearray(int8.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    int8.write_bytes(damaged)
    assert chosen_backends(settings, small) == PLAIN
    (message,) = [record.getMessage() for record in caplog.records]
    assert "is missing or damaged" in message
    assert "secondpass models prepare" in message
    named = settings.model_copy(update={"encoder_query_backend": "onnx-int8"})
    assert chosen_backends(named, small) == found  # made again
    assert int8.read_bytes() != bytes(damaged)


def test_a_recorded_choice_whose_packages_went_is_not_taken(
    small: PreparedModel, settings: Settings, int8: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_files, "find_spec", lambda package: None)
    assert chosen_backends(settings, small) == PLAIN
    named = settings.model_copy(update={"encoder_query_backend": "onnx"})
    with pytest.raises(ModelSourceError, match=re.escape(install_command("onnx"))):
        chosen_backends(named, small)


@pytest.mark.parametrize("fails", ["opens", "runs"])
def test_what_onnx_runtime_cannot_run_is_left_to_torch(
    small: PreparedModel,
    settings: Settings,
    int8: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    fails: str,
) -> None:
    class Failing:
        def run(self, *_: object) -> None:
            raise Exception("no such operator")  # the library's errors have no other base

    def session(file: Path, _threads: int) -> Failing:
        if fails == "opens":
            raise ModelSourceError(f"onnxruntime cannot open {file}")
        return Failing()

    monkeypatch.setattr(onnx_layers, "onnx_session", session)
    encoder = load_weights(settings, small)
    assert isinstance(encoder, Transformer)
    assert encoder.backends == PLAIN
    (message,) = [record.getMessage() for record in caplog.records]
    assert "so torch does" in message
    named = settings.model_copy(update={"encoder_query_backend": "onnx-int8"})
    with pytest.raises(ModelSourceError, match=r"cannot open|no such operator"):
        load_weights(named, small)


def test_a_graph_that_cannot_be_written_leaves_the_choice_to_torch(
    small: PreparedModel, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not onnx_is_installed():
        pytest.skip("the extra onnx is not installed")

    def too_large(*_: object, **_about: object) -> None:
        raise ValueError("more than two gigabytes")

    monkeypatch.setattr(onnx_layers, "write_graph", too_large)
    record = measured_backends(settings, small)
    assert record is not None
    assert set(record.measured) <= {"torch", "torch-bf16"}


def test_elsewhere_than_on_a_cpu_float32_runs_whatever_is_named(small: PreparedModel) -> None:
    named = Settings(device="cuda", encoder_query_backend="onnx-int8")
    assert chosen_backends(named, small) == PLAIN


def test_int8_is_near_float32_in_vectors_and_states(e5: PreparedModel, tmp_path: Path) -> None:
    if not onnx_is_installed():
        pytest.skip("the extra onnx is not installed")
    files = (("onnx-int8", layers_file(e5, "onnx-int8", tmp_path)),)
    both = Transformer.load(
        e5.folder, batch_tokens=1024, device="cpu", backends=Backends("torch", "onnx-int8", files)
    )
    exact, fast = both.queries.encode(TEXTS, 64), both.encode(TEXTS, 64)
    assert cosines(exact, fast).min() >= measuring.LEAST_COSINE
    states = [one.states(TEXTS[:3], 64, (0, 6, 12)) for one in (both.queries, both)]
    for ours, theirs in zip(*states, strict=True):
        np.testing.assert_allclose(ours.states[:, :384], theirs.states[:, :384], atol=1e-6)
        assert cosines(ours.states[:, 384:], theirs.states[:, 384:]).min() >= 0.99
