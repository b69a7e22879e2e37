import json
from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer

from service.encoder.transformer import Transformer
from service.errors import InferenceError, ModelSourceError
from service.models.sources import PreparedModel
from service.reranker.interaction import (
    InteractionConfig,
    InteractionHead,
    piece_information,
    read_config,
)
from service.reranker.interaction_reranker import InteractionReranker
from service.types import EncodedPassage, EncodedQuery
from tests.fixtures.multilingual import LONG, SENTENCES
from tests.fixtures.small_models import write_small_encoder

QUERY = "Khi nào phương trình bậc hai có hai nghiệm phân biệt?"
PASSAGES = SENTENCES["vietnamese"] + SENTENCES["latin"] + SENTENCES["cyrillic"][:3]


def config(e5: PreparedModel, dimension: int = 32) -> InteractionConfig:
    return InteractionConfig(
        base=e5.name,
        base_weights_sha256=e5.weights_sha256,
        query_prefix="query: ",
        passage_prefix="passage: ",
        layers=(8, 12),
        hidden=384,
        dimension=dimension,
    )


def make_head(e5: PreparedModel) -> InteractionHead:
    torch.manual_seed(3)
    head = InteractionHead(config(e5))
    torch.nn.init.normal_(head.importance.weight, std=0.05)
    torch.nn.init.constant_(head.exact, 0.2)
    return head.eval()


@pytest.fixture(scope="module")
def folder(e5: PreparedModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "interaction"
    make_head(e5).save(path)
    return path


def load(folder: Path, e5: PreparedModel, cache_bytes: int = 10_000_000) -> InteractionReranker:
    return InteractionReranker(
        folder,
        e5.folder,
        Transformer.load(e5.folder, batch_tokens=1024, device="cpu"),
        model="interaction",
        weights_sha256="0" * 64,
        cache_bytes=cache_bytes,
    )


@pytest.fixture(scope="module")
def loaded(folder: Path, e5: PreparedModel) -> InteractionReranker:
    return load(folder, e5)


def logits(reranker: InteractionReranker, pairs: list[tuple[str, str]]) -> list[float]:
    return [score.logit for score in reranker.score_pairs(pairs)]


def test_with_match_0_it_scores_as_stage_one(e5: PreparedModel, tmp_path: Path) -> None:
    head = make_head(e5)
    torch.nn.init.zeros_(head.match)
    head.save(tmp_path / "head")
    scores = logits(load(tmp_path / "head", e5), [(QUERY, text) for text in PASSAGES])
    plain = SentenceTransformer(str(e5.folder), device="cpu", local_files_only=True)
    query = plain.encode("query: " + QUERY, prompt="", normalize_embeddings=True)
    passages = plain.encode(
        ["passage: " + text for text in PASSAGES], prompt="", normalize_embeddings=True
    )
    # The passage's own vector has eight bits a number.
    assert np.abs(np.array(scores) - 50.0 * (passages @ query)).max() < 0.1


def test_a_head_is_what_it_was_when_it_is_loaded(e5: PreparedModel, folder: Path) -> None:
    saved, found = make_head(e5), InteractionHead.load(folder)
    assert found.config == saved.config
    for name, value in saved.state_dict().items():
        assert torch.equal(found.state_dict()[name], value.half().float()), name


def test_what_is_no_head_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelSourceError, match="no interaction reranker"):
        read_config(tmp_path)
    broken = tmp_path / "broken"
    broken.mkdir()
    stated = json.loads((folder / "config.json").read_text())
    (broken / "config.json").write_text(json.dumps(stated | {"dimension": 16}))
    (broken / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes())
    with pytest.raises(ModelSourceError, match="cannot be read"):
        InteractionHead.load(broken)


def test_a_score_depends_on_neither_batch_nor_order_nor_cache(
    folder: Path, e5: PreparedModel, loaded: InteractionReranker
) -> None:
    pairs = [(QUERY, text) for text in PASSAGES] + [(SENTENCES["latin"][0], PASSAGES[0])]
    together = logits(loaded, pairs)
    assert logits(loaded, pairs) == together  # now out of the cache
    assert logits(load(folder, e5), pairs[::-1])[::-1] == pytest.approx(together, abs=0.002)
    uncached = load(folder, e5, cache_bytes=0)
    alone = [logits(uncached, [pair])[0] for pair in pairs]
    assert alone == pytest.approx(together, abs=0.002)
    assert len(set(together)) > len(pairs) // 2


def test_with_stored_states_a_score_depends_on_no_other_passage(
    loaded: InteractionReranker,
) -> None:
    packed = loaded.pack(PASSAGES)
    query = EncodedQuery((QUERY,), np.empty((0, 0), np.float32), 0)
    passages = [EncodedPassage("", states) for states in packed]
    (together,) = loaded.score(query, [passages])
    alone = [score for (score,) in loaded.score(query, [[passage] for passage in passages])]
    # The last digit is rounded.
    expected = pytest.approx([score.logit for score in together], abs=0.0011)
    assert [score.logit for score in alone] == expected


def test_pieces_that_count_in_no_query_are_not_kept(loaded: InteractionReranker) -> None:
    comma, without = (len(states) for states in loaded.pack(["the tides, of", "the tides of"]))
    assert comma == without
    assert loaded._kept(np.array([0, 5, 4, 2], np.int32)).all(), "a passage without other pieces"


def test_the_cache_stays_within_its_bound(folder: Path, e5: PreparedModel) -> None:
    reranker = load(folder, e5, cache_bytes=8_000)
    reranker.score_pairs([(QUERY, text) for text in PASSAGES])
    assert 0 < reranker._cache.currsize <= 8_000
    kept = sum(map(len, reranker._cache.values()))
    assert kept == reranker._cache.currsize
    assert PASSAGES[-1] in reranker._cache
    assert PASSAGES[0] not in reranker._cache


def test_a_long_passage_is_cut_and_said_to_be(loaded: InteractionReranker) -> None:
    long = " ".join(SENTENCES["vietnamese"] * 8)
    scores = loaded.score_pairs([(QUERY, long), (QUERY, PASSAGES[0])])
    assert [score.truncated for score in scores] == [True, False]
    assert loaded.score_pairs([]) == []
    assert all(np.isfinite(score.logit) for score in loaded.score_pairs([(LONG[0], LONG[1])]))


def test_weights_that_are_not_finite_raise(e5: PreparedModel, tmp_path: Path) -> None:
    head = make_head(e5)
    torch.nn.init.constant_(head.scale, float("nan"))
    head.save(tmp_path / "head")
    with pytest.raises(InferenceError, match="not finite"):
        load(tmp_path / "head", e5).score_pairs([(QUERY, PASSAGES[0])])


def test_rare_pieces_tell_more_than_common_ones(e5: PreparedModel) -> None:
    told = piece_information(e5.folder)
    states = Transformer.load(e5.folder, batch_tokens=512, device="cpu")
    common, rare = (states.states([text], 64, (12,))[0].ids[1:-1] for text in ("the", "sprockets"))
    assert told[common].max() + 3 < told[rare].max()
    assert told[:4].tolist() == [0.0] * 4  # <s>, <pad>, </s>, <unk>


@pytest.mark.parametrize("cut", [0, 3, 8])
def test_what_pieces_tell_is_kept_and_read_again_where_it_is_spoilt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cut: int
) -> None:
    vocabulary = {"model": {"type": "Unigram", "vocab": [["a", -2.0], ["b", -9.5]]}}
    text = json.dumps(vocabulary | {"added_tokens": [{"id": 0, "special": True}]})
    (tmp_path / "tokenizer.json").write_text(text, encoding="utf-8")
    kept = tmp_path / "cache" / "pieces"
    assert piece_information(tmp_path, kept).tolist() == [0.0, 9.5]
    file = kept / "pieces.npy"
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) - cut] + bytes(cut))
    assert piece_information(tmp_path, kept).tolist() == [0.0, 9.5]
    assert file.read_bytes() == whole
    monkeypatch.setattr("service.reranker.interaction._vocabulary", None)
    assert piece_information(tmp_path, kept).tolist() == [0.0, 9.5]


def test_weights_of_a_querys_tokens(e5: PreparedModel) -> None:
    head = make_head(e5)
    information = torch.tensor([[0.0, 0.0, 12.0, 5.0, 0.0], [0.0, 0.0, 0.0, 0.0, 0.0]])
    weights = head.weights(torch.zeros(2, 5, 768), information)
    assert weights[0].tolist() == pytest.approx([0, 0, 8 / 9, 1 / 9, 0])
    assert weights[1].tolist() == [0.0] * 5


def test_the_prefix_is_told_from_the_text(e5: PreparedModel) -> None:
    states = Transformer.load(e5.folder, batch_tokens=512, device="cpu")
    for text in ("tides", "Đạo hàm của hàm số"):
        bare, asked = (
            states.states([t], 64, (12,))[0].ids.tolist() for t in (text, f"query: {text}")
        )
        assert asked[states.prefix_tokens("query: ") :] == bare[1:]
    assert states.prefix_tokens("") == 1


def test_without_information_all_pieces_but_special_ones_tell_alike(tmp_path: Path) -> None:
    small = write_small_encoder(tmp_path)
    told = piece_information(small)
    states = Transformer.load(small, batch_tokens=512, device="cpu")
    ids = states.states(["tides"], 64, (0,))[0].ids
    assert told[ids].tolist() == [0.0, *[10.0] * (len(ids) - 2), 0.0]
