"""Many documents in one request: what is valid, what is not, what occurs twice."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from service.api.schemas.document_schemas import RefusedBody, ReplacedBody
from service.documents.document_json import parse_document
from service.documents.rows import check_id
from service.errors import DuplicateKeyError, InvalidInputError
from service.types import Document, DocumentLimits


@dataclass(frozen=True, slots=True)
class Batch:
    """`documents` have an id each; places in the request are counted from 0."""

    documents: list[Document]
    refused: list[RefusedBody]
    replaced: list[ReplacedBody]


def read_batch(values: Sequence[object], limits: DocumentLimits) -> Batch:
    """Sort the documents of a request; of several with one id the last fit one is taken."""
    taken: dict[str, tuple[int, Document]] = {}
    refused: list[RefusedBody] = []
    earlier: list[tuple[int, str]] = []
    for index, value in enumerate(values):
        try:
            with sentence():
                document = parse_document(value, limits)
        except InvalidInputError as error:
            refused.append(RefusedBody(index=index, id=_fit_id(value), error=str(error)))
            continue
        if document.id in taken:
            earlier.append((taken[document.id][0], document.id))
        taken[document.id] = (index, document)
    replaced = [ReplacedBody(index=index, id=id_, by=taken[id_][0]) for index, id_ in earlier]
    return Batch([document for _, document in taken.values()], refused, replaced)


@contextmanager
def sentence() -> Iterator[None]:
    """Make a finding about a field ("is empty") one that can be read alone ("text is empty")."""
    try:
        yield
    except DuplicateKeyError:
        raise  # its message names the key
    except InvalidInputError as error:
        raise InvalidInputError(f"{error.field or 'it'} {error}", error.field) from error


def _fit_id(value: object) -> str | None:
    try:
        return check_id(value.get("id")) if isinstance(value, dict) else None
    except InvalidInputError:
        return None
