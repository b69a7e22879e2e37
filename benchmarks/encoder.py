"""The encoder's backends beside SentenceTransformer.encode and ONNX Runtime, same weights.

All ways take turns in one process; the least CPU time of the rounds counts, so that other work on
the machine changes little. Bars are ratios. Needs `secondpass[onnx]`.

    python -m benchmarks.encoder > benchmarks/results/encoder.json
"""

import argparse
import json
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import numpy as np
import onnxruntime
import torch
from sentence_transformers import SentenceTransformer
from torch import Tensor, nn

from service.backend_record import this_cpu
from service.encoder.transformer import Transformer
from service.encoder.transformer_backends import Backends
from service.evaluation.provenance import provenance
from service.models.sources import prepare
from service.probe_texts import PROBES
from service.settings import Settings

QUERY = "query: how do I keep bread dough from sticking to the bowl"
PASSAGES = [f"passage: {text}" for text in PROBES[0][1]]
WINDOW = 256
MATRIX = 2048


def main() -> None:
    """Write the figures as JSON to standard output."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    folder = prepare("e5-small", "bi-encoder", cache_dir=Settings().cache_dir, offline=True).folder
    ours = Transformer.load(
        folder, batch_tokens=1024, device="cpu", backends=Backends("torch", "torch-bf16")
    )
    theirs = SentenceTransformer(str(folder), device="cpu", local_files_only=True)
    theirs.max_seq_length = WINDOW
    queries = [f"{QUERY} {'and the table ' * (number % 4)}" for number in range(32)]
    onnx = _onnx(theirs, arguments.threads)

    def stock(texts: list[str]) -> object:
        return theirs.encode(texts, batch_size=32, prompt="", show_progress_bar=False)

    ways: dict[str, dict[str, Callable[[], object]]] = {
        "one_query": {
            "torch": lambda: ours.queries.encode([QUERY], WINDOW),
            "torch-bf16": lambda: ours.encode([QUERY], WINDOW),
            "sentence-transformers": lambda: stock([QUERY]),
            "onnxruntime-fp32": lambda: onnx(QUERY),
        },
        "queries_32": {
            "torch": lambda: ours.queries.encode(queries, WINDOW),
            "torch-bf16": lambda: ours.encode(queries, WINDOW),
            "sentence-transformers": lambda: stock(queries),
        },
        "passages": {
            "torch": lambda: ours.queries.encode(PASSAGES, WINDOW),
            "torch-bf16": lambda: ours.encode(PASSAGES, WINDOW),
            "sentence-transformers": lambda: stock(PASSAGES),
        },
    }
    times = {name: _in_turn(own, arguments.rounds) for name, own in ways.items()}
    rate = _matrix_rate(arguments.rounds)
    tokens = sum(min(count + 2, WINDOW) for count in ours.count_tokens(PASSAGES))
    work = 2 * tokens * sum(p.numel() for p in theirs[0].auto_model.encoder.parameters())
    report: dict[str, Any] = {
        **provenance(0),
        "cpu": this_cpu(),
        "threads": arguments.threads,
        "passages": len(PASSAGES),
        "tokens_of_the_passages": tokens,
        "milliseconds": times,
        "bf16_gflops_of_the_machine": round(rate / 1e9),
        "ratios": {
            backend: {
                "query_against_onnxruntime_fp32": _share(times["one_query"], backend),
                "queries_times_sentence_transformers": _times(times["queries_32"], backend),
                "passages_times_sentence_transformers": _times(times["passages"], backend),
                "share_of_bf16_rate": round(
                    1000 * work / times["passages"][backend]["cpu"] / rate, 3
                ),
            }
            for backend in ("torch", "torch-bf16")
        },
    }
    json.dump(report, sys.stdout, indent=2)
    sys.stdout.write("\n")


def _times(times: dict[str, dict[str, float]], backend: str) -> float:
    return round(times["sentence-transformers"]["cpu"] / times[backend]["cpu"], 2)


def _share(times: dict[str, dict[str, float]], backend: str) -> float:
    return round(times[backend]["cpu"] / times["onnxruntime-fp32"]["cpu"], 2)


def _in_turn(ways: dict[str, Callable[[], object]], rounds: int) -> dict[str, dict[str, float]]:
    """Milliseconds of each way in its fastest round, the first of which is not counted."""
    cpu: dict[str, list[float]] = {name: [] for name in ways}
    wall: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds + 1):
        for name, run in ways.items():
            began, began_cpu = perf_counter(), process_time()
            run()
            cpu[name].append(1000 * (process_time() - began_cpu))
            wall[name].append(1000 * (perf_counter() - began))
    return {
        name: {"cpu": round(min(cpu[name][1:]), 2), "wall": round(min(wall[name][1:]), 2)}
        for name in ways
    }


def _matrix_rate(rounds: int) -> float:
    """Operations a CPU second of a product of two bfloat16 matrices."""
    one, two = (torch.randn(MATRIX, MATRIX).bfloat16() for _ in range(2))
    ways: dict[str, Callable[[], object]] = {"matrix": lambda: one @ two}
    return 2 * MATRIX**3 / (_in_turn(ways, rounds)["matrix"]["cpu"] / 1000)


class _Pooled(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, input_ids: Tensor) -> Tensor:
        mean: Tensor = self.network(input_ids=input_ids).last_hidden_state.mean(1)
        return mean


def _onnx(model: Any, threads: int) -> Callable[[str], object]:
    """The same model exported: a query, tokenized, in one pass of ONNX Runtime."""
    ids = torch.arange(48).reshape(2, 24) + 1000
    free = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 3
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        file = Path(folder) / "model.onnx"
        torch.onnx.export(
            _Pooled(model[0].auto_model).eval(),
            (ids,),
            str(file),
            input_names=["input_ids"],
            dynamic_shapes={"input_ids": free},
            dynamo=True,
            verbose=False,
        )
        session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    tokenizer = model.tokenizer.backend_tokenizer

    def run(text: str) -> object:
        pieces = np.array([tokenizer.encode(text).ids], np.int64)
        return session.run(None, {"input_ids": pieces})

    return run


if __name__ == "__main__":
    main()
