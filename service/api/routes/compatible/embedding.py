"""What the embedding endpoints of all formats share."""

import base64
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from service.api.schemas.common import as_json
from service.api.schemas.embedding_schemas import MOST_INPUTS, InputType
from service.engine.engine import Engine
from service.errors import InvalidInputError
from service.search.embedder import Embeddings, Side
from service.types import Vectors

NO_SIDE = "neither input_type nor the model's name says query or passage; passage was taken"

_QUERIES = frozenset({"query", "search_query", "classification", "clustering"})
"""E5's authors give both sides of a symmetric task the prefix of queries."""

_DECIMALS = 8
"""Decimals of a number in JSON. A float32 in a unit vector has no more."""


def side_of(input_type: InputType | None, model: str | None) -> Side | None:
    """Whether the texts are queries or passages; None if the request does not say."""
    if input_type:
        return "query" if input_type in _QUERIES else "passage"
    match (model or "").rpartition(":")[2]:
        case "query":
            return "query"
        case "passage" | "document":
            return "passage"
    return None


def texts_of(given: Any, field: str) -> dict[str, str]:
    """A text or texts, each by its field; raises `InvalidInputError` for token ids and others."""
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or not 1 <= len(texts) <= MOST_INPUTS:
        raise InvalidInputError(f"{field} must be a text or 1 to {MOST_INPUTS} texts", field)
    if not all(isinstance(text, str) for text in texts):
        raise InvalidInputError(
            f"{field} must be text: token ids of another model's tokenizer cannot be read "
            "(langchain-openai: check_embedding_ctx_length=False)",
            field,
        )
    if isinstance(given, str):
        return {field: given}
    return {f"{field}.{place}": text for place, text in enumerate(texts)}


async def embed(
    engine: Engine,
    texts: Mapping[str, str],
    side: Side,
    dimensions: int | None,
    of_dimensions: str = "dimensions",
) -> Embeddings:
    """Vectors by the encoder of the default collection, cut to `dimensions`.

    Errors name the request's fields: the keys of `texts`, and `of_dimensions`.
    """
    embedder = engine.searcher.embedder
    size = embedder.encoder.identity.dimension
    if dimensions is not None and dimensions > size:
        raise InvalidInputError(f"{of_dimensions} may be {size} at most", of_dimensions)
    found = await embedder.embed(texts, side)
    if dimensions is None or dimensions == size:
        return found
    vectors = found.vectors[:, :dimensions]
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return replace(found, vectors=vectors / np.maximum(norms, np.finfo(np.float32).tiny))


def rows(vectors: Vectors, kind: str | None) -> Iterator[bytes]:
    """Each vector as JSON: `base64`, or else a list of numbers."""
    for vector in vectors:
        if kind == "base64":
            yield as_json(base64.b64encode(vector.astype("<f4").tobytes()).decode())
        else:
            yield as_json(np.round(vector.astype(float), _DECIMALS).tolist())
