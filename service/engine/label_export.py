"""Labels as a labelled collection in BEIR's layout: three files, with all documents."""

import io
import json
import zipfile
from collections.abc import Generator, Iterable, Iterator
from itertools import chain
from typing import Any

from service.datasets.beir import QRELS_HEADER, document_row
from service.store.data_folder import CollectionFolder
from service.store.label_store import LabelKind, LabelledQuery
from service.store_protocol import StoreView
from service.types import Document

MEDIA_TYPE = "application/zip"

_PAGE = 500
_PIECE_BYTES = 1 << 18


def known_labels(view: StoreView, queries: Iterable[LabelledQuery]) -> list[LabelledQuery]:
    """The queries with the judged documents that are still there; none without any."""
    known = []
    for query in queries:
        there = view.satisfying({one.document for one in query.judged}, {})
        judged = [one for one in query.judged if one.document in there]
        if judged:
            known.append(LabelledQuery(query.number, query.text, judged))
    return known


def beir_files(folder: CollectionFolder, kind: LabelKind) -> Iterator[tuple[str, Iterator[str]]]:
    """The name and the lines of each file, at one moment of the documents.

    Each file is read before the next one. Judgements of documents that are gone are left out.
    """
    with folder.store.view() as view:
        queries = known_labels(view, folder.labels.queries(kind))
        yield "corpus.jsonl", (_line(document_row(document)) for document in _documents(view))
        yield "queries.jsonl", (_line({"_id": q.id, "text": q.text}) for q in queries)
        judged = (f"{q.id}\t{one.document}\t{one.effective}" for q in queries for one in q.judged)
        yield "qrels.tsv", chain([QRELS_HEADER], judged)


def zipped(folder: CollectionFolder, kind: LabelKind) -> Generator[bytes]:
    """The files as a zip, piece by piece. Close the generator if you do not read it to its end."""
    out = _Pieces()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, lines in beir_files(folder, kind):
            with archive.open(name, "w", force_zip64=True) as member:
                for line in lines:
                    member.write(f"{line}\n".encode())
                    if out.waiting >= _PIECE_BYTES:
                        yield out.take()
    yield out.take()


class _Pieces(io.RawIOBase):
    """A file that cannot be read or sought; what was written is taken piece by piece."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self.waiting = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._pieces.append(bytes(data))
        self.waiting += len(data)
        return len(data)

    def take(self) -> bytes:
        """What was written since the last call."""
        found, self._pieces, self.waiting = b"".join(self._pieces), [], 0
        return found


def _documents(view: StoreView) -> Iterator[Document]:
    after = ""
    while page := [stored.document for stored in view.documents({}, after, _PAGE)]:
        yield from page
        after = page[-1].id


def _line(row: dict[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=False)
