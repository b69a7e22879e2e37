"""A snapshot: a collection as it was at one moment, as a stream of bytes.

```
documents-00001.jsonl   a line for each document: id, title, text, metadata, version, staged,
                        spans (of its passages, in code points), title_end and headings_end (where
                        models stop reading the title and the headings), outline (of each part its
                        start, page and headings); a few megabytes
vectors-00001.npy       float32 (n, dimension): the vectors of the passages, in the order of the
                        lines and their spans; the parts of both kinds end independently
...
manifest.json           format, encoder, counts, and of each part above its size and SHA-256
manifest.sha256         that of the manifest, as `sha256sum --check` reads it
```

No index is in it: it is built again from the vectors. `snapshot_reader` reads what this writes.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, FailFast, Field

import service
from service.store.catalog import SettingValue
from service.store.document_rows import VECTOR_DTYPE
from service.store.tar_format import END, header, padding
from service.store_protocol import StoreView
from service.types import IndexIdentity, StoredRow

FORMAT_VERSION = 3
MANIFEST_FILE = "manifest.json"
CHECKSUM_FILE = "manifest.sha256"
MEDIA_TYPE = "application/x-tar"

DOCUMENTS_BYTES = 8 << 20
"""A part of documents ends with the one that reaches this size."""
VECTORS_BYTES = 8 << 20
"""The most vectors that a part holds."""

_CHUNK = 256 << 10

Kind = Literal["documents", "vectors"]


class PartRecord(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    name: str
    bytes: int = Field(ge=0)
    sha256: str


class Manifest(BaseModel):
    """What an archive holds. `settings` are those that the collection has of its own."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    format_version: int
    package_version: str
    created: str
    revision: int = Field(ge=0, lt=2**62)
    settings: dict[str, SettingValue]
    encoder: IndexIdentity | None
    documents: int = Field(ge=0)
    staged: int = Field(ge=0)
    passages: int = Field(ge=0)
    parts: Annotated[list[PartRecord], FailFast()]


def part_name(kind: Kind, number: int) -> str:
    """`documents-00001.jsonl`; numbers begin at 1."""
    return f"{kind}-{number:05}.{'jsonl' if kind == 'documents' else 'npy'}"


def npy_header(rows: int, dimension: int) -> bytes:
    """The header of a part's vectors: NumPy's format 1.0, 128 bytes."""
    about = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {dimension}), }}"
    return b"\x93NUMPY\x01\x00v\x00" + about.ljust(117).encode() + b"\n"


def checksum_line(manifest: bytes) -> bytes:
    return f"{hashlib.sha256(manifest).hexdigest()}  {MANIFEST_FILE}\n".encode()


def write(view: StoreView, settings: Mapping[str, SettingValue]) -> Iterator[bytes]:
    """The archive of all that `view` shows, in small pieces. Takes a few parts' worth of memory.

    Raises `StoreError`.
    """
    for name, content in _files(view, settings):
        for piece in (header(name, len(content)), content, padding(len(content))):
            for start in range(0, len(piece), _CHUNK):
                yield piece[start : start + _CHUNK]
    yield END


def _files(view: StoreView, settings: Mapping[str, SettingValue]) -> Iterator[tuple[str, bytes]]:
    counts = {"documents": 0, "staged": 0, "passages": 0}
    parts: list[PartRecord] = []
    for name, content in _parts(view, counts):
        sha256 = hashlib.sha256(content).hexdigest()
        parts.append(PartRecord(name=name, bytes=len(content), sha256=sha256))
        yield name, content
    about = Manifest(
        format_version=FORMAT_VERSION,
        package_version=service.__version__,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        revision=view.revision,
        settings=dict(settings),
        encoder=view.identity,
        parts=parts,
        **counts,
    )
    manifest = about.model_dump_json(indent=1).encode() + b"\n"
    yield MANIFEST_FILE, manifest
    yield CHECKSUM_FILE, checksum_line(manifest)


def _parts(view: StoreView, counts: dict[str, int]) -> Iterator[tuple[str, bytes]]:
    """The parts of both kinds; counts the rows and passages that are in them."""
    dimension = view.identity.dimension if view.identity else 0
    vector_bytes = VECTOR_DTYPE.itemsize * dimension
    whole_part = max(1, VECTORS_BYTES // max(1, vector_bytes)) * vector_bytes
    numbers: Counter[Kind] = Counter()
    lines, vectors = bytearray(), bytearray()

    def part(kind: Kind, content: bytes) -> tuple[str, bytes]:
        numbers[kind] += 1
        if kind == "vectors":
            content = npy_header(len(content) // vector_bytes, dimension) + content
        return part_name(kind, numbers[kind]), content

    for row in view.rows():
        counts["staged" if row.staged else "documents"] += 1
        counts["passages"] += len(row.spans)
        lines += _line(row)
        vectors += row.vectors.astype(VECTOR_DTYPE).tobytes()
        if len(lines) >= DOCUMENTS_BYTES:
            yield part("documents", bytes(lines))
            lines.clear()
        while vectors and len(vectors) >= whole_part:
            yield part("vectors", bytes(vectors[:whole_part]))
            del vectors[:whole_part]
    if lines:
        yield part("documents", bytes(lines))
    if vectors:
        yield part("vectors", bytes(vectors))


def _line(row: StoredRow) -> bytes:
    fields = {
        "id": row.document.id,
        "title": row.document.title,
        "text": row.document.text,
        "metadata": row.document.metadata,
        "version": row.version,
        "staged": row.staged,
        "spans": row.spans,
        "title_end": row.title_end,
        "headings_end": row.headings_end,
        "outline": row.document.outline,
    }
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
