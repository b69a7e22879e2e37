"""A search of ONNX Runtime and FAISS behind FastAPI, as a careful user would write it.

python -m benchmarks.speed.workers.onnx_search index ENCODER.onnx FOLDER
python -m benchmarks.speed.workers.onnx_search http ENCODER.onnx FOLDER PORT [CROSS_ENCODER.onnx]
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

from benchmarks.speed.workers.onnx_model import CrossEncoder, Encoder

DEPTH = 20
"""Passages that the cross-encoder reads."""


class Search(BaseModel):
    """What is asked."""

    query: str
    top_k: int = 10


class Pipeline:
    """Encode, look up, rerank where there is a cross-encoder."""

    def __init__(self, encoder: Path, folder: Path, reranker: Path | None) -> None:
        self.encoder = Encoder(encoder)
        self.reranker = CrossEncoder(reranker) if reranker else None
        self.index = faiss.read_index(str(folder / "flat.faiss"))
        self.passages = json.loads((folder / "passages.json").read_text(encoding="utf-8"))

    def search(self, asked: Search) -> dict[str, Any]:
        """The best passages, and how long it took, in milliseconds."""
        began = time.perf_counter()
        vector = self.encoder.encode([f"query: {asked.query}"])
        scores, rows = self.index.search(vector, DEPTH if self.reranker else asked.top_k)
        found = [(float(s), *self.passages[row]) for s, row in zip(scores[0], rows[0], strict=True)]
        if self.reranker:
            logits = self.reranker.scores(asked.query, [text for _, _, text in found])
            found = [(float(logits[i]), *found[i][1:]) for i in np.argsort(-logits)[: asked.top_k]]
        hits = [{"id": id_, "score": score, "text": text} for score, id_, text in found]
        return {"hits": hits, "timings_ms": {"total": 1000 * (time.perf_counter() - began)}}


def index(encoder: Path, folder: Path) -> None:
    """Encode the passages of `passages.json` into `flat.faiss`."""
    rows = json.loads((folder / "passages.json").read_text(encoding="utf-8"))
    vectors = Encoder(encoder).encode([f"passage: {text}" for _, text in rows])
    flat = faiss.IndexFlatIP(vectors.shape[1])
    flat.add(vectors)
    faiss.write_index(flat, str(folder / "flat.faiss"))


def application(pipeline: Pipeline) -> FastAPI:
    """One route; FastAPI runs it in its thread pool."""
    app = FastAPI()

    @app.post("/search")
    def search(asked: Search) -> dict[str, Any]:
        return pipeline.search(asked)

    return app


def main() -> None:
    """Read the arguments."""
    how, encoder, folder, *rest = sys.argv[1:]
    if how == "index":
        index(Path(encoder), Path(folder))
        return
    port, *reranker = rest
    pipeline = Pipeline(Path(encoder), Path(folder), Path(reranker[0]) if reranker else None)
    uvicorn.run(
        application(pipeline),
        host="127.0.0.1",
        port=int(port),
        log_level="warning",
        access_log=False,
    )


if __name__ == "__main__":
    main()
