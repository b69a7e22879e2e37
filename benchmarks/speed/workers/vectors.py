"""Texts to vectors by several packages, each as its users would call it.

python -m benchmarks.speed.workers.vectors sentence-transformers|fastembed|onnx|secondpass FOLDER

FOLDER is the model's; for `fastembed` and `onnx` FILE.onnx in it. `secondpass` takes none: it
ingests into an empty folder, which chunks, encodes, stores and indexes. It reads lines
`{"texts": [...], "kind": "query" | "passage"}` and answers with the milliseconds that they took.
"""

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.speed.workers.lines import Answer, serve

BATCH = 32
DIMENSIONS = 384

Encode = Callable[[Sequence[str]], object]
"""Texts that have their prefix, `query: ` or `passage: `."""


def sentence_transformers(folder: str) -> Encode:
    """float32 by default, in batches of 32."""
    from sentence_transformers import SentenceTransformer  # noqa: PLC0415

    model = SentenceTransformer(folder, device="cpu")
    return lambda texts: model.encode(
        list(texts), batch_size=BATCH, normalize_embeddings=True, show_progress_bar=False
    )


def fastembed(file: str) -> Encode:
    """A model of the user's own, from a local folder."""
    from fastembed import TextEmbedding  # noqa: PLC0415
    from fastembed.common.model_description import ModelSource, PoolingType  # noqa: PLC0415

    place = Path(file)
    TextEmbedding.add_custom_model(
        model=place.parent.name,
        pooling=PoolingType.MEAN,
        normalization=True,
        sources=ModelSource(hf=place.parent.name),
        dim=DIMENSIONS,
        model_file=place.name,
    )
    model = TextEmbedding(place.parent.name, specific_model_path=str(place.parent))
    return lambda texts: list(model.embed(texts, batch_size=BATCH))


def onnx(file: str) -> Encode:
    """ONNX Runtime and a tokenizer."""
    from benchmarks.speed.workers.onnx_model import Encoder  # noqa: PLC0415

    return Encoder(Path(file)).encode


def ingest() -> Encode:
    """This service's ingest. Its clock runs once the models are loaded, as those of the others."""
    from service.cli import tune_process  # noqa: PLC0415

    tune_process()
    from benchmarks.growth.ingest import ingested  # noqa: PLC0415
    from service.settings import Settings  # noqa: PLC0415

    settings = Settings(hub_offline=True)
    return lambda texts: ingested(settings, texts).seconds


def load() -> Answer:
    """The encoder that the arguments name."""
    package, *given = sys.argv[1:]
    if package == "secondpass":
        encode = ingest()
    else:
        by_name = {"sentence-transformers": sentence_transformers, "fastembed": fastembed}
        encode = by_name.get(package, onnx)(*given)

    def answer(request: dict[str, Any]) -> dict[str, Any]:
        own = package == "secondpass"  # adds the prefix itself, and says how long it took
        texts = [text if own else f"{request['kind']}: {text}" for text in request["texts"]]
        began = time.perf_counter()
        done = encode(texts)
        seconds = done if isinstance(done, float) else time.perf_counter() - began
        return {"milliseconds": 1000 * seconds}

    return answer


if __name__ == "__main__":
    serve(load)
