import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.losses import ContrastiveLoss

from service.encoder.bi_encoder import BiEncoder
from service.errors import InvalidInputError, TrainingError
from service.models.pair_threshold import read_pair_threshold
from service.models.sources import prepare
from service.settings import Settings
from service.training.recipe import load_recipe
from service.training.run_folder import RunFolder
from service.training.system import Progress
from service.training.trainer import Outcome, run
from service.types import EncoderIdentity
from tests.fixtures.small_models import write_small_encoder
from tests.fixtures.training_labels import write_pairs

WHOLE = ("training.epochs=4", "training.evaluate_every=2")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_encoder(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pairs(tmp_path_factory.mktemp("labels") / "questions.jsonl")


def changes_of(base: Path, changes: Sequence[str]) -> list[str]:
    small = ["training.batch_size=4", "training.accumulation=2", "training.learning_rate=0.01"]
    shares = ["training.validation_share=0.3", "training.test_share=0.2"]
    return [f"base={base}", *small, *shares, "training.scheduler=linear", *changes]


def train(base: Path, pairs: Path, out: Path, *changes: str, **how: object) -> Outcome:
    settings = Settings(device="cpu", cache_dir=out.parent / "cache", hub_offline=True)
    recipe = load_recipe("pair-contrastive", changes_of(base, changes))
    return run(recipe, [pairs], out, settings, **how)  # type: ignore[arg-type]


def weights(folder: Path) -> dict[str, np.ndarray]:
    return load_file(folder / "model.safetensors")


def assert_same_weights(first: Path, second: Path) -> None:
    a, b = weights(first), weights(second)
    assert a.keys() == b.keys()
    assert all(np.array_equal(a[name], b[name]) for name in a)


def record(folder: Path) -> dict[str, object]:
    content: dict[str, object] = json.loads((folder / "training.json").read_text())
    return content


@pytest.fixture(scope="module")
def whole(base: Path, pairs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "model"
    licences = {f"{pairs.parent.name}/{pairs.name}": "CC0-1.0"}
    train(base, pairs, out, *WHOLE, licences=licences)
    return out


def test_a_finished_folder_is_served_with_its_prefixes_and_threshold(whole: Path) -> None:
    model = prepare(str(whole), "bi-encoder", cache_dir=whole.parent, offline=True)
    assert (model.query_prefix, model.passage_prefix) == ("query: ", "passage: ")
    assert model.max_length == 64
    identity = EncoderIdentity(
        model.name, model.weights_sha256, 32, model.query_prefix, model.passage_prefix, 64, 1
    )
    encoder = BiEncoder(model.folder, identity, batch_tokens=512, device="cpu", threads=1)
    assert encoder.encode_queries(["Đạo hàm là gì?"]).shape == (1, 32)
    stated = read_pair_threshold(whole)
    assert stated is not None
    assert stated.threshold == pytest.approx(
        json.loads((whole / "figures.json").read_text())["after"]["learned_threshold"]
    )


def test_the_card_says_what_was_trained_from_what(whole: Path, pairs: Path) -> None:
    card = (whole / "README.md").read_text(encoding="utf-8")
    said = record(whole)
    assert "CC0-1.0" in card
    assert str(said["data"][0]["sha256"]) in card  # type: ignore[index]
    assert "| training.learning_rate | 0.01 |" in card
    assert "| cosine_ap | " in card
    assert f"step {said['best_step']}" in card
    assert (whole / "loss.png").read_bytes().startswith(b"\x89PNG")
    assert list((whole / "logs").glob("events.out.tfevents.*"))


def test_nothing_is_left_beside_a_finished_folder_and_no_pickle_in_it(whole: Path) -> None:
    beside = {path.name for path in whole.parent.iterdir()}
    assert beside == {"model", "cache"} - ({"cache"} - beside)
    assert not [p for p in whole.rglob("*") if p.suffix in {".bin", ".pt", ".pth", ".pkl"}]


def test_the_kept_weights_are_those_of_the_best_validation_loss(
    base: Path, pairs: Path, tmp_path: Path
) -> None:
    # So high a rate that the loss rises again after a few steps.
    out = tmp_path / "model"
    seen: list[float] = []

    def note(now: Progress | str) -> None:
        if isinstance(now, Progress) and now.validation_loss is not None:
            seen.append(now.validation_loss)

    # One batch holds all validation rows, so that their mean needs no weighing.
    one_batch = (
        "training.batch_size=64",
        "training.accumulation=1",
        "training.no_duplicates=false",
    )
    often = ("training.epochs=8", "training.evaluate_every=1", "training.learning_rate=0.2")
    train(base, pairs, out, *one_batch, *often, on_progress=note)
    said = record(out)
    assert said["best_validation_loss"] == pytest.approx(min(seen))
    assert said["best_step"] != said["steps"]
    assert validation_loss(out, base, pairs) == pytest.approx(min(seen), abs=1e-5)


def validation_loss(folder: Path, base: Path, pairs: Path) -> float:
    from service.training.system import Job  # noqa: PLC0415
    from service.training.systems import pair_contrastive  # noqa: PLC0415

    recipe = load_recipe("pair-contrastive", changes_of(base, WHOLE))
    rows = pair_contrastive.prepare(Job(recipe, (pairs,), base, folder)).validation
    model = SentenceTransformer(str(folder), device="cpu", local_files_only=True)
    loss = ContrastiveLoss(model, size_average=False)
    with torch.no_grad():
        features = [model.preprocess(list(rows[name])) for name in ("sentence1", "sentence2")]
        return float(loss(features, torch.tensor(rows["label"]))) / len(rows)


class InterruptedTrainingError(Exception):
    pass


@pytest.mark.parametrize("step", [3, 5, 9])
def test_an_interrupted_training_comes_to_the_same_weights(
    whole: Path, base: Path, pairs: Path, tmp_path: Path, step: int
) -> None:
    out = tmp_path / "model"

    def interrupt(now: Progress | str) -> None:
        if isinstance(now, Progress) and now.step == step:
            raise InterruptedTrainingError

    with pytest.raises(InterruptedTrainingError):
        train(base, pairs, out, *WHOLE, on_progress=interrupt)
    assert not out.exists()
    said: list[Progress | str] = []
    train(base, pairs, out, *WHOLE, on_progress=said.append)
    assert next(now.step for now in said if isinstance(now, Progress)) > 1  # it went on
    assert "measuring the model as it is" not in said  # that was kept
    assert_same_weights(out, whole)
    assert record(out)["after"] == record(whole)["after"]


def test_one_that_was_killed_comes_to_the_same_weights(
    whole: Path, base: Path, pairs: Path, tmp_path: Path
) -> None:
    out = tmp_path / "model"
    flags = [word for change in changes_of(base, WHOLE) for word in ("--set", change)]
    command = ["train", "pair-contrastive", "--collection", str(pairs), "--out", str(out), *flags]
    command += ["--device", "cpu", "--threads", "1", "--cache-dir", str(tmp_path / "cache")]
    with subprocess.Popen(
        [sys.executable, "-m", "service", *command], stderr=subprocess.DEVNULL
    ) as child:
        newest = out.with_name("model.unfinished") / "checkpoints" / "checkpoint-4"
        while not newest.exists() and child.poll() is None:
            time.sleep(0.005)
        os.kill(child.pid, signal.SIGKILL)
    assert child.returncode == -signal.SIGKILL
    assert not out.exists()
    train(base, pairs, out, *WHOLE)
    assert_same_weights(out, whole)


def test_a_checkpoint_that_was_not_written_to_its_end_is_passed_over(
    whole: Path, base: Path, pairs: Path, tmp_path: Path
) -> None:
    out = tmp_path / "model"

    def interrupt(now: Progress | str) -> None:
        if isinstance(now, Progress) and now.step == 7:
            raise InterruptedTrainingError

    with pytest.raises(InterruptedTrainingError):
        train(base, pairs, out, *WHOLE, on_progress=interrupt)
    checkpoints = out.with_name("model.unfinished") / "checkpoints"
    (checkpoints / "checkpoint-6" / "trainer_state.json").unlink()
    train(base, pairs, out, *WHOLE)
    assert_same_weights(out, whole)


def test_patience_ends_a_training_that_gets_no_better(
    base: Path, pairs: Path, tmp_path: Path
) -> None:
    changes = (*WHOLE, "training.learning_rate=1e-30", "training.patience=2")
    train(base, pairs, tmp_path / "model", *changes)
    said = record(tmp_path / "model")
    assert (said["steps"], said["best_step"]) == (6, 2)


def test_a_short_run_stops_at_max_steps(base: Path, pairs: Path, tmp_path: Path) -> None:
    train(base, pairs, tmp_path / "model", "training.max_steps=3")
    assert record(tmp_path / "model")["steps"] == 3


def test_a_finished_job_is_not_trained_again(whole: Path, base: Path, pairs: Path) -> None:
    before = (whole / "training.json").stat().st_mtime_ns
    outcome = train(base, pairs, whole, *WHOLE)
    assert not outcome.trained
    assert outcome.after["cosine_ap"] == record(whole)["after"]["cosine_ap"]  # type: ignore[index]
    assert (whole / "training.json").stat().st_mtime_ns == before


def test_another_recipes_folder_is_replaced_only_when_told(
    base: Path, pairs: Path, tmp_path: Path
) -> None:
    out = tmp_path / "model"
    train(base, pairs, out, "training.max_steps=2")
    with pytest.raises(InvalidInputError, match="--overwrite"):
        train(base, pairs, out, "training.max_steps=3")
    train(base, pairs, out, "training.max_steps=3", overwrite=True)
    assert record(out)["steps"] == 3


def test_another_recipes_unfinished_training_is_left_alone(
    base: Path, pairs: Path, tmp_path: Path
) -> None:
    out = tmp_path / "model"

    def interrupt(_now: Progress | str) -> None:
        raise InterruptedTrainingError

    with pytest.raises(InterruptedTrainingError):
        train(base, pairs, out, on_progress=interrupt)
    with pytest.raises(InvalidInputError, match="another recipe, base or data"):
        train(base, pairs, out, "training.max_steps=2")
    train(base, pairs, out, "training.max_steps=2", resume=False)
    assert record(out)["steps"] == 2


def test_a_loss_that_is_no_number_ends_the_training(
    base: Path, pairs: Path, tmp_path: Path
) -> None:
    with pytest.raises(TrainingError, match=r"loss is nan at step .*learning_rate"):
        train(base, pairs, tmp_path / "model", *WHOLE, "training.learning_rate=1e38")
    assert not (tmp_path / "model").exists()


def test_a_licence_for_no_collection_is_refused(base: Path, pairs: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"questions\.jsonl"):
        train(base, pairs, tmp_path / "model", licences={"medquad": "CC BY 4.0"})


def test_bf16_trains_on_a_cpu_and_fp16_does_not(base: Path, pairs: Path, tmp_path: Path) -> None:
    train(base, pairs, tmp_path / "a", "training.max_steps=2", "training.precision=bf16")
    assert weights(tmp_path / "a")["embeddings.word_embeddings.weight"].dtype == np.float32
    with pytest.raises(InvalidInputError, match="fp16"):
        train(base, pairs, tmp_path / "b", "training.precision=fp16")


@pytest.mark.parametrize("at", ["the swap", "the logs"])
def test_one_that_was_killed_at_its_very_end_is_finished(
    base: Path, pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    out, beside = tmp_path / "model", tmp_path / "model.old"
    train(base, pairs, out, "training.max_steps=2")
    beside.mkdir()
    (beside / "mine.txt").write_text("not the training's")

    def finish(folder: RunFolder) -> None:
        if at == "the swap":
            folder.out.rename(folder.replaced)
        raise InterruptedTrainingError

    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "finish", finish)
        with pytest.raises(InterruptedTrainingError):
            train(base, pairs, out, "training.max_steps=3", overwrite=True)
    train(base, pairs, out, "training.max_steps=3", overwrite=True)
    assert record(out)["steps"] == 3
    assert list((out / "logs").glob("events.out.tfevents.*"))
    assert (beside / "mine.txt").read_text() == "not the training's"
    assert not out.with_name("model.unfinished").exists()


def test_a_model_that_was_being_replaced_is_put_back(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "model")
    folder.replaced.mkdir(parents=True)
    (folder.replaced / "model.safetensors").write_text("the old one")
    with pytest.raises(InvalidInputError, match="--overwrite"):
        folder.open("another job", resume=False, overwrite=False)
    assert (folder.out / "model.safetensors").read_text() == "the old one"


def test_without_a_test_part_the_card_has_no_figures(
    base: Path, pairs: Path, tmp_path: Path
) -> None:
    out = tmp_path / "model"
    outcome = train(base, pairs, out, "training.max_steps=1", "training.test_share=0")
    assert outcome.after == {}
    assert (out / "README.md").exists()
