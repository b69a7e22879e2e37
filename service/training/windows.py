"""Pairs from passages without queries: a window of a passage, and the passage without it."""

import random

_SHORTEST_REST = 40
"""Characters; less says too little to be found by."""


def inverse_cloze(text: str, rng: random.Random) -> tuple[str, str] | None:
    """A window of 20 to 120 characters and the text around it, or None for a short text.

    Borders are moved to white space where there is some near. Method: Lee, Chang and Toutanova,
    "Latent Retrieval for Weakly Supervised Open Domain Question Answering", ACL 2019.
    """
    length = min(int(20 * 6 ** rng.random()), len(text) // 3)
    if len(text) - length < _SHORTEST_REST or length < 10:
        return None
    start = _border(text, rng.randrange(len(text) - length))
    end = _border(text, start + length)
    query, rest = text[start:end].strip(), f"{text[:start]} {text[end:]}".strip()
    return (query, rest) if query and rest else None


def crop(text: str, rng: random.Random, *, longest: int) -> str:
    """A window of the text of 100 to `longest` characters; the text itself where it is shorter."""
    length = rng.randint(100, longest)
    if len(text) <= length:
        return text
    start = _border(text, rng.randrange(len(text) - length + 1))
    return text[start : start + length].strip() or text[:length]


def _border(text: str, near: int) -> int:
    """After the next white space within 15 characters, or the very place."""
    space = text.find(" ", near, near + 15)
    return near if space < 0 else space + 1
