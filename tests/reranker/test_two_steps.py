"""Few layers over all candidates, all layers over the best: scores, backends, and what it needs."""

import json
import shutil
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sentence_transformers import CrossEncoder

from service.errors import ModelSourceError, UnprocessableTextError
from service.models.sources import PreparedModel, prepare
from service.reranker.cross_encoder import CrossEncoderReranker, Pair
from service.reranker.early_head import WEIGHTS, load_head
from service.reranker.forward import load_classifier
from service.reranker.opening import measure_cross_encoder, open_cross_encoder
from service.reranker.two_step_reranker import TwoStepReranker
from service.reranker.two_steps import TwoStepForward, one_scale
from service.settings import Settings
from tests.fixtures.library import DOCUMENTS
from tests.fixtures.multilingual import SENTENCES
from tests.fixtures.small_models import write_small_reranker, write_two_headed_reranker

LAYER = 2
QUERY = "why are there two high tides a day"
TEXTS = [text for texts in SENTENCES.values() for text in texts[:2]]
PAIRS = [(QUERY, text) for text in dict.fromkeys([*(d.text for d in DOCUMENTS), *TEXTS])]
OTHERS = [("Đạo hàm của x² là gì", passage) for _query, passage in PAIRS[:20]]


def prepared(folder: Path) -> PreparedModel:
    return prepare(str(folder), "cross-encoder", cache_dir=folder.parent / "cache", offline=True)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> PreparedModel:
    folder = tmp_path_factory.mktemp("two-headed")
    return prepared(write_two_headed_reranker(folder, layers=4, early_layer=LAYER))


def opened(
    model: PreparedModel, keep: int, backend: str = "torch", **changes: int
) -> CrossEncoderReranker:
    return open_cross_encoder(
        Settings(
            cache_dir=model.folder.parent / "cache",
            device="cpu",
            threads=1,
            rerank_backend=backend,
            rerank_keep=keep,
            **changes,
        ),
        model,
    )


def in_steps(model: PreparedModel, keep: int, backend: str = "torch") -> TwoStepReranker:
    found = opened(model, keep, backend)
    assert isinstance(found, TwoStepReranker)
    return found


def logits(reranker: CrossEncoderReranker, pairs: Sequence[Pair]) -> list[float]:
    return [score.logit for score in reranker.score(pairs)]


def early_logits(model: PreparedModel, pairs: Sequence[Pair]) -> list[float]:
    """As transformers' own hidden states and the head's weights give them, token by token."""
    plain = CrossEncoder(str(model.folder), device="cpu", local_files_only=True)
    head = {name: tensor.numpy() for name, tensor in load_file(model.folder / WEIGHTS).items()}
    found = []
    for pair in pairs:
        features = plain.tokenizer(*pair, truncation=True, max_length=64, return_tensors="pt")
        with torch.inference_mode():
            states = plain.model(**features, output_hidden_states=True).hidden_states[LAYER][0]
        unit = states.numpy() @ head["project.weight"].T
        unit /= np.linalg.norm(unit, axis=1, keepdims=True)
        places = features.sequence_ids(0)
        asked, told = ([i for i, text in enumerate(places) if text == which] for which in (0, 1))
        best = [max(float(unit[i] @ unit[j]) for j in told) for i in asked]
        weights = np.exp(states.numpy()[asked] @ head["importance.weight"][0])
        match = float(weights @ best / weights.sum())
        pooled = np.tanh(states[0].numpy() @ head["dense.weight"].T + head["dense.bias"])
        first = float(pooled @ head["classifier.weight"][0] + head["classifier.bias"][0])
        found.append(first + float(head["scale"]) * (match - float(head["center"])))
    return found


@pytest.mark.parametrize("backend", ["torch", "torch-bf16"])
@pytest.mark.parametrize("keep", [len(PAIRS), 1000])
def test_where_all_are_kept_the_scores_are_those_of_one_step(
    model: PreparedModel, backend: str, keep: int
) -> None:
    whole = opened(model, 0, backend).score(PAIRS)
    assert in_steps(model, keep, backend).score(PAIRS) == whole
    assert len({score.logit for score in whole}) > len(PAIRS) // 2


def test_early_scores_are_those_of_the_hidden_states(model: PreparedModel) -> None:
    first, _last = next(in_steps(model, 3).steps(PAIRS))
    assert 0 < len(first) < len(PAIRS)
    expected = early_logits(model, PAIRS[: len(first)])
    assert [score.logit for score in first] == pytest.approx(expected, abs=2e-4)
    assert np.std(expected) > 0.1


@pytest.mark.parametrize("backend", ["torch", "torch-bf16"])
def test_what_is_kept_has_the_scores_of_one_step_and_stands_above_the_rest(
    model: PreparedModel, backend: str
) -> None:
    keep, early = 7, early_logits(model, PAIRS)
    whole, found = (
        logits(opened(model, 0, backend), PAIRS),
        logits(in_steps(model, keep, backend), PAIRS),
    )
    order = np.argsort(-np.array(found), kind="stable")
    kept, rest = order[:keep], order[keep:]
    assert [found[i] for i in kept] == [whole[i] for i in kept]
    if backend == "torch":
        best = np.argsort(-np.array(early), kind="stable")[:keep]
        assert set(best) == set(kept)
        assert [early[i] for i in rest] == sorted((early[i] for i in rest), reverse=True)
    assert [found[i] for i in rest] != [whole[i] for i in rest]
    assert found[rest[0]] < found[kept[-1]]


def test_the_order_and_the_company_of_other_queries_change_nothing(model: PreparedModel) -> None:
    reranker = in_steps(model, 5)
    alone = dict(zip(PAIRS, logits(reranker, PAIRS), strict=True))
    alone |= dict(zip(OTHERS, logits(reranker, OTHERS), strict=True))
    mixed = [*OTHERS[::-1], *PAIRS[::-1], PAIRS[3]]
    assert logits(reranker, mixed) == [alone[pair] for pair in mixed]


def test_remembered_scores_are_the_same_also_where_only_early_ones_are(
    model: PreparedModel,
) -> None:
    plain, fewer = in_steps(model, 5), PAIRS[4:]
    remembering = opened(model, 5, rerank_score_cache=1000)
    # Other ones are kept of fewer, and some of those have an early score and no states any more.
    for pairs in (PAIRS, fewer, PAIRS, OTHERS):
        assert remembering.score(pairs) == plain.score(pairs)
    seen = remembering._forward.begin, remembering._forward.finish
    remembering._forward.begin = remembering._forward.finish = None  # type: ignore[assignment]
    assert remembering.score(PAIRS) == plain.score(PAIRS)
    remembering._forward.begin, remembering._forward.finish = seen


def test_it_gives_more_and_more_and_in_the_end_what_score_gives(model: PreparedModel) -> None:
    reranker = in_steps(model, 12)
    steps, last = zip(*reranker.steps(PAIRS), strict=True)
    assert last == (*[False] * (len(steps) - 1), True)
    sizes = [len(step) for step in steps]
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[-1] == len(PAIRS)
    assert len(steps) >= 4
    assert steps[-1] == reranker.score(PAIRS)
    assert all(before != after for before, after in pairwise(steps))
    assert reranker.score([]) == []


def test_pairs_of_a_batch_get_what_they_get_alone(
    model: PreparedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a GPU, where several go through together, padded, and layers stay as they are."""

    class Batched(TwoStepForward):
        def _batches(self, lengths: Sequence[int]) -> list[Sequence[int]]:
            return [range(len(lengths))]

    reranker = in_steps(model, 5)
    read = reranker._read([("tide", "moon " * count) for count in (1, 2, 4, 7, 3)])
    assert len({len(pair.ids) for pair in read}) == 5
    early, states = reranker._forward.begin(read)
    monkeypatch.setattr("service.reranker.forward.replace_parts", lambda *_: None)
    loaded = load_classifier(model.folder, "two-headed", "cpu")
    head = load_head(model.folder, loaded.network)
    assert head is not None
    together = Batched(
        loaded.network, head, dtype=torch.float32, batch_tokens=64, takes_types=loaded.takes_types
    )
    early_too, states_too = together.begin(read)
    assert early_too == pytest.approx(early, abs=1e-4)
    assert [len(of) for of in states_too] == [len(pair.ids) for pair in read]
    full = reranker._forward.finish(states)
    assert together.finish(states_too) == pytest.approx(full, abs=1e-4)
    assert np.std(full) > 0.01


def test_nothing_is_computed_twice(model: PreparedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    reranker, begun, finished = in_steps(model, 5), [], []
    begin, finish = reranker._forward.begin, reranker._forward.finish
    monkeypatch.setattr(
        reranker._forward, "begin", lambda of: (begun.append(len(of)), begin(of))[1]
    )
    monkeypatch.setattr(
        reranker._forward, "finish", lambda of: (finished.append(len(of)), finish(of))[1]
    )
    reranker.score([*PAIRS, *PAIRS])
    assert sum(begun) == len(PAIRS)
    assert sum(finished) == 5


def test_among_equal_early_logits_the_text_decides(model: PreparedModel) -> None:
    reranker = in_steps(model, 3)
    reranker._forward._head.scale.data.zero_()
    reranker._forward._head.classifier.weight.data.zero_()
    whole = dict(zip(PAIRS, logits(opened(model, 0), PAIRS), strict=True))
    kept = sorted(PAIRS, key=lambda pair: pair[1])[:3]
    for pairs in (PAIRS, PAIRS[::-1]):
        found = dict(zip(pairs, logits(reranker, pairs), strict=True))
        assert [found[pair] for pair in kept] == [whole[pair] for pair in kept]
        assert len({found[pair] for pair in pairs if pair not in kept}) == 1


def test_a_query_that_is_too_long_is_told_as_ever(model: PreparedModel) -> None:
    with pytest.raises(UnprocessableTextError, match="at most"):
        in_steps(model, 5).score([("sea " * 60, "moon")])


def test_a_folder_without_an_early_head_is_as_it_was(tmp_path: Path) -> None:
    plain = prepared(write_small_reranker(tmp_path))
    assert not isinstance(opened(plain, 0), TwoStepReranker)
    with pytest.raises(ModelSourceError, match=r"no early head.*early_layer"):
        opened(plain, 5)


def test_other_backends_say_that_they_cannot(model: PreparedModel) -> None:
    for backend in ("onnx", "onnx-int8"):
        with pytest.raises(ModelSourceError, match=r"rerank_keep.*torch or torch-bf16"):
            opened(model, 5, backend)


def test_what_is_measured_is_one_step_and_its_choice_is_taken_if_it_is_torchs(
    model: PreparedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.reranker.opening.onnx_is_installed", lambda: False)
    settings = Settings(cache_dir=model.folder.parent / "cache", device="cpu", rerank_keep=5)
    assert set(measure_cross_encoder(settings, model).measured) == {"torch", "torch-bf16"}
    for recorded, taken in (("torch-bf16", "torch-bf16"), ("onnx-int8", "torch")):
        monkeypatch.setattr("service.reranker.opening._recorded", lambda *_, r=recorded: r)
        found = open_cross_encoder(settings, model)
        assert isinstance(found, TwoStepReranker)
        assert found.backend == taken


@pytest.mark.parametrize("damage", ["missing", "truncated", "of another size", 4, -1])
def test_an_early_head_that_does_not_fit_is_named(
    model: PreparedModel, tmp_path: Path, damage: str | int
) -> None:
    folder = tmp_path / "damaged"
    shutil.copytree(model.folder, folder)
    weights, config = folder / WEIGHTS, folder / "config.json"
    if damage == "missing":
        weights.unlink()
    elif damage == "truncated":
        weights.write_bytes(weights.read_bytes()[:100])
    elif damage == "of another size":
        weights.write_bytes((folder / "model.safetensors").read_bytes())
    else:
        config.write_text(json.dumps(json.loads(config.read_text()) | {"early_layer": damage}))
    with pytest.raises(ModelSourceError, match="early head"):
        opened(prepared(folder), 5)
    assert not isinstance(opened(prepared(folder), 0), TwoStepReranker)


def test_the_early_head_is_part_of_what_the_hash_stands_for(
    model: PreparedModel, tmp_path: Path
) -> None:
    folder = tmp_path / "other"
    shutil.copytree(model.folder, folder)
    assert prepared(folder).weights_sha256 == model.weights_sha256
    content = bytearray((folder / WEIGHTS).read_bytes())
    content[-1] ^= 1
    (folder / WEIGHTS).write_bytes(content)
    assert prepared(folder).weights_sha256 != model.weights_sha256


def test_one_scale_keeps_full_logits_and_puts_the_rest_below_in_their_order() -> None:
    early = [1.0, 0.5, 0.5, 3.0, -2.0, -9.0]
    assert one_scale(early, {3: 2.5, 0: -1.5}) == [-1.5, -1.5001, -1.5001, 2.5, -2.0, -9.0]
    assert one_scale([4.0, 3.0, 2.0], {0: -1.0}) == [-1.0, -1.0001, -1.0002]
    assert one_scale(early, {}) == early
    assert one_scale(early, dict(enumerate(early[::-1]))) == early[::-1]
    assert one_scale([], {}) == []
