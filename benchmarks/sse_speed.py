"""Passages a second of a static embedding against a transformer, on this machine in one run.

Both encode the passages of one collection as the service does (`BiEncoder.encode_passages`), in
turns: each round gives one ratio, so that whatever else the machine does falls on both.

    python benchmarks/sse_speed.py --collection DIR [--encoder sse-512] [--against e5-small]
"""

import argparse
import json
import platform
import statistics
import sys
import time
from pathlib import Path

import torch

from service.datasets import open_collection
from service.engine.build import build_encoder
from service.protocols import Encoder
from service.settings import Settings
from service.text.passage import passage_text


def main() -> None:
    """Write the figures as JSON to standard output."""
    arguments = _arguments()
    documents = open_collection(arguments.collection).documents
    texts = [passage_text(document.title, document.text) for document in documents]
    fast, slow = (
        build_encoder(Settings(encoder=name, hub_offline=True, device="cpu"))
        for name in (arguments.encoder, arguments.against)
    )
    few = texts[: arguments.few]
    for encoder in (fast, slow):  # warm up
        encoder.encode_passages(few[:8])
    rounds = [
        (_rate(fast, texts, arguments.repeat), _rate(slow, few, 1)) for _ in range(arguments.rounds)
    ]
    ratios = [a / b for a, b in rounds]
    report = {
        "collection": arguments.collection.resolve().name,
        "passages": {fast.identity.model: len(texts), slow.identity.model: len(few)},
        "mean_tokens": {
            encoder.identity.model: round(statistics.mean(encoder.count_tokens(few)), 1)
            for encoder in (fast, slow)
        },
        "passages_per_second": {
            fast.identity.model: [round(a, 1) for a, _ in rounds],
            slow.identity.model: [round(b, 2) for _, b in rounds],
        },
        "ratio": [round(ratio, 1) for ratio in ratios],
        "median_ratio": round(statistics.median(ratios), 1),
        "machine": {
            "processor": platform.processor() or platform.machine(),
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
        },
    }
    sys.stdout.write(json.dumps(report, indent=2) + "\n")


def _rate(encoder: Encoder, texts: list[str], repeat: int) -> float:
    began = time.perf_counter()
    for _ in range(repeat):
        encoder.encode_passages(texts)
    return repeat * len(texts) / (time.perf_counter() - began)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--collection", type=Path, required=True, help="a BEIR folder")
    parser.add_argument("--encoder", default="sse-512")
    parser.add_argument("--against", default="e5-small")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--repeat", type=int, default=3, help="of the fast one in each round")
    parser.add_argument("--few", type=int, default=60, help="passages for the slow one")
    return parser.parse_args()


if __name__ == "__main__":
    main()
