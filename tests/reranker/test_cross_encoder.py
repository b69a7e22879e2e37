import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from sentence_transformers import CrossEncoder

from service.errors import InferenceError, InvalidInputError, ModelSourceError
from service.models.sources import PreparedModel
from service.reranker.cross_encoder import FEWEST_PASSAGE_TOKENS, CrossEncoderReranker
from tests.fixtures.library import DOCUMENTS
from tests.fixtures.multilingual import LONG, ODD, SENTENCES

QUERY = "why are there two high tides a day"
PASSAGES = [document.text for document in DOCUMENTS] + SENTENCES["latin"] + ODD + LONG[:4]
PAIRS = [(QUERY, passage) for passage in PASSAGES] + [(text, PASSAGES[0]) for text in ODD]


def load(
    model: PreparedModel, *, max_length: int = 512, batch_tokens: int = 4096
) -> CrossEncoderReranker:
    return CrossEncoderReranker(
        model.folder,
        model=model.name,
        weights_sha256=model.weights_sha256,
        max_length=max_length,
        batch_tokens=batch_tokens,
        device="cpu",
        threads=1,
    )


@pytest.fixture(scope="module")
def loaded(reranker: PreparedModel) -> CrossEncoderReranker:
    return load(reranker)


def logits(reranker: CrossEncoderReranker, pairs: list[tuple[str, str]]) -> list[float]:
    return [score.logit for score in reranker.score_pairs(pairs)]


def test_scores_are_the_plain_models_logits(
    reranker: PreparedModel, loaded: CrossEncoderReranker
) -> None:
    plain = CrossEncoder(str(reranker.folder), device="cpu", local_files_only=True)
    expected = plain.predict(PAIRS, activation_fn=torch.nn.Identity(), show_progress_bar=False)
    assert np.abs(np.array(logits(loaded, PAIRS)) - expected).max() < 1e-4
    assert min(expected) < -1 < 2 < max(expected)  # no sigmoid: logits leave the unit interval


def test_a_score_does_not_depend_on_its_batch(loaded: CrossEncoderReranker) -> None:
    alone = [logits(loaded, [pair])[0] for pair in PAIRS]
    assert np.abs(np.array(logits(loaded, PAIRS)) - alone).max() < 1e-4


def test_the_bound_on_a_batch_changes_no_score(
    reranker: PreparedModel, loaded: CrossEncoderReranker
) -> None:
    narrow = logits(load(reranker, batch_tokens=512), PAIRS)
    assert np.abs(np.array(logits(loaded, PAIRS)) - narrow).max() < 1e-4


def test_scores_come_in_input_order(loaded: CrossEncoderReranker) -> None:
    forwards = logits(loaded, PAIRS)
    assert np.abs(np.array(logits(loaded, PAIRS[::-1])[::-1]) - forwards).max() < 1e-4


def test_the_passage_that_answers_scores_best(loaded: CrossEncoderReranker) -> None:
    scores = logits(loaded, [(QUERY, document.text) for document in DOCUMENTS])
    assert DOCUMENTS[int(np.argmax(scores))].id == "sea-tides"


def test_no_pair_makes_no_score(loaded: CrossEncoderReranker) -> None:
    assert loaded.score_pairs([]) == []


def test_truncated_says_exactly_when_the_passage_was_cut(reranker: PreparedModel) -> None:
    narrow = load(reranker, max_length=40)
    query, special = "one two three", 3
    room = 40 - 3 - special
    words = [" ".join(["sea"] * count) for count in (room - 1, room, room + 1, 10 * room)]
    scores = narrow.score_pairs([(query, text) for text in words])
    assert [score.truncated for score in scores] == [False, False, True, True]
    assert scores[1].logit == pytest.approx(scores[2].logit, abs=1e-4)


def test_the_query_is_never_cut(reranker: PreparedModel) -> None:
    narrow = load(reranker, max_length=40)
    # A rule that cuts the longer text first would drop the end of this query, not of the passage.
    query = " ".join(["sea"] * 19 + ["tides"])
    room = 40 - 20 - 3
    cut, whole = narrow.score_pairs([(query, " ".join(["moon"] * n)) for n in (room + 1, room)])
    assert (cut.truncated, whole.truncated) == (True, False)
    assert cut.logit == pytest.approx(whole.logit, abs=1e-4)


def test_a_query_that_leaves_no_room_names_the_limit(reranker: PreparedModel) -> None:
    narrow = load(reranker, max_length=40)
    limit = 40 - 3 - FEWEST_PASSAGE_TOKENS
    narrow.score_pairs([(" ".join(["sea"] * limit), "moon")])
    with pytest.raises(InvalidInputError, match=f"at most {limit}") as raised:
        narrow.score_pairs([("tide", "moon"), (" ".join(["sea"] * (limit + 1)), "moon")])
    assert raised.value.field == "query"


def test_the_models_own_maximum_bounds_the_window(reranker: PreparedModel) -> None:
    wide = load(reranker, max_length=8192)
    assert wide.score_pairs([(QUERY, "moon " * 2000)])[0].truncated


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_score_that_is_not_finite_is_an_error(reranker: PreparedModel, value: float) -> None:
    broken = load(reranker)
    with torch.no_grad():
        next(iter(broken._forward._model.parameters())).fill_(value)
    with pytest.raises(InferenceError, match="minilm-l6-v0"):
        broken.score_pairs([("tide", "moon")])


def test_a_model_with_several_outputs_is_refused(reranker: PreparedModel, tmp_path: Path) -> None:
    folder = tmp_path / "three"
    shutil.copytree(reranker.folder, folder)
    tensors = load_file(folder / "model.safetensors")
    tensors["classifier.weight"] = np.repeat(tensors["classifier.weight"], 3, axis=0)
    tensors["classifier.bias"] = np.repeat(tensors["classifier.bias"], 3)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    labels = {str(number): f"LABEL_{number}" for number in range(3)}
    (folder / "config.json").write_text(json.dumps(config | {"id2label": labels}))
    with pytest.raises(ModelSourceError, match="gives 3 scores"):
        load(replace(reranker, folder=folder))


def test_what_cannot_be_loaded_is_named(reranker: PreparedModel, tmp_path: Path) -> None:
    with pytest.raises(ModelSourceError, match="minilm-l6-v0 cannot be loaded"):
        load(replace(reranker, folder=tmp_path))


def test_loading_and_scoring_write_nothing(
    reranker: PreparedModel,
    capfd: pytest.CaptureFixture[str],
    transformers_log: pytest.LogCaptureFixture,
) -> None:
    load(reranker).score_pairs([("tide", "moon " * 600)])
    assert capfd.readouterr() == ("", "")
    assert transformers_log.messages == []


def test_it_says_which_model_it_is(reranker: PreparedModel, loaded: CrossEncoderReranker) -> None:
    assert (loaded.model, loaded.weights_sha256) == ("minilm-l6-v0", reranker.weights_sha256)
