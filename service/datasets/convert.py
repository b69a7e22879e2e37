"""Between collections and training rows."""

from collections.abc import Iterable, Iterator

from service.datasets.labels import Collection, text_id, titled_text
from service.datasets.training_rows import TrainingRow
from service.errors import InvalidInputError
from service.types import Document


def rows_of(collection: Collection, *, min_grade: int = 1) -> Iterator[TrainingRow]:
    """A row for each query with a document of at least `min_grade`: all of these are its positives.

    Documents judged below that are its negatives. A title comes before its text.
    """
    texts = {document.id: titled_text(document) for document in collection.documents}
    for query, grades in collection.qrels.items():
        right = tuple(texts[id_] for id_, grade in grades.items() if grade >= min_grade)
        wrong = tuple(texts[id_] for id_, grade in grades.items() if grade < min_grade)
        if right:
            yield TrainingRow(collection.queries[query], right, wrong)


def collection_of(name: str, rows: Iterable[TrainingRow]) -> Collection:
    """Positives are judged 1 and negatives 0. Equal texts are one document or query.

    A positive of a query in any row is not a negative of it in another. Raises `InvalidInputError`
    if there are no rows.
    """
    documents: dict[str, Document] = {}
    queries: dict[str, str] = {}
    qrels: dict[str, dict[str, int]] = {}
    for row in rows:
        query = text_id(row.query)
        queries[query] = row.query
        grades = qrels.setdefault(query, {})
        for texts, grade in ((row.positives, 1), (row.negatives, 0)):
            for text in texts:
                id_ = text_id(text)
                documents.setdefault(id_, Document(id_, text))
                grades[id_] = max(grade, grades.get(id_, 0))
    if not queries:
        raise InvalidInputError(f"{name}: no rows")
    return Collection(name, list(documents.values()), queries, qrels)
