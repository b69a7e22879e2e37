"""Queries as the encoder reads them: whole, or in windows where they are too long for it."""

from collections.abc import Sequence

from service.protocols import Encoder
from service.text.chunker import chunk
from service.types import EncodedQuery, TokenStates

WINDOW = 128
"""Tokens in a window of a query that is too long to be read whole. A vector of 500 tokens says
little of the one sentence among them that asks something; the best of several short ones does."""

_OVERLAP = 16
"""Tokens that neighbouring windows share, at most."""


def encode_queries(
    encoder: Encoder, texts: Sequence[str], layers: Sequence[int] = ()
) -> list[EncodedQuery]:
    """Encode normalised queries, in input order; one that the encoder cannot read whole in windows.

    Windows end on sentence borders where there are any, and share a few sentences, so nothing of
    a query is lost. With `layers`, their token states come with them. Raises `InferenceError`.
    """
    counts = encoder.count_tokens(texts)
    windows = [_windows(encoder, *query) for query in zip(texts, counts, strict=True)]
    every = [window for query in windows for window in query]
    states: list[TokenStates] = []
    if layers:
        vectors, states = encoder.encode_queries_and_states(every, layers)
    else:
        vectors = encoder.encode_queries(every)
    encoded, start = [], 0
    for query, tokens in zip(windows, counts, strict=True):
        part = slice(start, start + len(query))
        encoded.append(EncodedQuery(tuple(query), vectors[part], tokens, tuple(states[part])))
        start += len(query)
    return encoded


def _windows(encoder: Encoder, text: str, tokens: int) -> list[str]:
    if tokens <= encoder.query_budget:
        return [text]
    budget = min(WINDOW, encoder.query_budget)
    overlap = min(_OVERLAP, budget // 4)
    spans = chunk(text, budget=budget, overlap=overlap, count_tokens=encoder.count_tokens)
    return [text[span.start : span.end] for span in spans]
