"""From labels of any kind to what is mined."""

from service.datasets import (
    Collection,
    Labels,
    LevelledCollection,
    article_key,
    derive_levels,
    graded,
    levels_from_grades,
)
from service.datasets.levels import CORRECT
from service.datasets.training_rows import TrainingRow
from service.errors import InvalidInputError
from service.training.mining.examples import Examples, from_collection, from_rows


def examples_of(
    name: str, labels: Labels, *, article: str | None = None, min_grade: int = 1
) -> Examples:
    """Queries, passages and what is right; `article` is as for `article_key`.

    In levels, *correct* is right. Raises `InvalidInputError` for pairs, which say nothing of what
    answers what, and for an `article` of rows, which have none.
    """
    if isinstance(labels, LevelledCollection):
        labels, min_grade = graded(labels), CORRECT
    if isinstance(labels, Collection):
        article_of = article_key(article) if article else None
        return from_collection(labels, article_of=article_of, min_grade=min_grade)
    if article:
        raise InvalidInputError(f"{name}: rows belong to no article", "article")
    rows = [row for row in labels if isinstance(row, TrainingRow)]
    if len(rows) < len(labels):
        raise InvalidInputError(f"{name}: negatives are mined for rows, not for pairs", "path")
    return from_rows(name, rows)


def levels_of(
    name: str, labels: Labels, *, article: str | None = None, seed: int = 0
) -> LevelledCollection:
    """The three-level set that the labels are, or that their grades or articles make.

    Raises `InvalidInputError` where they make none.
    """
    if isinstance(labels, LevelledCollection):
        return labels
    if not isinstance(labels, Collection):
        raise InvalidInputError(f"{name}: rows and pairs have no levels", "path")
    if article:
        return derive_levels(labels, article_key(article), seed=seed)
    try:
        return levels_from_grades(labels)
    except InvalidInputError as error:
        raise InvalidInputError(
            f"{error}; say what names a document's article with --article, so that its siblings "
            "are the related ones",
            "article",
        ) from error
