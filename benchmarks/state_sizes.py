"""What smaller token states cost: nDCG@10 of the reranker against bytes for 100 tokens.

Computes the states of labelled collections once, keeps them in float16 under `--kept`, and reranks
the first 100 passages of each query with states that were made smaller and restored.

    python -m benchmarks.state_sizes shared/data --kept /tmp/states
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, linkage

from service.datasets import open_collection
from service.encoder.transformer import Transformer
from service.encoder.transformer_backends import Backends
from service.evaluation.measures import Qrels, per_query
from service.evaluation.observations import sample
from service.models.sources import prepare
from service.reranker.interaction import (
    COMMON,
    InteractionHead,
    piece_information,
    query_information,
)
from service.settings import Settings
from service.text.passage import passage_text
from service.types import TokenStates

DEVELOPMENT = (
    "tydiqa-en-dev",
    "tydiqa-ko-dev",
    "tydiqa-ru-dev",
    "jsquad-valid",
    "pubmedqa",
    "cisi",
)
FITTED_ON = (
    "tydiqa-en-train",
    "tydiqa-ko-train",
    "tydiqa-sw-train",
    "tydiqa-ar-dev",
    "jaquad-train",
    "medquad",
    "drcd-zh-hant-dev",
    "iapp-th-train",
)
"""Training collections: what is fitted, axes and centres, has seen no development set."""

QUERIES, FIT_PASSAGES, CANDIDATES, SEED = 400, 60, 100, 0
OF_PASSAGE = 392
"""Bytes of a passage beside its tokens: its own vector, int8, and their number."""

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Tokens:
    """Tokens of some texts, one after the other: unit vectors, ids, and what each piece tells.

    `weights` are a query's. `counts` has the tokens of each text, `pooled` its own vector, `all`
    its tokens with those that the head leaves out.
    """

    vectors: Floats
    ids: NDArray[np.int32]
    told: Floats
    weights: Floats
    counts: NDArray[np.int64]
    pooled: Floats
    all: NDArray[np.int64]

    @property
    def starts(self) -> NDArray[np.int64]:
        starts: NDArray[np.int64] = np.cumsum(self.counts) - self.counts
        return starts

    def chosen(self, kept: NDArray[np.bool_]) -> "Tokens":
        """Without some of the tokens."""
        counts = np.add.reduceat(kept, self.starts, dtype=np.int64)
        return replace(
            self,
            vectors=self.vectors[kept],
            ids=self.ids[kept],
            told=self.told[kept],
            weights=self.weights[kept],
            counts=counts,
        )


@dataclass(frozen=True)
class Collection:
    """A labelled collection as the head reads it, with the candidates of each query, by place."""

    passages: Tokens
    queries: Tokens
    candidates: NDArray[np.int64]
    documents: list[str]
    query_ids: list[str]
    qrels: Qrels


class Reader:
    """The default encoder and head, and token states kept on disk."""

    def __init__(self, data: Path, kept: Path) -> None:
        models = Settings().cache_dir
        base = prepare("e5-small", "bi-encoder", cache_dir=models, offline=True)
        found = prepare("interaction-v1", "interaction", cache_dir=models, offline=True)
        self._encoder = Transformer.load(
            base.folder,
            batch_tokens=8192,
            device="cpu",
            backends=Backends("torch-bf16", "torch-bf16"),
        )
        self._information = piece_information(base.folder)
        self._data, self._kept = data, kept
        self.head = InteractionHead.load(found.folder)

    def collection(self, name: str) -> Collection:
        """A development set with a sample of its queries."""
        labelled = open_collection(self._data / name, max_chars=10_000_000)
        documents = {d.id: passage_text(d.title, d.text) for d in labelled.documents}
        chosen = sample(labelled.judged, QUERIES, SEED)
        passages = self._tokens(name, "passage", list(documents.values()))
        queries = self._tokens(name, "query", [labelled.queries[id_] for id_ in chosen])
        cosines = queries.pooled @ passages.pooled.T
        nearest = np.argsort(-cosines, axis=1, kind="stable")[:, :CANDIDATES]
        qrels = {id_: labelled.judged[id_] for id_ in chosen}
        return Collection(passages, queries, nearest, list(documents), chosen, qrels)

    def training_tokens(self) -> Tokens:
        """Passages of the training collections."""
        texts = []
        for name in FITTED_ON:
            found = open_collection(self._data / name, max_chars=10_000_000).documents
            documents = {d.id: passage_text(d.title, d.text) for d in found}
            texts += [documents[id_] for id_ in sample(documents, FIT_PASSAGES, SEED)]
        return self._tokens("training", "passage", texts)

    def _tokens(self, name: str, kind: str, texts: Sequence[str]) -> Tokens:
        path = self._kept / f"{name}-{kind}-{len(texts)}.npz"
        if not path.is_file():
            self._kept.mkdir(parents=True, exist_ok=True)
            np.savez(path, **self._made(kind, texts))
        made: dict[str, Any] = dict(np.load(path, allow_pickle=False))
        return Tokens(**made | {"vectors": made["vectors"].astype(np.float32)})

    def _made(self, kind: str, texts: Sequence[str]) -> dict[str, NDArray[Any]]:
        config = self.head.config
        prefix = config.query_prefix if kind == "query" else config.passage_prefix
        window = config.query_tokens if kind == "query" else config.passage_tokens
        rows = []
        for start in range(0, len(texts), 256):
            part = [prefix + text for text in texts[start : start + 256]]
            seen = self._encoder.states(part, window, config.layers)
            rows += [self._row(kind, one) for one in seen]
            sys.stderr.write(f"{kind} {start + len(part)} of {len(texts)}\n")
        parts = list(zip(*rows, strict=True))
        vectors, ids, told, weights = (np.concatenate(part) for part in parts[:4])
        counts = np.array([len(part) for part in parts[1]], np.int64)
        pooled, whole = np.stack(parts[4]), np.array(parts[5], np.int64)
        return {
            "vectors": vectors.astype(np.float16),
            "ids": ids,
            "told": told,
            "weights": weights,
            "counts": counts,
            "pooled": pooled,
            "all": whole,
        }

    def _row(self, kind: str, seen: TokenStates) -> tuple[Any, ...]:
        head, config = self.head, self.head.config
        special = self._encoder.prefix_tokens("")
        prefix = self._encoder.prefix_tokens(config.query_prefix) if kind == "query" else special
        ids = torch.from_numpy(seen.ids).long()
        told = query_information(self._information, ids, prefix)
        states = torch.from_numpy(seen.states)
        with torch.inference_mode():
            vectors = head.vectors(states).numpy()
            weights = head.weights(states[None], told[None])[0].numpy()
        kept = weights != 0 if kind == "query" else (told > COMMON).numpy()
        if not kept.any():
            kept = np.ones_like(kept)
        read = told.numpy()[kept], weights[kept], seen.pooled, len(seen.ids)
        return vectors[kept], seen.ids[kept], *read


@dataclass(frozen=True)
class Form:
    """A way to store tokens: `restored` gives the vectors that scores would be computed from.

    `token_bytes` has the size of a token's codes, scale and id. `fewer` leaves out or merges tokens
    before that. Without `ids` the same piece counts no more than another one.
    """

    token_bytes: int
    restored: Callable[[Floats], Floats]
    fewer: Callable[[Tokens], Tokens] = lambda tokens: tokens
    ids: bool = True


STEPS = {4: 0.335, 3: 0.586, 2: 0.996}
"""Between two levels, in standard deviations, by bits: the least error for normal numbers."""


def rounded(vectors: Floats, bits: Sequence[int], spread: Sequence[float] | None = None) -> Floats:
    """Vectors whose columns have `bits` each, times a scale that keeps the product with themselves.

    `spread` is each column's standard deviation; by default all have the same.
    """
    size = np.linalg.norm(vectors, axis=1, keepdims=True) + 1e-9
    deviation = np.full(len(bits), len(bits) ** -0.5) if spread is None else np.asarray(spread)
    step = (deviation * [STEPS[n] for n in bits]).astype(np.float32)
    half = np.array([1 << (n - 1) for n in bits], np.float32)
    codes = (np.floor(vectors / size / step).clip(-half, half - 1) + 0.5) * step
    along = (vectors * codes).sum(axis=1, keepdims=True)
    restored: Floats = codes * (size**2 / np.maximum(along, 1e-6))
    return restored


def spread_evenly(dimension: int) -> Floats:
    """A rotation after which all numbers of a vector are about as large."""
    drawn = np.random.default_rng(SEED).standard_normal((dimension, dimension))
    rotation: Floats = np.linalg.qr(drawn)[0].astype(np.float32)
    return rotation


def on_axes(
    axes: Floats, energies: Floats, parts: Sequence[tuple[int, int]]
) -> Callable[[Floats], Floats]:
    """Round on principal axes. `parts`: how many axes get how many bits, the greatest first."""
    blocks, spread, bits, start = [], [], [], 0
    for count, each in parts:
        place = slice(start, start + count)
        blocks.append(axes[:, place] @ spread_evenly(count))
        spread += [float(np.sqrt(energies[place].mean()))] * count
        bits += [each] * count
        start += count
    basis = np.concatenate(blocks, axis=1)
    return lambda vectors: rounded(vectors @ basis, bits, spread) @ basis.T


def evenly(bits: int, dimension: int = 128) -> Callable[[Floats], Floats]:
    """Round all numbers alike, as the service does with four bits."""
    turn = spread_evenly(dimension)
    return lambda vectors: rounded(vectors @ turn, [bits] * dimension) @ turn.T


def around(centres: Floats, bits: int) -> Callable[[Floats], Floats]:
    """The nearest of `centres`, and what is left of the vector in `bits`, as ColBERTv2 does."""
    left = evenly(bits, centres.shape[1])
    half_squares = np.square(centres).sum(axis=1) / 2

    def restored(vectors: Floats) -> Floats:
        nearest = centres[(vectors @ centres.T - half_squares).argmax(axis=1)]
        return nearest + left(vectors - nearest)

    return restored


def centres_of(vectors: Floats, count: int) -> Floats:
    """The centres that k-means finds."""
    kmeans = faiss.Kmeans(vectors.shape[1], count, niter=10, seed=SEED)
    kmeans.train(vectors)
    centres: Floats = kmeans.centroids
    return centres


def telling(least: float) -> Callable[[Tokens], Tokens]:
    """Leave out pieces that tell less than `least` nats."""

    def fewer(tokens: Tokens) -> Tokens:
        kept = tokens.told > least
        kept[tokens.starts] = True
        return tokens.chosen(kept)

    return fewer


def pooled(factor: float) -> Callable[[Tokens], Tokens]:
    """Merge the tokens of a passage by Ward's clustering (Clavie et al., 2024)."""

    def fewer(tokens: Tokens) -> Tokens:
        vectors, firsts, counts = [], [], []
        for start, count in zip(tokens.starts, tokens.counts, strict=True):
            own = tokens.vectors[start : start + count]
            wanted = max(1, round(count / factor))
            groups = np.zeros(count, int)
            if count > 1:
                groups = fcluster(linkage(own, "ward"), wanted, "maxclust") - 1
            _, first = np.unique(groups, return_index=True)
            sums = np.zeros((len(first), own.shape[1]), np.float32)
            np.add.at(sums, groups, own)
            vectors.append(sums / np.linalg.norm(sums, axis=1, keepdims=True))
            firsts.append(start + first)
            counts.append(len(first))
        place = np.concatenate(firsts)
        return replace(
            tokens,
            vectors=np.concatenate(vectors),
            ids=tokens.ids[place],
            told=tokens.told[place],
            weights=tokens.weights[place],
            counts=np.array(counts, np.int64),
        )

    return fewer


def forms(training: Tokens) -> dict[str, Form]:
    """What is compared, by name. The first is what scores would be without any rounding."""
    vectors = training.vectors
    energies, axes = np.linalg.eigh(vectors.T @ vectors / len(vectors))
    energies, axes = energies[::-1].copy(), np.ascontiguousarray(axes[:, ::-1])
    centres = centres_of(vectors, 256)
    now = evenly(4)

    def principal(*parts: tuple[int, int]) -> Callable[[Floats], Floats]:
        return on_axes(axes, energies, parts)

    return {
        "float16": Form(2 * 128 + 2, lambda vectors: vectors),
        "128 x 4 bits": Form(68, now),
        "128 x 4 bits, no ids": Form(66, now, ids=False),
        "128 x 3 bits": Form(52, evenly(3)),
        "128 x 2 bits": Form(36, evenly(2)),
        "96 axes x 4 bits": Form(52, principal((96, 4))),
        "96 axes x 3 bits": Form(40, principal((96, 3))),
        "64 axes x 4 bits": Form(36, principal((64, 4))),
        "32 axes x 4 bits, 64 x 2": Form(36, principal((32, 4), (64, 2))),
        "32 axes x 4 bits, 96 x 2": Form(44, principal((32, 4), (96, 2))),
        "16 axes x 4 bits, 96 x 2": Form(36, principal((16, 4), (96, 2))),
        "256 centres, 128 x 2 bits": Form(37, around(centres, 2)),
        "128 x 4 bits, half the tokens merged": Form(68, now, pooled(2)),
        "128 x 4 bits, a third merged": Form(68, now, pooled(1.5)),
        "128 x 4 bits, pieces over 6 nats": Form(68, now, telling(6)),
        "128 x 4 bits, pieces over 8 nats": Form(68, now, telling(8)),
        "128 x 4 bits, pieces over 9 nats": Form(68, now, telling(9)),
        "128 x 4 bits, pieces over 10 nats": Form(68, now, telling(10)),
    }


def measured(reader: Reader, collection: Collection, form: Form) -> tuple[dict[str, float], Tokens]:
    """nDCG@10 of each query, and the tokens that would be stored."""
    head, queries = reader.head, collection.queries
    exact, match = float(head.exact.detach()), float(head.match.detach())
    tokens = form.fewer(collection.passages)
    stored, starts, query_starts = form.restored(tokens.vectors), tokens.starts, queries.starts
    run = {}
    for place, id_ in enumerate(collection.query_ids):
        nearest = collection.candidates[place]
        counts = tokens.counts[nearest]
        firsts = np.cumsum(counts) - counts
        rows = np.repeat(starts[nearest] - firsts, counts) + np.arange(counts.sum())
        own = slice(query_starts[place], query_starts[place] + queries.counts[place])
        similar = queries.vectors[own] @ stored[rows].T
        if form.ids:
            similar += exact * (queries.ids[own][:, None] == tokens.ids[rows])
        best = np.maximum.reduceat(similar, firsts, axis=1)
        scores = tokens.pooled[nearest] @ queries.pooled[place]
        scores += match * (queries.weights[own] @ best)
        order = np.argsort(-scores, kind="stable")
        run[id_] = [collection.documents[nearest[i]] for i in order]
    return per_query(collection.qrels, run, ["ndcg@10"])["ndcg@10"], tokens


def report(reader: Reader, names: Sequence[str]) -> Iterator[tuple[str, str, dict[str, float]]]:
    """Form, collection, and its figures."""
    wanted = forms(reader.training_tokens())
    for name in names:
        collection = reader.collection(name)
        whole = float(collection.passages.all.sum())
        exact: dict[str, float] = {}
        for label, form in wanted.items():
            values, tokens = measured(reader, collection, form)
            exact = exact or values
            lost = [exact[query] - value for query, value in values.items()]
            yield label, name, {
                "queries": len(values),
                "ndcg@10": round(float(np.mean(list(values.values()))), 4),
                "lost": round(float(np.mean(lost)), 4),
                "lost_error": round(float(np.std(lost) / np.sqrt(len(lost))), 4),
                "kb_for_100_stored_tokens": (OF_PASSAGE + 100 * form.token_bytes) / 1000,
                "kb_for_100_tokens": round(
                    (OF_PASSAGE + 100 * form.token_bytes * len(tokens.ids) / whole) / 1000, 2
                ),
            }  # fmt: skip


def main() -> None:
    """Write the figures as JSON to standard output, and each as it comes to standard error."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--kept", type=Path, required=True)
    parser.add_argument("--collection", action="append")
    given = parser.parse_args()
    torch.set_num_threads(1)
    found: dict[str, dict[str, Any]] = {}
    reader = Reader(given.data, given.kept)
    for form, name, figures in report(reader, given.collection or DEVELOPMENT):
        found.setdefault(form, {})[name] = figures
        sys.stderr.write(json.dumps([form, name, figures]) + "\n")
    sys.stdout.write(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
