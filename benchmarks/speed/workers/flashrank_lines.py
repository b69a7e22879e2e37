"""FlashRank on a folder with `model.onnx` and a tokenizer; runs in FlashRank's own environment.

python -m benchmarks.speed.workers.flashrank_lines FOLDER
"""

import sys
import time
from pathlib import Path
from typing import Any

from flashrank import Ranker, RerankRequest
from flashrank.Config import model_file_map

from benchmarks.speed.workers.lines import Answer, serve


def load() -> Answer:
    """A ranker by the folder's name: FlashRank looks for it in its cache before it downloads."""
    folder = Path(sys.argv[1])
    model_file_map[folder.name] = "model.onnx"
    ranker = Ranker(model_name=folder.name, cache_dir=str(folder.parent), max_length=512)

    def answer(request: dict[str, Any]) -> dict[str, Any]:
        passages = [{"id": id_, "text": text} for id_, text in request["candidates"]]
        began = time.perf_counter()
        ranked = ranker.rerank(RerankRequest(request["query"], passages))
        milliseconds = 1000 * (time.perf_counter() - began)
        hits = [{"id": row["id"], "score": float(row["score"])} for row in ranked]
        return {"hits": hits[: request["top_k"]], "timings_ms": {"rerank": milliseconds}}

    return answer


if __name__ == "__main__":
    serve(load)
