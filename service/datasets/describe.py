"""What a collection or a file of rows holds, in numbers."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from service.datasets.labels import Collection
from service.datasets.layouts import open_collection
from service.datasets.levels import LevelledCollection, read_levels
from service.datasets.problems import OnProblem, stop
from service.datasets.training_rows import (
    Kind,
    LabelledPair,
    TrainingRow,
    read_labelled_pairs,
    read_training_rows,
    rows_kind,
)
from service.documents.rows import MAX_CHARS
from service.types import Refused

Labels = Collection | LevelledCollection | list[TrainingRow] | list[LabelledPair]

_READERS: dict[Kind, Callable[..., Labels]] = {
    "levels": read_levels,
    "pairs": read_labelled_pairs,
    "rows": read_training_rows,
    "triplets": read_training_rows,
}


def open_labels(path: Path, *, max_chars: int = MAX_CHARS, on_problem: OnProblem = stop) -> Labels:
    """A folder's collection, or the levels, rows or pairs of a file of JSON lines.

    Raises as their readers do.
    """
    if not path.is_file():
        return open_collection(path, max_chars=max_chars, on_problem=on_problem)
    return _READERS[rows_kind(path)](path, max_chars=max_chars, on_problem=on_problem)


def find_problems(
    path: Path,
    *,
    max_chars: int = MAX_CHARS,
    on_warning: Callable[[str], None] = lambda _warning: None,
) -> list[Refused]:
    """All rows of a folder or file that break a rule, with file, line and field.

    `on_warning` gets rows that break no rule but cannot be used. Raises `InvalidInputError` if
    there is nothing to check: a file is missing or of no known kind.
    """
    problems: list[Refused] = []
    labels = open_labels(path, max_chars=max_chars, on_problem=problems.append)
    for warning in labels.warnings if isinstance(labels, Collection) else ():
        on_warning(warning)
    return problems


def describe(labels: Labels) -> dict[str, Any]:
    """Counts, grades, the share that is positive, duplicates, and lengths in characters."""
    if isinstance(labels, Collection):
        return _collection(labels)
    if isinstance(labels, LevelledCollection):
        return _levels(labels)
    pairs = [label for label in labels if isinstance(label, LabelledPair)]
    return _pairs(pairs) if pairs else _rows([r for r in labels if isinstance(r, TrainingRow)])


def _collection(collection: Collection) -> dict[str, Any]:
    grades = [g for judged in collection.qrels.values() for g in judged.values()]
    right = [sum(g > 0 for g in judged.values()) for judged in collection.qrels.values()]
    texts = [f"{document.title}\n{document.text}" for document in collection.documents]
    judged = {document for grades_of in collection.qrels.values() for document in grades_of}
    return {
        "kind": "collection",
        "documents": len(collection.documents),
        "documents_judged": len(judged),
        "documents_with_title": sum(bool(d.title.strip()) for d in collection.documents),
        "duplicate_documents": _copies(texts),
        "queries": len(collection.queries),
        "queries_judged": len(collection.qrels),
        "queries_without_right_document": right.count(0),
        "duplicate_queries": _copies(collection.queries.values()),
        "judgements": len(grades),
        "grades": {str(grade): count for grade, count in sorted(Counter(grades).items())},
        "share_positive": _share(sum(right), len(grades)),
        "right_documents_a_query": _spread(right),
        "characters_of_documents": _spread([len(d.text) for d in collection.documents]),
        "characters_of_queries": _spread([len(text) for text in collection.queries.values()]),
    }


def _levels(levelled: LevelledCollection) -> dict[str, Any]:
    documents = levelled.documents.values()
    return {
        "kind": "levels",
        "documents": len(documents),
        "duplicate_documents": _copies(f"{d.title}\n{d.text}" for d in documents),
        "queries": len(levelled.queries),
        "duplicate_queries": _copies(query.query for query in levelled.queries),
        "correct_a_query": _spread([len(query.correct) for query in levelled.queries]),
        "related_a_query": _spread([len(query.related) for query in levelled.queries]),
        "irrelevant_a_query": _spread([len(query.irrelevant) for query in levelled.queries]),
        "characters_of_documents": _spread([len(document.text) for document in documents]),
        "characters_of_queries": _spread([len(query.query) for query in levelled.queries]),
    }


def _rows(rows: Sequence[TrainingRow]) -> dict[str, Any]:
    positives = sum(len(row.positives) for row in rows)
    negatives = sum(len(row.negatives) for row in rows)
    texts = [text for row in rows for text in (*row.positives, *row.negatives)]
    return {
        "kind": "rows",
        "rows": len(rows),
        "distinct_queries": len({row.query for row in rows}),
        "distinct_passages": len(set(texts)),
        "share_positive": _share(positives, positives + negatives),
        "rows_whose_negative_is_a_positive": sum(
            not set(row.positives).isdisjoint(row.negatives) for row in rows
        ),
        "rows_with_negative_queries": sum(bool(row.negative_queries) for row in rows),
        "positives_a_row": _spread([len(row.positives) for row in rows]),
        "negatives_a_row": _spread([len(row.negatives) for row in rows]),
        "characters_of_passages": _spread([len(text) for text in texts]),
        "characters_of_queries": _spread([len(row.query) for row in rows]),
    }


def _pairs(pairs: Sequence[LabelledPair]) -> dict[str, Any]:
    labels = {frozenset((pair.first, pair.second)): set[int]() for pair in pairs}
    for pair in pairs:
        labels[frozenset((pair.first, pair.second))].add(pair.label)
    return {
        "kind": "pairs",
        "pairs": len(pairs),
        "distinct_texts": len({text for pair in pairs for text in (pair.first, pair.second)}),
        "share_positive": _share(sum(pair.label for pair in pairs), len(pairs)),
        "duplicate_pairs": len(pairs) - len(labels),
        "pairs_labelled_both_ways": sum(len(found) > 1 for found in labels.values()),
        "characters": _spread([len(t) for pair in pairs for t in (pair.first, pair.second)]),
    }


def quartiles(values: Sequence[float]) -> dict[str, float]:
    """Minimum, quartiles and maximum, by name, of at least one value."""
    found = np.quantile(values, (0, 0.25, 0.5, 0.75, 1)).tolist()
    return dict(zip(("min", "q1", "median", "q3", "max"), found, strict=True))


def _spread(values: Sequence[int]) -> dict[str, float] | None:
    return {**quartiles(values), "mean": round(float(np.mean(values)), 2)} if values else None


def _copies(texts: Iterable[str]) -> int:
    return sum(count - 1 for count in Counter(texts).values())


def _share(part: int, whole: int) -> float | None:
    return round(part / whole, 4) if whole else None
