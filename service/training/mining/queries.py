"""For a negative, a query that it does answer: what CLP draws it towards."""

import random
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from service.datasets import Collection, Labels
from service.datasets.problems import read_rows, stop
from service.documents.rows import MAX_CHARS, check_filled, check_text
from service.errors import InvalidInputError
from service.text.normalizer import clean
from service.training.batch_texts import passage_text
from service.training.mining.examples import Examples

QueryFor = Callable[[str], str | None]
"""A passage's text, as in `Examples.passages` -> a query that it answers; None for none."""


class OwnQueries:
    """Queries that passages answer: labelled ones first, else what `query_for` says.

    Of several labelled ones, a seeded draw takes one, always the same for a passage and a query.
    """

    def __init__(self, examples: Examples, query_for: QueryFor | None, seed: int) -> None:
        self._examples, self._seed = examples, seed
        self._query_for = cache(query_for) if query_for else None
        self._answered = examples.answered_by()

    def of(self, place: int, query: int) -> str | None:
        """A query other than `query` that the passage at `place` answers; None for none."""
        labelled = [other for other in self._answered.get(place, ()) if other != query]
        if labelled:
            seed = f"{self._seed}:{self._examples.passages[place]}:{query}"
            draw = random.Random(seed)  # noqa: S311
            return self._examples.queries[draw.choice(labelled)]
        asked = self._query_for(self._examples.passages[place]) if self._query_for else None
        return None if asked == self._examples.queries[query] else asked


def read_queries(path: Path, labels: Labels) -> QueryFor:
    """Queries from JSON lines `{"_id", "query"}`: a document's id and a query that it answers.

    The file may come from a language model, a log of searches, or people. Where a
    document has several lines the first one counts. Raises `InvalidInputError` with file, line and
    field, and for labels whose documents have no ids.
    """
    if isinstance(labels, list):
        raise InvalidInputError("rows have no document ids to name queries for", "queries_of")
    documents = labels.documents if isinstance(labels, Collection) else labels.documents.values()
    passages = {document.id: passage_text(document) for document in documents}
    known: dict[str, str] = {}

    def passage_and_query(row: dict[str, Any]) -> tuple[str, str]:
        if row.get("_id") not in passages:
            raise InvalidInputError(f"no document has the id {row.get('_id')!r}", "_id")
        query = clean(check_text(row.get("query"), "query", MAX_CHARS))
        return passages[row["_id"]], check_filled(query, "query", MAX_CHARS)

    for passage, query in read_rows(path, passage_and_query, MAX_CHARS, stop):
        known.setdefault(passage, query)
    return known.get
