"""Retrieval by a static embedding on labelled collections: each precision, each Matryoshka size.

    python benchmarks/sse_quality.py --full DIR --collection DIR [--collection DIR ...]

`--full` is a model trained with `--set options.precision='"float32"'`; its 4-bit form is made here
and left in `--packed`. `--against NAME` encodes the collections with another model beside it. Of
each passage the first 256 tokens are read; ranking is by cosine, exact.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from service.datasets import Collection, open_collection
from service.encoder.loading import load_sentence_transformer
from service.engine.build import build_encoder
from service.evaluation.measures import means, per_query
from service.protocols import Encoder
from service.settings import Settings
from service.text.normalizer import clean
from service.text.passage import passage_text

MEASURES = (
    ["ndcg@10", "mrr@10", "map@100", "recall@100"]
    + [f"accuracy@{k}" for k in (1, 3, 5, 10)]
    + [f"precision@{k}" for k in (1, 3, 5, 10)]
    + [f"recall@{k}" for k in (1, 3, 5, 10)]
)
Vectors = NDArray[np.float32]


def main() -> None:
    """Write the figures as JSON to standard output."""
    arguments = _arguments()
    collections = [open_collection(path) for path in arguments.collection]
    packed = arguments.packed or Path(tempfile.mkdtemp()) / "4-bit"
    _pack(arguments.full, packed)
    full, four = _encoder(str(arguments.full)), _encoder(str(packed))
    report = {}
    for name, encoder in (("float32", full), ("4-bit", four)):
        report[name] = _figures(collections, encoder, full.identity.dimension)
    for size in load_sentence_transformer(packed)[0].matryoshka_dims[1:]:
        report[f"4-bit, {size} dimensions"] = _figures(collections, four, size)
    if arguments.against:
        other = _encoder(arguments.against)
        report[arguments.against] = _figures(collections, other, other.identity.dimension)
    sys.stdout.write(json.dumps(report, indent=2) + "\n")


def _pack(full: Path, packed: Path) -> None:
    model = load_sentence_transformer(full, device="cpu")
    model[0].precision = "4-bit"
    model.save_pretrained(str(packed), create_model_card=False)


def _encoder(name: str) -> Encoder:
    return build_encoder(Settings(encoder=name, hub_offline=True, device="cpu"))


def _figures(
    collections: list[Collection], encoder: Encoder, size: int
) -> dict[str, dict[str, float]]:
    """Measures by collection, and their mean over collections."""
    figures = {c.name: _measured(c, encoder, size) for c in collections}
    figures["mean"] = {
        name: round(sum(of[name] for of in figures.values()) / len(figures), 4) for name in MEASURES
    }
    return figures


def _measured(collection: Collection, encoder: Encoder, size: int) -> dict[str, float]:
    queries = {q: clean(collection.queries[q]) for q in collection.qrels}
    ids = [document.id for document in collection.documents]
    texts = [passage_text(d.title, d.text) for d in collection.documents]
    passages = _cut(encoder.encode_passages, texts, size)
    asked = _cut(encoder.encode_queries, list(queries.values()), size)
    run = {
        query: [ids[place] for place in np.argsort(-(passages @ vector), kind="stable")[:100]]
        for query, vector in zip(queries, asked, strict=True)
    }
    found = means(per_query(collection.qrels, run, MEASURES))
    return {name: round(found[name], 4) for name in MEASURES}


def _cut(encode: Callable[[list[str]], Vectors], texts: list[str], size: int) -> Vectors:
    vectors = encode(texts)[:, :size]
    unit: Vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--full", type=Path, required=True)
    parser.add_argument("--packed", type=Path)
    parser.add_argument("--collection", type=Path, action="append", required=True)
    parser.add_argument("--against", default="")
    return parser.parse_args()


if __name__ == "__main__":
    main()
