"""Pair contrastive: a bi-encoder that tells whether two questions mean the same.

The contrastive loss over cosine distance d, with label y and margin m:
`1/2 (y d^2 + (1 - y) max(0, m - d)^2)` (Hadsell, Chopra and LeCun, *Dimensionality Reduction by
Learning an Invariant Mapping*, CVPR 2006).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from datasets import Dataset
from pydantic import BaseModel, Field
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.losses import ContrastiveLoss
from sentence_transformers.sentence_transformer.losses.contrastive import SiameseDistanceMetric

from service.datasets import LabelledPair, read_labelled_pairs
from service.datasets.split import joined
from service.errors import InvalidInputError
from service.evaluation.pairs import at_threshold, best_accuracy, pair_report, pair_scores
from service.models.pair_threshold import PAIR_THRESHOLD_FILE, PairThreshold
from service.training.bases import base_prefixes, encode, load_bi_encoder, saver
from service.training.batch_texts import without_prefix
from service.training.label_rows import dataset, describe, most, read_options, split
from service.training.system import Job, Prepared
from service.types import Vectors


class Options(BaseModel, frozen=True, extra="forbid"):
    """`[options]` of the recipe.

    `margin` is the cosine distance (0 to 2) from which different questions are far enough apart.
    `most_pairs` bounds the pairs to train on; 0 takes all.
    """

    margin: float = Field(0.5, gt=0, le=2)
    freeze_embeddings: bool = False
    most_pairs: int = Field(0, ge=0)


def prepare(job: Job) -> Prepared:
    """Pairs (sentence1, sentence2, label) of the recipe's split by question.

    Collections are files of labelled pairs, or folders with a `pairs.jsonl`. Questions that some
    pair joins, directly or through others, fall to the same part.
    """
    options, training = read_options(job.recipe, Options), job.recipe.training
    if not training.validation_share:
        raise InvalidInputError(
            "training.validation_share must be above 0: the threshold is learned on that part",
            "set",
        )
    prefix, _ = base_prefixes(job)
    files = [path / "pairs.jsonl" if path.is_dir() else path for path in job.collections]
    read = [_cleaned(read_labelled_pairs(path), prefix) for path in files]
    pairs = [pair for found in read for pair in found]
    groups = joined((pair.first, pair.second) for pair in pairs)
    parts = split([(groups[pair.first], pair) for pair in pairs], training)
    parts["train"] = most(parts["train"], options.most_pairs, repr, training.seed)
    model = load_bi_encoder(job, freeze_embeddings=options.freeze_embeddings)
    learned = _Threshold(model, parts["validation"], prefix)
    save_model = saver(model, job)

    def save(folder: Path) -> None:
        save_model(folder)
        learned.write(folder)

    return Prepared(
        model=model,
        train=_dataset(parts["train"], prefix),
        validation=_dataset(parts["validation"], prefix),
        loss=ContrastiveLoss(model, SiameseDistanceMetric.COSINE_DISTANCE, margin=options.margin),
        figures=lambda: learned.figures(parts["test"]),
        data=describe(files, read),
        save=save,
        notes=(
            "Split by question: questions that some pair joins, directly or through others, stand "
            f"in one part. {len(parts['train'])} pairs to train, {len(parts['validation'])} to "
            f"validate, {len(parts['test'])} to test.",
            "Both questions get the query prefix.",
            "The threshold of `learned_*` has the best accuracy on the validation pairs; that of "
            "the other figures on the test pairs themselves.",
        ),
    )


def _cleaned(pairs: Sequence[LabelledPair], prefix: str) -> list[LabelledPair]:
    """As the model is given them, but for the prefix; without those whose text is empty then."""
    found = (
        LabelledPair(
            without_prefix(pair.first, prefix), without_prefix(pair.second, prefix), pair.label
        )
        for pair in pairs
    )
    return [pair for pair in found if pair.first and pair.second]


@dataclass(frozen=True, slots=True)
class _Threshold:
    """Learned on the validation pairs, judged on others."""

    model: SentenceTransformer
    validation: Sequence[LabelledPair]
    prefix: str

    def learn(self) -> tuple[float, float]:
        """Threshold on the cosine, and its accuracy on the pairs that it was learned from."""
        labels = [pair.label for pair in self.validation]
        cosine = pair_scores(*self._vectors(self.validation))["cosine"]
        accuracy, threshold = best_accuracy(cosine, labels)
        return threshold, accuracy

    def figures(self, test: Sequence[LabelledPair]) -> Mapping[str, float]:
        """The binary-pair report, and what the learned threshold does; none without a test."""
        if not test:
            return {}
        threshold, _ = self.learn()
        first, second = self._vectors(test)
        labels = [pair.label for pair in test]
        held = at_threshold("cosine", pair_scores(first, second)["cosine"], labels, threshold)
        return {
            "learned_threshold": threshold,
            "learned_accuracy": held.accuracy,
            "learned_f1": held.f1,
            "learned_precision": held.precision,
            "learned_recall": held.recall,
            **pair_report(first, second, labels),
        }

    def write(self, folder: Path) -> None:
        threshold, accuracy = self.learn()
        data = f"{len(self.validation)} validation pairs"
        stated = PairThreshold(threshold=threshold, data=data, accuracy=accuracy)
        text = stated.model_dump_json(indent=2) + "\n"
        (folder / PAIR_THRESHOLD_FILE).write_text(text, encoding="utf-8")

    def _vectors(self, pairs: Sequence[LabelledPair]) -> tuple[Vectors, Vectors]:
        texts = sorted({text for pair in pairs for text in (pair.first, pair.second)})
        found = encode(self.model, [self.prefix + text for text in texts])
        place = {text: number for number, text in enumerate(texts)}
        return (
            found[[place[pair.first] for pair in pairs]],
            found[[place[pair.second] for pair in pairs]],
        )


def _dataset(pairs: Sequence[LabelledPair], prefix: str) -> Dataset:
    rows = [(prefix + pair.first, prefix + pair.second, pair.label) for pair in pairs]
    return dataset(("sentence1", "sentence2", "label"), rows)
