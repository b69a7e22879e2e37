"""What is mined: queries, distinct passages, and which passages are right for which query."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from service.datasets import Collection, TrainingRow
from service.errors import InvalidInputError
from service.training.batch_texts import passage_text, without_prefix
from service.types import Document

ArticleOf = Callable[[Document], str | None]


@dataclass(frozen=True, slots=True)
class Examples:
    """Queries and passages, each text once.

    `positives[i]` are the places in `passages` of what is right for `queries[i]`, ascending and
    never empty. `articles[j]` names the articles that passage j is in; empty where nothing is
    known of articles. `copies` counts the documents whose text another one has too.
    """

    name: str
    queries: tuple[str, ...]
    passages: tuple[str, ...]
    positives: tuple[tuple[int, ...], ...]
    articles: tuple[frozenset[str], ...]
    copies: int = 0

    def only(self, kept: Iterable[int]) -> "Examples":
        """All passages, and the queries at these places alone."""
        places = list(kept)
        return replace(
            self,
            queries=tuple(self.queries[place] for place in places),
            positives=tuple(self.positives[place] for place in places),
        )

    def answered_by(self) -> dict[int, list[int]]:
        """Place of a passage -> the places of the queries that it is right for, ascending."""
        answered: dict[int, list[int]] = defaultdict(list)
        for query, places in enumerate(self.positives):
            for place in places:
                answered[place].append(query)
        return dict(answered)


def from_collection(
    collection: Collection, *, article_of: ArticleOf | None = None, min_grade: int = 1
) -> Examples:
    """The judged queries of a collection and all its documents.

    What has a grade of at least `min_grade` is right; texts of which cleaning leaves nothing are
    passed over. Raises `InvalidInputError` where no query has such a document.
    """
    texts = {document.id: passage_text(document) for document in collection.documents}
    articles: dict[str, set[str]] = defaultdict(set)
    for document in collection.documents:
        key = article_of(document) if article_of else None
        if key is not None:
            articles[texts[document.id]].add(key)
    right = (
        (
            without_prefix(collection.queries[query]),
            [texts[d] for d, g in grades.items() if g >= min_grade],
        )
        for query, grades in collection.qrels.items()
    )
    return _examples(collection.name, texts.values(), right, articles)


def from_rows(name: str, rows: Sequence[TrainingRow]) -> Examples:
    """The queries of training rows; the passages are all their positives and negatives."""
    passages = (without_prefix(t) for row in rows for t in (*row.positives, *row.negatives))
    right = (
        (without_prefix(row.query), [without_prefix(t) for t in row.positives]) for row in rows
    )
    return _examples(name, passages, right, {})


def _examples(
    name: str,
    texts: Iterable[str],
    right: Iterable[tuple[str, Sequence[str]]],
    articles: Mapping[str, set[str]],
) -> Examples:
    place: dict[str, int] = {}
    total = 0
    for text in filter(None, texts):
        total += 1
        place.setdefault(text, len(place))
    positives: dict[str, set[int]] = defaultdict(set)
    for query, answers in right:
        found = {place[text] for text in answers if text}
        if query and found:
            # A query asked twice has the right passages of both, so that none of them is ever
            # taken for wrong.
            positives[query] |= found
    if not positives:
        raise InvalidInputError(f"{name}: no query has a right document")
    return Examples(
        name,
        tuple(positives),
        tuple(place),
        tuple(tuple(sorted(places)) for places in positives.values()),
        tuple(frozenset(articles.get(text, ())) for text in place),
        total - len(place),
    )
