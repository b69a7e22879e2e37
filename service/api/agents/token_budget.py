"""Answers for agents that keep within a number of tokens.

An answer has two forms, text and JSON, and a client shows its model either one. Both keep within
the budget, as the encoder counts tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from service.api.schemas.agent_schemas import ExcerptBody, FetchAnswer, SearchAnswer
from service.search.embedder import CHARS_PER_TOKEN
from service.search.excerpts import Excerpt
from service.search.query import Hit, Result
from service.text.chunker import TokenCounter, chunk
from service.types import StoredDocument

MOST_TITLE_CHARS = 120
LEAST_EXCERPT = 32
"""A shorter excerpt says too little; fewer hits are shown instead."""

_FOR_ESCAPES = 10
"""A tenth of a budget is kept for what JSON adds to a text."""

_TRIES = 8

NOTHING = "Nothing here answers this."
_VERDICTS = {
    True: "These documents answer the query, best first.",
    False: f"{NOTHING} These are the nearest documents.",
    None: "These are the nearest documents. It is not known whether they answer the query.",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer in both forms."""

    body: SearchAnswer | FetchAnswer
    text: str

    def tokens(self, count: TokenCounter) -> int:
        """The tokens of the longer form."""
        return max(count([self.text, self.body.model_dump_json()]))


def excerpt_tokens(result: Result, most: int, count: TokenCounter) -> list[int]:
    """The tokens of text that `most` has room for, for each of the first hits.

    The last hits have none if the others would have less than `LEAST_EXCERPT`.
    """
    bare = [_excerpt(hit, Excerpt("", hit.start, hit.end)) for hit in result.hits]
    heads = count([one.model_dump_json() for one in bare])
    room = most - _search(result, []).tokens(count) - most // _FOR_ESCAPES
    for shown in range(len(heads), 1, -1):
        rooms = [room // shown - head for head in heads[:shown]]
        if min(rooms) >= LEAST_EXCERPT:
            return rooms
    return [max(LEAST_EXCERPT, room - head) for head in heads[:1]]


def search_answer(
    result: Result, excerpts: Sequence[Excerpt], most: int, count: TokenCounter
) -> Answer:
    """An answer with the first hits, as far as there is room."""
    hits = [_excerpt(*pair) for pair in zip(result.hits, excerpts, strict=False)]
    while (answer := _search(result, hits)).tokens(count) > most and hits:
        hits.pop()
    return answer


def fetch_answer(stored: StoredDocument, start: int, most: int, count: TokenCounter) -> Answer:
    """A document's text from `start`, as far as there is room; metadata in half of it at most."""
    text, has_metadata = stored.document.text[start:], True
    if _fetch(stored, start, "", has_metadata=True).tokens(count) > most // 2:
        has_metadata = False
    head = text[: CHARS_PER_TOKEN * most]
    if len(head) == len(text):
        answer = _fetch(stored, start, text, has_metadata=has_metadata)
        if answer.tokens(count) <= most:
            return answer
    answer = _fetch(stored, start, "", has_metadata=has_metadata)
    room = most - answer.tokens(count) - most // _FOR_ESCAPES
    for _ in range(_TRIES):
        spans = chunk(head, budget=max(1, room), overlap=0, count_tokens=count)
        part = head[: spans[0].end] if spans else head
        answer = _fetch(stored, start, part, has_metadata=has_metadata)
        if answer.tokens(count) <= most:
            break
        room = room * 3 // 4
    return answer


def _search(result: Result, hits: list[ExcerptBody]) -> Answer:
    verdict = _VERDICTS[result.answerable] if result.hits else f"{NOTHING} No document was found."
    left_out = len(result.hits) - len(hits)
    body = SearchAnswer(verdict=verdict, answerable=result.answerable, hits=hits, left_out=left_out)
    parts = [verdict]
    parts += [f"[{rank}] {_headed(hit)}" for rank, hit in enumerate(hits, 1)]
    if left_out:
        parts.append(f"{left_out} more did not fit; ask with a larger max_tokens.")
    return Answer(body, "\n\n".join(parts))


def _headed(hit: ExcerptBody) -> str:
    title = f"{hit.title} " if hit.title else ""
    return f"{title}(id: {hit.id}; confidence: {hit.confidence})\n{hit.text}"


def _excerpt(hit: Hit, excerpt: Excerpt) -> ExcerptBody:
    return ExcerptBody(
        id=hit.id,
        title=_title(hit.title),
        confidence=hit.confidence,
        text=excerpt.text,
        start=excerpt.start,
        end=excerpt.end,
    )


def _fetch(stored: StoredDocument, start: int, text: str, *, has_metadata: bool) -> Answer:
    document, end = stored.document, start + len(text)
    body = FetchAnswer(
        id=document.id,
        title=_title(document.title),
        text=text,
        start=start,
        next_start=end if end < len(document.text) else None,
        metadata=dict(document.metadata) if has_metadata else None,
    )
    parts = [f"{body.title} (id: {body.id})".strip()]
    parts += [f"{name}: {value}" for name, value in (body.metadata or {}).items()]
    parts.append(f"\n{text}")
    if body.next_start is not None:
        parts.append(f"\nThe document goes on: fetch it with start={end}.")
    return Answer(body, "\n".join(parts))


def _title(title: str) -> str:
    return title if len(title) <= MOST_TITLE_CHARS else f"{title[: MOST_TITLE_CHARS - 1]}…"
