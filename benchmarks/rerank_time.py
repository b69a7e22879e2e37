"""CPU time to rerank 100 passages of 100 tokens with stored states, on one thread.

Reads the states of passages drawn from 1,000 and scores them against a query that is encoded
already. CPU time, because other work on the machine changes it little. The states are random.

    python -m benchmarks.rerank_time
"""

import json
import sys
import tempfile
from pathlib import Path
from time import thread_time

import numpy as np
import torch

from service.encoder.transformer import Transformer
from service.models.sources import prepare
from service.reranker.interaction_reranker import InteractionReranker
from service.reranker.packed_states import pack
from service.settings import Settings
from service.store.state_store import StateStore
from service.types import EncodedPassage, EncodedQuery, StoredPassage, Vectors

QUERY = "how do I keep bread dough from sticking to the bowl"
KEPT, READ, TOKENS, ROUNDS = 1000, 100, 100, 200
rng = np.random.default_rng(0)


def main() -> None:
    """Write milliseconds, the least and the median, as JSON to standard output."""
    torch.set_num_threads(1)
    models = Settings().cache_dir
    base = prepare("e5-small", "bi-encoder", cache_dir=models, offline=True)
    head = prepare("interaction-v1", "interaction", cache_dir=models, offline=True)
    encoder = Transformer.load(base.folder, batch_tokens=1024, device="cpu")
    reranker = InteractionReranker(
        head.folder,
        base.folder,
        encoder,
        model=head.name,
        weights_sha256=head.weights_sha256,
        cache_bytes=0,
    )
    seen = encoder.states([f"query: {QUERY}"], 256, (8, 12))
    query = EncodedQuery((QUERY,), _unit(1, 384), len(seen[0].ids), tuple(seen))
    text = QUERY * 8
    passages = [StoredPassage(id_, "d", "", text, 0, len(text), {}) for id_ in range(1, KEPT + 1)]
    times = []
    with tempfile.TemporaryDirectory() as folder:
        states = StateStore(Path(folder) / "states.db", "benchmark")
        states.put([(passage, _packed()) for passage in passages])
        for _ in range(ROUNDS):
            chosen = [passages[at] for at in rng.choice(KEPT, READ, replace=False)]
            start = thread_time()
            found = states.get(chosen)
            read = thread_time()
            slices = [[EncodedPassage(passage.text, found[passage.id]) for passage in chosen]]
            (scores,) = reranker.score(query, slices)
            times.append((read - start, thread_time() - read, thread_time() - start))
            if len(scores) != READ:
                raise RuntimeError("some passage has no score")
        states.close()
    by_part = zip(("read", "score", "both"), 1000 * np.array(times).T, strict=True)
    report = {k: {"least": round(t.min(), 2), "median": round(np.median(t), 2)} for k, t in by_part}
    sys.stdout.write(json.dumps(report | {"bytes": len(_packed())}) + "\n")


def _packed() -> bytes:
    ids = rng.integers(0, 250_000, TOKENS).astype(np.int32)
    return pack(ids, _unit(TOKENS, 128), _unit(1, 384)[0], truncated=False)


def _unit(*shape: int) -> Vectors:
    vectors = rng.normal(size=shape).astype(np.float32)
    unit: Vectors = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
    return unit


if __name__ == "__main__":
    main()
