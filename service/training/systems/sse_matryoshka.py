"""SSE Matryoshka: a static embedding with a vocabulary of its own, small and very fast.

Rows start from what the base says of each piece and learn from queries and their passages, with the
multiple-negatives ranking loss (Henderson et al., *Efficient Natural Language Response Suggestion
for Smart Reply*, 2017) at every Matryoshka size (Kusupati et al., *Matryoshka Representation
Learning*, NeurIPS 2022).
"""

import json
import random
import shutil
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field, model_validator
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.losses import (
    MatryoshkaLoss,
    MultipleNegativesRankingLoss,
)

from service.datasets import open_labels
from service.durable import new_folder, write_json
from service.encoder.loading import load_sentence_transformer
from service.encoder.sse import MAX_LENGTH, SSE, Precision
from service.models.folder import file_checksums
from service.training import static_embedding
from service.training.arguments import autocast
from service.training.bases import base_prefixes, encode, load_bi_encoder
from service.training.label_rows import Part, dataset, describe, part_of, read_options, split
from service.training.list_figures import retrieval_figures
from service.training.mining.examples import Examples, examples_of
from service.training.recipe import Training
from service.training.run_folder import read_json
from service.training.system import Job, Prepared

Pair = tuple[str, str]

_SPECIAL = {"<s>", "</s>", "<pad>", "<unk>", "<mask>"}
_START = "start.json"
_ENCODED = 512


class Options(BaseModel, frozen=True, extra="forbid"):
    """`[options]` of the recipe.

    `dimensions` are the Matryoshka sizes, the largest of them the model's; `weights` those of their
    losses, all alike where there are none. The vocabulary has `vocabulary` pieces, from at most
    `vocabulary_chars` characters of each collection, a `base_share` of it the base's; `word_marks`
    tells a word's first piece from the others. `sif` weights the start rows by frequency. `windows`
    is how often each passage gives a pair of its own beside the labelled ones. Passages are cropped
    at random to at most `passage_chars` characters. `scale` sharpens the loss's softmax.
    """

    dimensions: tuple[int, ...] = Field((512, 256, 128, 64, 32), min_length=1)
    weights: tuple[Annotated[float, Field(gt=0)], ...] = ()
    vocabulary: int = Field(32_768, ge=300)
    vocabulary_chars: int = Field(800_000, ge=1000)
    base_share: float = Field(0.2, ge=0, lt=1)
    word_marks: bool = True
    sif: float = Field(3e-4, gt=0)
    row_scale: float = Field(1.0, gt=0)
    windows: int = Field(1, ge=0, le=100)
    passage_chars: int = Field(1500, ge=100)
    scale: float = Field(20.0, gt=0)
    precision: Precision = "4-bit"
    block: int = Field(128, ge=2)

    @model_validator(mode="after")
    def _sizes_fit(self) -> "Options":
        if max(self.dimensions) % self.block:
            raise ValueError("block must divide the largest of dimensions")
        if self.weights and len(self.weights) != len(self.dimensions):
            raise ValueError("weights must have one value per dimension")
        return self


def prepare(job: Job) -> Prepared:
    """Pairs (query, passage) of the recipe's split, and the static model that learns from them.

    Collections are labelled folders or files of training rows; their passages give vocabulary and
    windows, whatever part their queries fall to.
    """
    options, training = read_options(job.recipe, Options), job.recipe.training
    found = [examples_of(path.stem, open_labels(path)) for path in job.collections]
    data = describe(job.collections, [examples.queries for examples in found])
    parts = split([(pair[0], pair) for examples in found for pair in _labelled(examples)], training)
    rng = random.Random(training.seed)  # noqa: S311
    train = [
        (query, static_embedding.crop(text, rng, longest=options.passage_chars))
        for query, text in parts["train"]
    ]
    windows = [pair for examples in found for pair in _windows(examples, options, rng)]
    model = _start(job, options, [_part(examples, "train", training) for examples in found], data)
    model.max_seq_length = training.max_length
    loss = MatryoshkaLoss(
        model,
        MultipleNegativesRankingLoss(model, scale=options.scale),
        list(options.dimensions),
        list(options.weights) or None,
    )

    def save(folder: Path) -> None:
        module: Any = model[0]
        module.precision, module.max_seq_length = options.precision, MAX_LENGTH
        model.save_pretrained(str(folder), create_model_card=False)
        shutil.rmtree(_start_folder(job), ignore_errors=True)

    return Prepared(
        model=model,
        train=dataset(("anchor", "positive"), train + windows),
        validation=dataset(("anchor", "positive"), parts["validation"]),
        loss=loss,
        figures=lambda: _figures(model, [_part(examples, "test", training) for examples in found]),
        data=data,
        save=save,
        notes=(
            f"Split by query: {len(train)} labelled pairs to train, {len(parts['validation'])} to "
            f"validate, {len(parts['test'])} to test; {len(windows)} pairs of a passage's window "
            "and the rest of it to train.",
            "Test queries search all passages of their collection.",
            f"Rows are saved as {options.precision}; the figures are those of full precision.",
        ),
    )


def _part(examples: Examples, part: Part, training: Training) -> Examples:
    queries = enumerate(examples.queries)
    return examples.only(place for place, query in queries if part_of(query, training) == part)


def _labelled(examples: Examples) -> Iterator[Pair]:
    for query, places in zip(examples.queries, examples.positives, strict=True):
        yield from ((query, examples.passages[place]) for place in places)


def _windows(examples: Examples, options: Options, rng: random.Random) -> Iterator[Pair]:
    for passage in examples.passages:
        for _ in range(options.windows):
            text = static_embedding.crop(passage, rng, longest=options.passage_chars)
            if pair := static_embedding.inverse_cloze(text, rng):
                yield pair


def _start(
    job: Job, options: Options, found: Sequence[Examples], data: Sequence[Mapping[str, Any]]
) -> SentenceTransformer:
    """The untrained model, kept beside `job.out` until the training is done.

    A vocabulary trained again has other scores in the last digits, so its pieces may get other
    numbers: a training that goes on needs the very one that it began with.
    """
    kept = _start_folder(job)
    key = {
        "base": file_checksums(job.base),
        "data": [dict(entry) for entry in data],
        "options": options.model_dump(mode="json"),
        "seed": job.recipe.training.seed,
    }
    if read_json(kept / _START) == key:
        return load_sentence_transformer(kept, device=job.device)
    model = _new(job, options, found)
    with new_folder(kept, replace=True) as folder:
        model.save_pretrained(str(folder), create_model_card=False)
        write_json(folder / _START, key)
    return model


def _start_folder(job: Job) -> Path:
    return job.out.with_name(f"{job.out.name}.start")


def _new(job: Job, options: Options, found: Sequence[Examples]) -> SentenceTransformer:
    """Vocabulary, and rows from the base, which is needed for its pieces alone."""
    texts = _vocabulary_texts(found, options, job.recipe.training.seed)
    job.say(f"making {options.vocabulary:,} pieces from {len(texts):,} texts")
    tokenizer = static_embedding.train_vocabulary(
        texts,
        options.vocabulary,
        _base_scores(job),
        base_share=options.base_share,
        word_marks=options.word_marks,
    )
    job.say("encoding the pieces with the base")
    base = load_bi_encoder(job)
    with autocast(job):
        vectors = static_embedding.encode_pieces(
            tokenizer, lambda texts: encode(base, texts, batch_size=256), base_prefixes(job)[0]
        )
    rows = static_embedding.start_rows(
        vectors,
        static_embedding.piece_shares(tokenizer, texts),
        max(options.dimensions),
        sif=options.sif,
        seed=job.recipe.training.seed,
    )
    module = SSE(
        tokenizer, max(options.dimensions), matryoshka_dims=options.dimensions, block=options.block
    )
    module.embedding.weight.data.copy_(options.row_scale * rows)
    return SentenceTransformer(
        modules=[module], device=job.device, prompts={"query": "", "passage": ""}
    )


def _vocabulary_texts(found: Sequence[Examples], options: Options, seed: int) -> list[str]:
    """Of each collection alike many characters, so that no language crowds out the others."""
    chosen: list[str] = []
    for examples in found:
        texts = [*examples.passages, *examples.queries]
        random.Random(seed).shuffle(texts)  # noqa: S311
        room = options.vocabulary_chars
        for text in texts:
            chosen.append(text[:room])
            room -= len(chosen[-1])
            if room <= 0:
                break
    return chosen


def _base_scores(job: Job) -> Mapping[str, float]:
    """Log probabilities of the base's pieces; none where its tokenizer is no Unigram model."""
    file = job.base / "tokenizer.json"
    model = json.loads(file.read_text(encoding="utf-8"))["model"] if file.exists() else {}
    if model.get("type") != "Unigram":
        return {}
    return {piece: score for piece, score in model["vocab"] if piece not in _SPECIAL}


def _figures(model: SentenceTransformer, test: Sequence[Examples]) -> Mapping[str, float]:
    encoded = partial(encode, model, batch_size=_ENCODED)
    figures = retrieval_figures(test, encoded, encoded, "ndcg@10")
    if figures:
        figures["mean ndcg@10"] = sum(figures.values()) / len(figures)
    return figures
