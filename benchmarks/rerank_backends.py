"""A cross-encoder in each backend of the service, against sentence-transformers' `predict`.

Time: passages of the first labelled collection, cut to some length, for one query, on one thread;
the ways take turns, and the least CPU time and wall time of the rounds count. Quality, of each
collection: for a sample of its queries the documents that BM25 finds first are ordered by each
backend.

    python benchmarks/rerank_backends.py --collection DIR [DIR ...] [--reranker minilm-l6-v0]
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import bm25s
import numpy as np
import torch
from scipy.stats import kendalltau
from sentence_transformers import CrossEncoder

from service.backend_record import this_cpu
from service.datasets import Collection, data_sha256, open_collection
from service.evaluation.measures import means, per_query
from service.evaluation.observations import sample
from service.evaluation.provenance import provenance, versions
from service.models.sources import prepare
from service.reranker.backend_choice import BACKENDS
from service.reranker.open_cross_encoder import open_cross_encoder
from service.settings import Settings
from service.words import tokenize

PLAIN = "sentence-transformers"
BATCH = 32
"""Pairs in a batch of `predict`: its default."""

Score = Callable[[Sequence[tuple[str, str]]], list[float]]


def main() -> None:
    """Write the figures as JSON to standard output."""
    arguments = _arguments()
    torch.set_num_threads(arguments.threads)
    settings = Settings(
        reranker=arguments.reranker, device="cpu", threads=arguments.threads, rerank_score_cache=0
    )
    ways, tokenizer = _ways(settings, arguments.window)
    report: dict[str, Any] = {
        **provenance(0),
        "packages": versions(["torch", "sentence-transformers", "onnxruntime"]),
        "cpu": this_cpu(),
        "threads": arguments.threads,
        "reranker": arguments.reranker,
        "collections": {path.name: data_sha256(path) for path in arguments.collection},
        "speed": {},
        "quality": {},
    }
    for path in arguments.collection:
        collection = open_collection(path)
        found = _found(collection, arguments.queries, max(arguments.depth, arguments.passages))
        texts = {d.id: f"{d.title} {d.text}" for d in collection.documents}
        if not report["speed"]:
            query, documents = next(iter(found.items()))
            timed = [texts[document] for document in documents[: arguments.passages]]
            cut = [_cut(tokenizer, text, arguments.tokens) for text in timed]
            pairs = [(collection.queries[query], text) for text in cut]
            report["speed"] = _speed(ways, pairs, tokenizer, arguments.rounds)
        shallow = {q: d[: arguments.depth] for q, d in found.items()}
        report["quality"][path.name] = _quality(ways, collection, texts, shallow)
    sys.stdout.write(json.dumps(report, indent=2) + "\n")


def _ways(settings: Settings, window: int) -> tuple[dict[str, Score], Any]:
    model = prepare(settings.reranker, "cross-encoder", cache_dir=settings.cache_dir, offline=True)
    plain = CrossEncoder(str(model.folder), device="cpu", local_files_only=True)

    def predict(pairs: Sequence[tuple[str, str]]) -> list[float]:
        scores = plain.predict(
            list(pairs),
            batch_size=BATCH,
            activation_fn=torch.nn.Identity(),
            show_progress_bar=False,
        )
        return [float(score) for score in scores]

    def scorer(backend: str, window: int = 0) -> Score:
        # Nothing is remembered: tokenising counts, as it does for the other.
        changes = {
            "rerank_backend": backend,
            "rerank_cache_mb": 0,
            "rerank_window": window,
        }
        reranker = open_cross_encoder(settings.model_copy(update=changes), model)
        return lambda pairs: [score.logit for score in reranker.score_pairs(pairs)]

    ways = {PLAIN: predict} | {backend: scorer(backend) for backend in BACKENDS}
    if window:
        ways[f"torch, best {window}"] = scorer("torch", window)
    return ways, plain.tokenizer


def _speed(
    ways: Mapping[str, Score], pairs: Sequence[tuple[str, str]], tokenizer: Any, rounds: int
) -> dict[str, Any]:
    lengths = [len(tokenizer(*pair, truncation=True)["input_ids"]) for pair in pairs]
    times: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
    logits = {way: score(pairs) for way, score in ways.items()}  # warms up
    for _ in range(rounds):
        for way, score in ways.items():
            wall, own = time.perf_counter(), time.process_time()
            score(pairs)
            times[way].append((time.perf_counter() - wall, time.process_time() - own))
    best = {
        way: [1000 * min(column) for column in zip(*of, strict=True)] for way, of in times.items()
    }
    exact = np.array(logits[PLAIN])
    return {
        "pairs": len(pairs),
        "tokens": sum(lengths),
        "rounds": rounds,
        "ways": {
            way: {
                "ms": round(best[way][0]),
                "cpu_ms": round(best[way][1]),
                "times_faster": round(best[PLAIN][1] / best[way][1], 2),
                "max_difference": round(float(np.abs(np.array(logits[way]) - exact).max()), 6),
            }
            for way in ways
        },
    }


def _quality(
    ways: Mapping[str, Score],
    collection: Collection,
    texts: Mapping[str, str],
    found: Mapping[str, Sequence[str]],
) -> dict[str, Any]:
    scores: dict[str, dict[str, list[float]]] = {way: {} for way in ways if way != PLAIN}
    for query, documents in found.items():
        pairs = [(collection.queries[query], texts[document]) for document in documents]
        for way, of in scores.items():
            of[query] = ways[way](pairs)
    qrels = {query: collection.qrels[query] for query in found}
    exact = scores[BACKENDS[0]]
    report: dict[str, Any] = {"queries": len(found), "depth": len(next(iter(found.values())))}
    for way, of in scores.items():
        run = {
            query: [d for _, d in sorted(zip(of[query], documents, strict=True), key=_best_first)]
            for query, documents in found.items()
        }
        taus = [float(kendalltau(of[query], exact[query]).statistic) for query in found]
        worst = max(abs(a - b) for q in found for a, b in zip(of[q], exact[q], strict=True))
        report[way] = {
            "kendall_tau": round(float(np.mean(taus)), 4),
            "max_difference": round(worst, 4),
            "ndcg@10": round(means(per_query(qrels, run, ["ndcg@10"]))["ndcg@10"], 4),
        }
    return report


def _best_first(row: tuple[float, str]) -> tuple[float, str]:
    return -row[0], row[1]


def _found(collection: Collection, queries: int, depth: int) -> dict[str, list[str]]:
    """Per sampled query the ids of the documents that BM25 puts first."""
    ids = [document.id for document in collection.documents]
    words = [tokenize(f"{d.title} {d.text}") or [""] for d in collection.documents]
    index = bm25s.BM25(method="lucene", k1=1.2, b=0.75)
    index.index(words, show_progress=False)
    found = {}
    for query in sample(collection.qrels, queries, 0):
        known = [word for word in tokenize(collection.queries[query]) if word in index.vocab_dict]
        order = np.argsort(-index.get_scores(known), kind="stable")[:depth]
        found[query] = [ids[place] for place in order]
    return found


def _cut(tokenizer: Any, text: str, tokens: int) -> str:
    """The words of a text up to about so many tokens."""
    words = text.split()
    while (
        len(tokenizer(" ".join(words), add_special_tokens=False, verbose=False)["input_ids"])
        > tokens
    ):
        words = words[: int(len(words) * 0.95)]
    return " ".join(words)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--collection", type=Path, nargs="+", required=True)
    parser.add_argument("--reranker", default="minilm-l6-v0")
    parser.add_argument("--passages", type=int, default=100, help="that are timed")
    parser.add_argument("--tokens", type=int, default=150, help="of a timed passage, at most")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--queries", type=int, default=50, help="that the quality is measured on")
    parser.add_argument("--window", type=int, default=128, help="also with this `rerank_window`")
    parser.add_argument("--depth", type=int, default=20, help="documents of each")
    given = parser.parse_args()
    if len({path.name for path in given.collection}) < len(given.collection):
        parser.error("two collections have folders of one name")
    return given


if __name__ == "__main__":
    main()
