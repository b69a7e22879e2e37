"""What the models see of a document: passages that each carry the title."""

from service.text.chunker import TokenCounter, chunk
from service.types import Document, Span


def passage_input(title: str, text: str) -> str:
    """The text that a model is given for a passage, before it is normalized."""
    return f"{title} {text}" if title.strip() else text


def fit_title(title: str, *, budget: int, count_tokens: TokenCounter) -> str:
    """What a passage carries of the title: a quarter of its `budget` of tokens, cut at a border."""
    spans = chunk(title, budget=max(1, budget // 4), overlap=0, count_tokens=count_tokens)
    return title[spans[0].start : spans[0].end] if spans else ""


def split_document(
    document: Document, *, budget: int, overlap: int, count_tokens: TokenCounter
) -> list[Span]:
    """The document's passages, such that each fits `budget` tokens with the fitted title before it.

    The rest is as for `chunk`. Raises `ValueError` when `budget` leaves no room for text.
    """
    title = fit_title(document.title, budget=budget, count_tokens=count_tokens)
    reserved = count_tokens([passage_input(title, "")])[0] if title else 0
    room = budget - reserved
    # The title's share of the window comes off the overlap as well.
    return chunk(
        document.text,
        budget=room,
        overlap=min(overlap, max(0, room - 1)),
        count_tokens=count_tokens,
    )
