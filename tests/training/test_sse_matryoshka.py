"""The recipe sse-matryoshka on a small model: vocabulary, start rows, windows, training, resume."""

import json
import random
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

import service.models
from service.encoder.loading import load_sentence_transformer
from service.errors import InvalidInputError
from service.training.label_rows import part_of
from service.training.recipe import Recipe, load_recipe
from service.training.static_embedding import (
    crop,
    encode_pieces,
    inverse_cloze,
    piece_shares,
    start_rows,
    train_vocabulary,
)
from service.training.system import Job, Progress
from service.training.systems.sse_matryoshka import prepare
from service.training.trainer import train
from tests.fixtures.articles import DOCUMENTS, QRELS, QUERIES
from tests.fixtures.small_sse import TEXTS
from tests.models.small_bert import write_small_bert

SHIPPED = Path(service.models.__file__).parent / "weights"
ALL_TEXTS = [f"{document.title} {document.text}" for document in DOCUMENTS] + TEXTS


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_bert(tmp_path_factory.mktemp("base"), [*ALL_TEXTS, *QUERIES.values()])


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("articles")
    corpus = [{"_id": d.id, "title": d.title, "text": d.text} for d in DOCUMENTS]
    queries = [{"_id": name, "text": text} for name, text in QUERIES.items()]
    for name, rows in (("corpus", corpus), ("queries", queries)):
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(lines)
    judged = "".join(f"{q}\t{d}\t{g}\n" for q, of in QRELS.items() for d, g in of.items())
    (folder / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\n" + judged)
    return folder


def recipe(**changes: Any) -> Recipe:
    small = {
        "training.batch_size": 4,
        "training.validation_share": 0.2,
        "training.test_share": 0.2,
        "training.evaluate_every": 0,
        "training.seed": 4,
        "options.dimensions": [32, 16, 8],
        "options.vocabulary": 400,
        "options.block": 16,
        **{name.replace("__", "."): value for name, value in changes.items()},
    }
    return load_recipe("sse-matryoshka", [f"{name}={json.dumps(v)}" for name, v in small.items()])


def test_the_recipe_has_the_sizes_and_the_optimiser_of_its_source() -> None:
    shipped = load_recipe("sse-matryoshka")
    training = shipped.training
    assert shipped.options["dimensions"] == [512, 256, 128, 64, 32]
    assert (training.scheduler, training.warmup, training.adam_epsilon) == ("cosine", 0.02, 1e-10)
    assert training.no_duplicates
    assert training.batch_size >= 2048


def test_the_vocabulary_has_the_size_that_was_asked_for_and_knows_its_texts() -> None:
    tokenizer = train_vocabulary(TEXTS, 400, {"▁река": -3.0}, base_share=0.1)
    assert tokenizer.get_vocab_size() <= 400
    assert tokenizer.get_vocab_size() > 350
    assert tokenizer.token_to_id("<unk>") == 0
    assert not any(0 in tokenizer.encode(text).ids for text in TEXTS)


def test_pieces_come_from_both_models_in_lower_case() -> None:
    rare = {f"▁слово{number}": -12.0 - number for number in range(100)}
    base_scores = {"▁Москва": -3.0, "▁москва": -4.0, "▁город": -5.0} | rare
    tokenizer = train_vocabulary(TEXTS, 400, base_scores, base_share=0.05)
    assert tokenizer.encode("МОСКВА город").tokens == ["▁москва", "▁город"]
    kept = [piece for piece in rare if tokenizer.token_to_id(piece) is not None]
    assert kept == list(rare)[: len(kept)]
    assert 10 < len(kept) < 40


def test_spelling_that_looks_the_same_is_the_same() -> None:
    tokenizer = train_vocabulary(TEXTS, 500, {})
    assert tokenizer.encode("Ｔｈｅ  ﬁrst\n").ids == tokenizer.encode("the first").ids


@pytest.mark.parametrize("word_marks", [True, False])
def test_no_piece_spans_words_or_a_word_and_its_punctuation(word_marks: bool) -> None:
    tokenizer = train_vocabulary(TEXTS, 500, {"▁đạo": -3.0, "đạo": -4.0}, word_marks=word_marks)
    assert (tokenizer.token_to_id("▁đạo") is not None) == word_marks
    marks = set("!?.,;:()")
    pieces = [piece for piece in tokenizer.get_vocab() if piece != "<unk>"]
    assert not [piece for piece in pieces if "▁" in piece[word_marks:] or " " in piece]
    assert not [piece for piece in pieces if len(piece.strip("▁")) > 1 and marks & set(piece)]


def test_frequent_pieces_have_large_shares_and_absent_ones_small() -> None:
    tokenizer = train_vocabulary(TEXTS, 500, {})
    word = tokenizer.encode("the").ids[0]
    shares = piece_shares(tokenizer, ["the the the"])
    assert shares.sum() == pytest.approx(1)
    assert shares[word] == shares.max()
    assert shares.min() == pytest.approx(0.5 / (3 + tokenizer.get_vocab_size() / 2))


def test_start_rows_keep_the_encoders_neighbourhoods() -> None:
    rng = np.random.default_rng(0)
    pieces = (rng.standard_normal((300, 24)) * np.linspace(3, 0.1, 24)).astype(np.float32) + 5
    shares = np.full(300, 1 / 300)
    rows = start_rows(pieces, shares, 32, sif=1e-3, seed=0)
    assert rows.shape == (300, 32)
    assert rows.square().mean() == pytest.approx(1, abs=1e-5)
    spread = rows.std(0)
    assert (spread[:23] >= spread[1:24]).all()  # most is in the first dimensions
    centred = torch.from_numpy(pieces - pieces.mean(0))
    before, after = (torch.cdist(x, x).flatten() for x in (centred, rows[:, :24]))
    assert torch.corrcoef(torch.stack([before, after]))[0, 1] > 0.999


def test_frequent_pieces_start_short() -> None:
    pieces = np.random.default_rng(1).standard_normal((50, 8)).astype(np.float32)
    shares = np.full(50, 1e-4)
    plain = start_rows(pieces, shares, 8, sif=1e-3, seed=0).norm(dim=1)
    shares[7] = 0.1
    weighted = start_rows(pieces, shares, 8, sif=1e-3, seed=0).norm(dim=1)
    assert weighted[7] / plain[7] < 0.02 < (weighted / plain)[:7].min()


def test_the_shipped_model_splits_texts_as_its_recipe_does() -> None:
    spelled = json.loads((SHIPPED / "sse-512" / "tokenizer.json").read_text(encoding="utf-8"))
    marks = load_recipe("sse-matryoshka").options["word_marks"]
    ours = json.loads(train_vocabulary(TEXTS, 300, {}, word_marks=marks).to_str())
    for part in ("normalizer", "pre_tokenizer", "decoder"):
        assert spelled[part] == ours[part]
    assert len(spelled["model"]["vocab"]) == load_recipe("sse-matryoshka").options["vocabulary"]


def test_each_piece_is_encoded_by_itself_with_the_prefix() -> None:
    tokenizer = train_vocabulary(TEXTS, 300, {})

    def encode(texts: Any) -> Any:
        return np.array([[text.startswith("query: "), len(text)] for text in texts], np.float32)

    vectors = encode_pieces(tokenizer, encode, "query: ")
    pieces = [tokenizer.id_to_token(number) or "" for number in range(len(vectors))]
    texts = [piece.strip("▁") or " " for piece in pieces]
    assert vectors[:, 0].all()
    assert vectors[:, 1].tolist() == [len("query: " + text) for text in texts]


@pytest.mark.parametrize("text", [DOCUMENTS[0].text, DOCUMENTS[5].text * 4, DOCUMENTS[7].text])
def test_a_window_and_its_rest_are_the_text(text: str) -> None:
    rng = random.Random(3)
    for _ in range(30):
        pair = inverse_cloze(text, rng)
        if pair is None:
            continue
        window, rest = pair
        assert window in text
        assert len(window) <= 136
        left = sorted((window + rest).replace(" ", ""))
        assert left == sorted(text.replace(" ", ""))


def test_short_texts_have_no_window() -> None:
    assert inverse_cloze("Hai nghiệm phân biệt.", random.Random(0)) is None


def test_a_crop_is_a_part_of_the_text_within_its_bounds() -> None:
    text = " ".join(document.text for document in DOCUMENTS)
    rng = random.Random(0)
    crops = [crop(text, rng, longest=200) for _ in range(50)]
    assert all(part in text and len(part) <= 200 for part in crops)
    assert len(set(crops)) > 40
    assert crop("short", rng, longest=200) == "short"


def test_training_ends_in_a_small_folder_that_the_service_loads(
    base: Path, collection: Path, tmp_path: Path
) -> None:
    job = Job(recipe(training__epochs=4), (collection,), base, tmp_path / "out")
    prepared = prepare(job)
    start = prepared.model[0].embedding.weight.detach().clone()
    outcome = train(job, prepared)
    model = load_sentence_transformer(outcome.out)
    assert model[0].matryoshka_dims == (32, 16, 8)
    assert model[0].max_seq_length == 8192
    assert (model[0].embedding.weight - start).abs().max() > 0.01
    assert json.loads((outcome.out / "config.json").read_text())["precision"] == "4-bit"
    assert set(outcome.after) == {"articles0 ndcg@10", "mean ndcg@10"}
    assert not (tmp_path / "out.start").exists()


def test_a_training_that_goes_on_has_the_pieces_that_it_began_with(
    base: Path, collection: Path, tmp_path: Path
) -> None:
    job = Job(recipe(), (collection,), base, tmp_path / "out")
    first, second = prepare(job), prepare(job)
    spelled = [p.model[0].tokenizer.backend_tokenizer.to_str() for p in (first, second)]
    assert spelled[0] == spelled[1]
    rows = [p.model[0].embedding.weight for p in (first, second)]
    assert torch.equal(*rows)
    other = prepare(Job(recipe(options__sif=0.1), (collection,), base, tmp_path / "out"))
    assert not torch.equal(other.model[0].embedding.weight, rows[0])


def test_an_interrupted_training_comes_to_the_same_rows(
    base: Path, collection: Path, tmp_path: Path
) -> None:
    whole = recipe(training__epochs=4, training__evaluate_every=2, options__precision="float32")
    jobs = [Job(whole, (collection,), base, tmp_path / name) for name in ("one", "two")]
    prepared = prepare(jobs[0])
    shutil.copytree(tmp_path / "one.start", tmp_path / "two.start")

    def interrupt(now: Progress | str) -> None:
        if isinstance(now, Progress) and now.step == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(replace(jobs[1], say=interrupt), prepare(jobs[1]))
    for job, ready in ((jobs[0], prepared), (jobs[1], prepare(jobs[1]))):
        train(job, ready)
    first, second = (load_file(job.out / "model.safetensors") for job in jobs)
    assert first.keys() == second.keys()
    assert all(np.array_equal(first[name], second[name]) for name in first)


def test_labelled_test_queries_are_not_trained_on(
    base: Path, collection: Path, tmp_path: Path
) -> None:
    prepared = prepare(Job(recipe(options__windows=0), (collection,), base, tmp_path / "out"))
    trained, validated = set(prepared.train["anchor"]), set(prepared.validation["anchor"])
    assert trained
    assert validated
    assert not trained & validated
    assert len(trained | validated) < len(QUERIES)


def test_the_vocabulary_is_made_without_held_out_queries(
    base: Path, collection: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    def learn(texts: Sequence[str], *rest: Any, **more: Any) -> Any:
        seen.extend(texts)
        return train_vocabulary(texts, *rest, **more)

    monkeypatch.setattr("service.training.static_embedding.train_vocabulary", learn)
    whole = recipe()
    prepare(Job(whole, (collection,), base, tmp_path / "out"))
    parts = {part_of(text, whole.training) for text in seen if text in QUERIES.values()}
    assert parts == {"train"}


def test_without_a_test_part_there_are_no_figures(
    base: Path, collection: Path, tmp_path: Path
) -> None:
    shares = {"training__test_share": 0, "training__validation_share": 0}
    prepared = prepare(Job(recipe(**shares), (collection,), base, tmp_path / "out"))
    assert prepared.figures() == {}


def test_each_size_has_its_weight_in_the_loss(base: Path, collection: Path, tmp_path: Path) -> None:
    job = Job(recipe(options__weights=[1, 3, 2]), (collection,), base, tmp_path / "out")
    loss: Any = prepare(job).loss
    weights = dict(zip(loss.matryoshka_dims, loss.matryoshka_weights, strict=True))
    assert weights == {32: 1, 16: 3, 8: 2}
    with pytest.raises(InvalidInputError, match="one value per dimension"):
        prepare(Job(recipe(options__weights=[1, 3]), (collection,), base, tmp_path / "out"))


def test_a_block_that_does_not_divide_the_rows_is_refused(
    base: Path, collection: Path, tmp_path: Path
) -> None:
    job = Job(recipe(options__block=24), (collection,), base, tmp_path / "out")
    with pytest.raises(InvalidInputError, match="block must divide"):
        prepare(job)
