"""What share of the processors' arithmetic an ingest uses."""

import json
from pathlib import Path
from time import perf_counter

import torch


def passage_gflop(folder: Path, tokens: int) -> float:
    """Of the matrix products in a BERT's layers, for a passage of so many tokens: 1e9 of them."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    linear = 4 * hidden * hidden + 2 * hidden * inner
    layers = config["num_hidden_layers"]
    return float(layers * tokens * (2 * linear + 4 * tokens * hidden) / 1e9)


def bfloat16_gflops(size: int = 2048, rounds: int = 20) -> float:
    """What this machine's processors reach in a product of two square matrices, at best."""
    left, right = (torch.randn(size, size).to(torch.bfloat16) for _ in range(2))
    seconds = []
    for _ in range(rounds):
        began = perf_counter()
        left @ right
        seconds.append(perf_counter() - began)
    return 2 * size**3 / min(seconds) / 1e9
