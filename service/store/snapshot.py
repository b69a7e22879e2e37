"""A snapshot: a collection as it was at one moment, as a stream of bytes.

```
documents-00001.jsonl   a line for each document: id, title, text, metadata, version, staged,
                        spans (of its passages, in code points), title_end (where models stop
                        reading the title); a few megabytes
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
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, FailFast, Field

import service
from service.store.catalog import SettingValue
from service.store.store_view import StoreView
from service.store.tar_format import END, header, padding
from service.store.transfer import stored_rows
from service.types import IndexIdentity

FORMAT_VERSION = 2
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
    """What the manifest says of a part."""

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


def write(view: StoreView, settings: Mapping[str, SettingValue]) -> Iterator[bytes]:
    """The archive of all that `view` shows, in small pieces. Takes a few parts' worth of memory.

    Raises `StoreError`.
    """
    for content in _Archive(view, settings).contents():
        for start in range(0, len(content), _CHUNK):
            yield content[start : start + _CHUNK]


class _Archive:
    def __init__(self, view: StoreView, settings: Mapping[str, SettingValue]):
        self._view, self._settings = view, dict(settings)
        self._identity = view.identity
        self._parts: list[PartRecord] = []
        self._numbers: Counter[Kind] = Counter()
        self._documents = self._staged = self._passages = 0

    def contents(self) -> Iterator[bytes]:
        yield from self._rows()
        manifest = self._manifest()
        checksum = f"{hashlib.sha256(manifest).hexdigest()}  {MANIFEST_FILE}\n".encode()
        for name, content in ((MANIFEST_FILE, manifest), (CHECKSUM_FILE, checksum)):
            yield from _member(name, content)
        yield END

    def _rows(self) -> Iterator[bytes]:
        dimension = self._identity.dimension if self._identity else 0
        vector_bytes = 4 * dimension
        whole_part = max(1, VECTORS_BYTES // max(1, vector_bytes)) * vector_bytes
        lines, vectors = bytearray(), bytearray()
        for row in stored_rows(self._view, dimension):
            self._documents += not row.staged
            self._staged += row.staged
            self._passages += len(row.spans)
            lines += row.line()
            vectors += row.vectors
            if len(lines) >= DOCUMENTS_BYTES:
                yield from self._part("documents", bytes(lines))
                lines.clear()
            while vectors and len(vectors) >= whole_part:
                yield from self._vectors(bytes(vectors[:whole_part]), dimension)
                del vectors[:whole_part]
        if lines:
            yield from self._part("documents", bytes(lines))
        if vectors:
            yield from self._vectors(bytes(vectors), dimension)

    def _vectors(self, content: bytes, dimension: int) -> Iterator[bytes]:
        rows = len(content) // (4 * dimension)
        yield from self._part("vectors", npy_header(rows, dimension) + content)

    def _part(self, kind: Kind, content: bytes) -> Iterator[bytes]:
        self._numbers[kind] += 1
        name = part_name(kind, self._numbers[kind])
        sha256 = hashlib.sha256(content).hexdigest()
        self._parts.append(PartRecord(name=name, bytes=len(content), sha256=sha256))
        yield from _member(name, content)

    def _manifest(self) -> bytes:
        manifest = {
            "format_version": FORMAT_VERSION,
            "package_version": service.__version__,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "revision": self._view.revision,
            "settings": self._settings,
            "encoder": asdict(self._identity) if self._identity else None,
            "documents": self._documents,
            "staged": self._staged,
            "passages": self._passages,
            "parts": [part.model_dump() for part in self._parts],
        }
        return (json.dumps(manifest, indent=1) + "\n").encode()


def _member(name: str, content: bytes) -> Iterator[bytes]:
    yield header(name, len(content))
    yield content
    yield padding(len(content))
