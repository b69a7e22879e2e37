"""Queries as the encoder reads them: whole, or in windows where they are too long for it."""

from collections.abc import Sequence

from service.protocols import Encoder
from service.text.chunker import chunk
from service.types import EncodedQuery

_OVERLAP_SHARE = 8
"""Neighbouring windows share one part in so many of their tokens, at most."""


def encode_queries(encoder: Encoder, texts: Sequence[str]) -> list[EncodedQuery]:
    """Encode normalised queries, in input order; one that the encoder cannot read whole in windows.

    Windows end on sentence borders where there are any, and share a few sentences, so nothing of
    a query is lost. Raises `InferenceError`.
    """
    counts = encoder.count_tokens(texts)
    windows = [_windows(encoder, *query) for query in zip(texts, counts, strict=True)]
    vectors = encoder.encode_queries([window for query in windows for window in query])
    encoded, start = [], 0
    for query, tokens in zip(windows, counts, strict=True):
        end = start + len(query)
        encoded.append(EncodedQuery(tuple(query), vectors[start:end], tokens))
        start = end
    return encoded


def _windows(encoder: Encoder, text: str, tokens: int) -> list[str]:
    budget = encoder.query_budget
    if tokens <= budget:
        return [text]
    overlap = budget // _OVERLAP_SHARE
    spans = chunk(text, budget=budget, overlap=overlap, count_tokens=encoder.count_tokens)
    return [text[span.start : span.end] for span in spans]
