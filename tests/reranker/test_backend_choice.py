import json
import logging
import re
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from sentence_transformers import CrossEncoder

from service import backend_record
from service.engine.build import build_reranker
from service.errors import ModelSourceError
from service.extras import install_command
from service.forward_pass import replace_parts
from service.models import onnx_files
from service.models.sources import PreparedModel, prepare
from service.protocols import Reranker
from service.reranker import backend_choice as backends
from service.reranker import onnx_forward
from service.reranker.backend_choice import (
    Backend,
    BackendRecord,
    measure,
    recorded_backend,
)
from service.reranker.cross_encoder import CrossEncoderReranker
from service.reranker.forward import TorchForward
from service.reranker.last_layer import FirstTokenLayer, first_token_only
from service.reranker.onnx_forward import prepare_onnx
from service.reranker.open_cross_encoder import measure_cross_encoder, open_cross_encoder
from service.settings import Settings
from service.types import EncodedPassage, EncodedQuery, PairScore
from tests.fixtures.library import DOCUMENTS
from tests.fixtures.multilingual import SENTENCES
from tests.fixtures.small_models import write_small_reranker

QUERY = "why are there two high tides a day"
TEXTS = [text for texts in SENTENCES.values() for text in texts[:2]]
PAIRS = [(QUERY, text) for text in [*TEXTS, *(d.text for d in DOCUMENTS)]]
PAIRS += [("a harbour", " ".join(TEXTS[:count])) for count in (0, 1, 3, 9)]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> PreparedModel:
    folder = write_small_reranker(tmp_path_factory.mktemp("small"))
    # As they are drawn, all pairs get nearly the same score.
    tensors = load_file(folder / "model.safetensors")
    spread = {name: t * 8 if t.ndim == 2 else t for name, t in tensors.items()}
    spread["classifier.weight"] *= 8
    save_file(spread, folder / "model.safetensors", metadata={"format": "pt"})
    return prepare(str(folder), "cross-encoder", cache_dir=folder.parent / "cache", offline=True)


@pytest.fixture(scope="module")
def settings(small: PreparedModel) -> Settings:
    return Settings(
        reranker=str(small.folder), cache_dir=small.folder.parent / "cache", device="cpu"
    )


def logits(reranker: CrossEncoderReranker, pairs: Sequence[tuple[str, str]]) -> list[float]:
    return [score.logit for score in reranker.score_pairs(pairs)]


def warned(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def test_the_last_layer_makes_the_first_tokens_state_alone(
    settings: Settings, small: PreparedModel
) -> None:
    reranker = opened(settings, small, rerank_backend="torch")
    assert isinstance(reranker._forward, TorchForward)
    base: Any = reranker._forward._model.base_model
    (layer,) = base.encoder.layer
    assert isinstance(layer, FirstTokenLayer)
    assert layer(torch.randn(1, 7, 32)).shape == (1, 1, 32)


def test_a_layer_that_computes_anything_else_is_not_replaced(small: PreparedModel) -> None:
    model = CrossEncoder(str(small.folder), device="cpu").transformers_model
    before = model.base_model.encoder.layer[0]
    ids = torch.arange(5, 25)[None]

    def mean_of_states() -> Any:
        with torch.inference_mode():
            return model.base_model(input_ids=ids).last_hidden_state.mean(1).numpy()

    replace_parts(model, first_token_only(model), mean_of_states)
    assert model.base_model.encoder.layer[0] is before
    replace_parts(model, iter([(model, "no_such_part", before)]), mean_of_states)
    assert not hasattr(model, "no_such_part")


def opened(settings: Settings, small: PreparedModel, **changes: Any) -> CrossEncoderReranker:
    return open_cross_encoder(settings.model_copy(update=changes), small)


@pytest.mark.parametrize(
    ("backend", "tolerance"),
    [("torch", 1e-4), ("onnx", 1e-4), ("torch-bf16", 0.1), ("onnx-int8", 0.25)],
)
def test_every_backend_gives_the_plain_models_logits(
    settings: Settings, small: PreparedModel, backend: Backend, tolerance: float
) -> None:
    plain = CrossEncoder(str(small.folder), device="cpu", local_files_only=True)
    expected = plain.predict(PAIRS, activation_fn=torch.nn.Identity(), show_progress_bar=False)
    reranker = opened(settings, small, rerank_backend=backend)
    assert reranker.backend == backend
    found = logits(reranker, PAIRS)
    assert np.ptp(expected) > 1
    assert np.abs(np.array(found) - expected).max() < tolerance
    # The very same number alone, in any company and in any order.
    assert [logits(reranker, [pair])[0] for pair in PAIRS] == found
    assert logits(reranker, PAIRS[::-1])[::-1] == found


def test_every_pair_counts(settings: Settings, small: PreparedModel) -> None:
    reranker = opened(settings, small)
    twice = [PAIRS[0], PAIRS[1], PAIRS[0]]
    assert logits(reranker, twice) == [logits(reranker, [pair])[0] for pair in twice]


def test_kept_scores_are_the_same_scores(
    settings: Settings, small: PreparedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, keeping = opened(settings, small), opened(settings, small, rerank_score_cache=10)
    for pairs in (PAIRS[:6], PAIRS[3:20], PAIRS[:6], PAIRS):
        assert keeping.score_pairs(pairs) == plain.score_pairs(pairs)
        assert 6 <= len(keeping._scores) <= 10
    scored: list[int] = []
    forward = keeping._forward.logits
    monkeypatch.setattr(
        keeping._forward, "logits", lambda read: scored.append(len(read)) or forward(read)
    )
    keeping.score_pairs([*PAIRS[-10:], PAIRS[0]])
    assert scored == [1]


def test_an_autocast_around_it_changes_nothing(settings: Settings, small: PreparedModel) -> None:
    reranker = opened(settings, small)
    alone = logits(reranker, PAIRS[:5])
    with torch.autocast("cpu", torch.bfloat16):
        assert logits(reranker, PAIRS[:5]) == alone


def test_a_model_that_cannot_be_packed_runs_as_it_is(
    small: PreparedModel, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = logits(opened(settings, small), PAIRS)

    def refuse(*arguments: object) -> object:
        raise RuntimeError("no such operator in this build")

    monkeypatch.setattr("service.forward_pass._PackedLinear.forward", refuse)
    assert np.abs(np.array(logits(opened(settings, small), PAIRS)) - packed).max() < 1e-4


def test_damaged_export_is_made_again(
    small: PreparedModel, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    given = {"cache_dir": tmp_path, "precision": "fp32"}
    file = prepare_onnx(small.folder, small.name, small.weights_sha256, **given)
    sound = file.read_bytes()
    record = json.loads((file.parent.with_name(f"{file.parent.name}.sha256.json")).read_text())
    assert set(record["sha256"]) == {"model.onnx"}
    damaged = bytearray(sound)
    damaged[len(sound) // 2] ^= 1
    file.write_bytes(damaged)
    again = prepare_onnx(small.folder, small.name, small.weights_sha256, **given)
    assert again == file
    assert file.read_bytes() != bytes(damaged)
    assert not warned(caplog)


def test_only_the_exporter_is_muted(caplog: pytest.LogCaptureFixture) -> None:
    with onnx_forward._quiet():
        logging.getLogger("torch.onnx").warning("of the exporter")
        logging.getLogger("service").warning("of a search")
        logging.getLogger().warning("of the program")
        with pytest.warns(UserWarning, match="of a search"):
            warnings.warn("of a search", stacklevel=1)
    logging.getLogger("torch.onnx").warning("afterwards")
    assert warned(caplog) == ["of a search", "of the program", "afterwards"]


def test_without_the_extra_the_error_says_what_to_install(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_files, "find_spec", lambda package: None)
    with pytest.raises(ModelSourceError, match=re.escape(f"onnxscript: {install_command('onnx')}")):
        build_reranker(settings.model_copy(update={"rerank_backend": "onnx-int8"}))


class Fixed(Reranker):
    """Gives stated scores after a stated time."""

    model, weights_sha256 = "fixed", "0" * 64

    def __init__(self, change: float, work: int) -> None:
        self._change, self._work = change, work

    def score(
        self, query: EncodedQuery, slices: Iterable[Sequence[EncodedPassage]], /
    ) -> Iterator[list[PairScore]]:
        for passages in slices:
            sum(range(self._work))
            signs = [1 if number % 2 else -1 for number in range(len(passages))]
            yield [PairScore(n + sign * self._change, False) for n, sign in enumerate(signs)]


@pytest.mark.parametrize(("change", "chosen"), [(0.1, "onnx-int8"), (3.0, "onnx")])
def test_the_fastest_that_is_close_enough_is_chosen(change: float, chosen: Backend) -> None:
    probes = [("q", [str(number) for number in range(20)])]
    rerankers: dict[Backend, Any] = {
        "torch": Fixed(0, 2_000_000),
        "onnx": Fixed(0, 200_000),
        "onnx-int8": Fixed(change, 10),
    }
    record = measure(rerankers, probes)
    assert record.chosen == chosen
    assert record.measured["onnx-int8"].close is (chosen == "onnx-int8")
    assert record.measured["torch"].kendall_tau == 1.0


@pytest.fixture(scope="module")
def measured(settings: Settings, small: PreparedModel) -> BackendRecord:
    """What is measured here."""
    return measure_cross_encoder(settings, small)


@pytest.fixture
def record(settings: Settings, measured: BackendRecord) -> Iterator[BackendRecord]:
    """The same, recorded until the test is over."""
    file = measured.write(settings.cache_dir)
    yield measured
    file.unlink()


def test_auto_takes_what_was_recorded_for_this_cpu_and_these_weights(
    settings: Settings,
    small: PreparedModel,
    record: BackendRecord,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert set(record.measured) == set(backends.BACKENDS)
    assert record.measured["onnx"].close
    assert opened(settings, small).backend == record.chosen
    record.model_copy(update={"chosen": "onnx-int8"}).write(settings.cache_dir)
    assert opened(settings, small).backend == "onnx-int8"
    assert opened(settings, small, rerank_backend="torch").backend == "torch"
    assert recorded_backend(settings.cache_dir, "f" * 64) == "torch"
    monkeypatch.setattr(backend_record, "this_cpu", lambda: "another")
    assert opened(settings, small).backend == "torch"
    backend_record.record_file(settings.cache_dir, small.weights_sha256).write_text("{}")
    monkeypatch.undo()
    assert opened(settings, small).backend == "torch"


def test_a_recorded_choice_whose_packages_went_is_not_taken(
    settings: Settings,
    small: PreparedModel,
    record: BackendRecord,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    record.model_copy(update={"chosen": "onnx-int8"}).write(settings.cache_dir)
    monkeypatch.setattr(onnx_files, "find_spec", lambda package: None)
    assert opened(settings, small).backend == "torch"


def test_a_recorded_choice_whose_file_is_missing_leaves_it_to_torch(
    settings: Settings,
    small: PreparedModel,
    measured: BackendRecord,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    record = measured.model_copy(update={"chosen": "onnx"})
    file = record.write(tmp_path)
    assert opened(settings, small, cache_dir=tmp_path).backend == "torch"
    (message,) = warned(caplog)
    assert "is missing or damaged" in message
    assert f"secondpass models prepare {small.name}" in message
    assert list(tmp_path.rglob("*")) == [file.parent, file]  # a start exports nothing


@pytest.mark.parametrize(
    "what", ["onnxruntime.InferenceSession", "service.reranker.onnx_forward.OnnxForward.logits"]
)
def test_a_recorded_choice_that_does_not_run_leaves_it_to_torch(
    settings: Settings,
    small: PreparedModel,
    record: BackendRecord,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    what: str,
) -> None:
    def fail(*arguments: object, **named: object) -> object:
        raise RuntimeError("no such operator in this build")

    record.model_copy(update={"chosen": "onnx"}).write(settings.cache_dir)
    monkeypatch.setattr(what, fail)
    assert opened(settings, small).backend == "torch"
    assert len(warned(caplog)) == 1
    if what.startswith("onnxruntime"):
        with pytest.raises(ModelSourceError, match="no such operator"):
            opened(settings, small, rerank_backend="onnx")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"threads": 77}, "threads 77 then"),
        ({"versions": {"torch": "2.0"}}, "torch 2.0 then"),
        ({"cpu": "another"}, "cpu another then"),
    ],
)
def test_a_record_of_something_else_is_not_taken(
    settings: Settings,
    small: PreparedModel,
    record: BackendRecord,
    caplog: pytest.LogCaptureFixture,
    changes: dict[str, Any],
    told: str,
) -> None:
    record.model_copy(update={"chosen": "onnx", **changes}).write(settings.cache_dir)
    assert opened(settings, small).backend == "torch"
    (message,) = warned(caplog)
    assert told in message
    assert f"secondpass models prepare {small.name}" in message


def test_a_record_holds_for_the_threads_that_are_asked_for(
    settings: Settings, small: PreparedModel, record: BackendRecord
) -> None:
    record.model_copy(update={"chosen": "onnx"}).write(settings.cache_dir)
    given = (settings.cache_dir, small.weights_sha256)
    assert recorded_backend(*given) == "onnx"
    assert recorded_backend(*given, record.threads) == "onnx"
    assert recorded_backend(*given, record.threads + 1) == "torch"
