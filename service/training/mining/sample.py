"""A part of a collection to mine and train on, where the whole is too much."""

import hashlib
from dataclasses import replace

from service.errors import InvalidInputError
from service.training.label_rows import most
from service.training.mining.examples import Examples

BLOCK = 20
"""Neighbouring passages that are drawn together: siblings mostly stand side by side in a file."""


def sample_examples(examples: Examples, *, passages: int, queries: int, seed: int) -> Examples:
    """About `passages` passages in blocks of neighbours, and at most `queries` of their queries.

    A query is kept where all that is right for it was drawn. Blocks and queries are drawn by hash
    and seed. Raises `InvalidInputError` where no query is left.
    """
    drawn: list[int] = []
    blocks = range(0, len(examples.passages), BLOCK)
    for start in sorted(blocks, key=lambda b: hashlib.sha256(f"{seed}\0{b}".encode()).digest()):
        drawn += range(start, min(start + BLOCK, len(examples.passages)))
        if len(drawn) >= passages:
            break
    drawn.sort()
    place = {old: new for new, old in enumerate(drawn)}
    answered = [
        (query, tuple(place[p] for p in right))
        for query, right in zip(examples.queries, examples.positives, strict=True)
        if all(p in place for p in right)
    ]
    if not answered:
        raise InvalidInputError(
            f"{examples.name}: none of its queries has all its right passages among the "
            f"{len(drawn)} that were drawn; raise options.passages",
            "options.passages",
        )
    chosen = most(answered, queries, lambda row: row[0], seed)
    return replace(
        examples,
        queries=tuple(query for query, _right in chosen),
        positives=tuple(right for _query, right in chosen),
        passages=tuple(examples.passages[old] for old in drawn),
        articles=tuple(examples.articles[old] for old in drawn),
    )
