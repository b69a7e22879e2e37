"""The search a user would write with sentence-transformers and FAISS, by their own defaults.

In process (lines over a pipe), or behind a plain FastAPI application:

    python -m benchmarks.speed.workers.stock index|lines|http ENCODER RERANKER FOLDER [PORT]
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from fastapi import FastAPI
from pydantic import BaseModel
from sentence_transformers import CrossEncoder, SentenceTransformer

from benchmarks.speed.workers.lines import Answer, serve


class Search(BaseModel):
    """What is asked."""

    query: str
    num_candidates: int = 100
    top_k: int = 10


class Pipeline:
    """Encode, look up, rerank."""

    def __init__(self, encoder: str, reranker: str, folder: Path) -> None:
        self.encoder = SentenceTransformer(encoder, device="cpu")
        self.reranker = CrossEncoder(reranker, device="cpu")
        self.index = faiss.read_index(str(folder / "stock.faiss"))
        rows = json.loads((folder / "stock.json").read_text(encoding="utf-8"))
        self.ids = [id_ for id_, _ in rows]
        self.texts = [text for _, text in rows]

    def candidates(self, query: str, number: int) -> list[int]:
        """Rows of the nearest passages."""
        vector = self.encoder.encode([query], prompt="query: ", normalize_embeddings=True)
        _, rows = self.index.search(vector, number)
        return [int(row) for row in rows[0] if row >= 0]

    def search(self, asked: Search) -> dict[str, Any]:
        """The best passages, and how long it took, in milliseconds."""
        began = time.perf_counter()
        rows = self.candidates(asked.query, asked.num_candidates)
        found = time.perf_counter()
        scores = self.reranker.predict([(asked.query, self.texts[row]) for row in rows])
        order = np.argsort(-scores, kind="stable")[: asked.top_k]
        hits = [{"id": self.ids[rows[i]], "score": float(scores[i])} for i in order]
        ended = time.perf_counter()
        return {
            "hits": hits,
            "timings_ms": {"rerank": 1000 * (ended - found), "total": 1000 * (ended - began)},
        }


def index(encoder: str, folder: Path) -> None:
    """Encode the passages of `stock.json` into `stock.faiss`."""
    texts = [text for _, text in json.loads((folder / "stock.json").read_text(encoding="utf-8"))]
    model = SentenceTransformer(encoder, device="cpu")
    vectors = model.encode(texts, prompt="passage: ", normalize_embeddings=True)
    flat = faiss.IndexFlatIP(vectors.shape[1])
    flat.add(vectors)
    faiss.write_index(flat, str(folder / "stock.faiss"))


def application(pipeline: Pipeline) -> FastAPI:
    """One route; FastAPI runs it in its thread pool."""
    app = FastAPI()

    @app.post("/search")
    def search(asked: Search) -> dict[str, Any]:
        return pipeline.search(asked)

    return app


def _lines(pipeline: Pipeline) -> Answer:
    def answer(request: dict[str, Any]) -> dict[str, Any]:
        if "candidates_of" in request:
            number = request["num_candidates"]
            found = [pipeline.candidates(query, number) for query in request["candidates_of"]]
            return {"candidates": [[pipeline.ids[row] for row in rows] for rows in found]}
        return pipeline.search(Search(**request))

    return answer


def main() -> None:
    """Read the arguments."""
    how, encoder, reranker, folder, *port = sys.argv[1:]
    if how == "index":
        index(encoder, Path(folder))
    elif how == "lines":
        serve(lambda: _lines(Pipeline(encoder, reranker, Path(folder))))
    else:
        import uvicorn  # noqa: PLC0415

        app = application(Pipeline(encoder, reranker, Path(folder)))
        uvicorn.run(app, host="127.0.0.1", port=int(port[0]), log_level="warning")


if __name__ == "__main__":
    main()
