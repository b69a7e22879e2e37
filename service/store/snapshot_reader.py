"""Reads a snapshot from any source: nothing in it is believed before it is checked."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any, BinaryIO, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, FailFast, Field, ValidationError

from service import strict_json
from service.documents.outline import (
    MAX_OUTLINE_CHARS,
    MOST_MARKS,
    check_outline,
    outline_from,
)
from service.documents.rows import check_id, check_metadata, check_text
from service.errors import DuplicateKeyError, InvalidInputError
from service.store.document_rows import VECTOR_DTYPE
from service.store.snapshot import (
    CHECKSUM_FILE,
    FORMAT_VERSION,
    MANIFEST_FILE,
    Manifest,
    PartRecord,
    checksum_line,
    npy_header,
    part_name,
)
from service.store.tar_format import Member, members
from service.types import Document, DocumentLimits, Mark, Span, StoredRow, Vectors

LARGEST_PART = 256 << 20
MOST_PARTS = 200_000
_BESIDE_THE_PARTS, _LARGEST_PART_RECORD = 64 << 10, 256
"""Bytes of a manifest: those of its other fields, and those for each part."""
_OTHER_MARKS = 512
_MOST_ESCAPED, _SPAN_BYTES, _BESIDE_THE_TEXT = 6, 20, 1 << 20
"""Bytes of a line: those of a character, those of a span, and those for everything else."""
_LARGEST_VECTORS = 64 << 20
_MOST_DIMENSIONS = 65_536
_CHUNK = 1 << 20
_NPY_HEADER = len(npy_header(1, 1))


class _Line(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    id: str = Field(min_length=1)
    title: str
    text: str
    metadata: dict[str, Any]
    version: int = Field(ge=0, lt=2**62)
    staged: bool
    title_end: int | None = Field(ge=0)
    headings_end: int | None = Field(ge=0)
    outline: Annotated[
        list[Annotated[list[Any], FailFast(), Field(min_length=3, max_length=3)]], FailFast()
    ]

    @property
    def marks(self) -> tuple[Mark, ...]:
        """Raises `InvalidInputError`."""
        return outline_from([dict(zip(Mark._fields, row, strict=True)) for row in self.outline])

    spans: Annotated[
        list[Annotated[list[int], FailFast(), Field(min_length=2, max_length=2)]], FailFast()
    ]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """An archive of which every byte is accounted for. Make one with `verified`."""

    manifest: Manifest
    file: BinaryIO
    parts: tuple[Member, ...]

    @classmethod
    def verified(cls, file: BinaryIO) -> Self:
        """Read an archive to its end and compare all that has a size or a checksum.

        Raises `InvalidInputError` for anything but what `snapshot.write` writes.
        """
        parts: list[tuple[Member, str]] = []
        documents = 0
        last: list[bytes] = []
        for member in members(file, most=MOST_PARTS, largest=LARGEST_PART):
            if len(last) == 2:
                raise InvalidInputError(f"{member.name!r} comes after {CHECKSUM_FILE}")
            if last or member.name == MANIFEST_FILE:
                _require_name(member.name, CHECKSUM_FILE if last else MANIFEST_FILE)
                last.append(_small(file, member, len(parts)))
            else:
                _require_name(
                    member.name,
                    part_name("documents", documents + 1),
                    part_name("vectors", len(parts) - documents + 1),
                    MANIFEST_FILE,
                )
                documents += member.name.startswith("documents")
                parts.append((member, _sha256(file, member)))
        if len(last) < 2:
            raise InvalidInputError(
                f"{CHECKSUM_FILE if last else MANIFEST_FILE} is missing: the archive is cut off, "
                "or it is no snapshot"
            )
        manifest = _manifest(*last)
        found = [PartRecord(name=m.name, bytes=m.size, sha256=sha256) for m, sha256 in parts]
        if manifest.parts != found:
            raise InvalidInputError(_difference(manifest.parts, found))
        return cls(manifest, file, tuple(member for member, _ in parts))

    def rows(self, limits: DocumentLimits) -> Iterator[StoredRow]:
        """Each row with its vectors. Raises `InvalidInputError`, at the end for wrong counts too.

        `limits` are those of any document and bound how much of a line is read. Nothing made of a
        row may be used before the end is reached.
        """
        encoder = self.manifest.encoder
        dimension = encoder.dimension if encoder else 0
        vectors = _VectorStream(self._vectors(dimension), dimension)
        counts = {"documents": 0, "staged": 0, "passages": 0}
        longest = _longest_line(limits, self.manifest.passages)
        for member in self._of_kind("documents"):
            for text in _lines(self.file, member, longest):
                line = _line(text, f"a line of {member.name}")
                _require_limits(line, limits)
                if line.version > self.manifest.revision:
                    raise InvalidInputError(
                        f"{member.name} holds version {line.version}, above the revision of "
                        f"{MANIFEST_FILE}, {self.manifest.revision}"
                    )
                spans = [Span(start, end) for start, end in line.spans]
                counts["staged" if line.staged else "documents"] += 1
                counts["passages"] += len(spans)
                document = Document(line.id, line.text, line.title, line.metadata, line.marks)
                own = vectors.take(len(spans))
                yield StoredRow(
                    document,
                    line.version,
                    line.staged,
                    spans,
                    own,
                    line.title_end,
                    line.headings_end,
                )
        vectors.require_end()
        for name, found in counts.items():
            if getattr(self.manifest, name) != found:
                raise InvalidInputError(
                    f"{MANIFEST_FILE} says {getattr(self.manifest, name)} {name}; there are {found}"
                )

    def _vectors(self, dimension: int) -> Iterator[Vectors]:
        """The vectors part by part: float32 (n, dimension)."""
        for member in self._of_kind("vectors"):
            row_bytes = dimension * VECTOR_DTYPE.itemsize
            rows = (member.size - _NPY_HEADER) // row_bytes if row_bytes > 0 else 0
            self.file.seek(member.offset)
            header = self.file.read(_NPY_HEADER)
            whole = _NPY_HEADER + rows * row_bytes == member.size <= _LARGEST_VECTORS
            if rows < 1 or not whole or header != npy_header(rows, dimension):
                raise InvalidInputError(f"{member.name} is no array of float32 (n, {dimension})")
            content = self.file.read(rows * row_bytes)
            vectors = np.frombuffer(content, VECTOR_DTYPE).astype(np.float32)
            vectors = vectors.reshape(rows, dimension)
            lengths = np.linalg.norm(vectors.astype(np.float64), axis=1)
            if not (np.abs(lengths - 1.0) < 1e-3).all():  # as far as float32 goes
                raise InvalidInputError(f"{member.name} has a vector whose length is not 1")
            yield vectors

    def _of_kind(self, kind: str) -> list[Member]:
        return [member for member in self.parts if member.name.startswith(kind)]


class _VectorStream:
    """The vectors of all parts, in lots of any size."""

    def __init__(self, parts: Iterator[Vectors], dimension: int) -> None:
        self._parts = parts
        self._left: Vectors = np.empty((0, dimension), np.float32)

    def take(self, count: int) -> Vectors:
        lots = [self._left]
        while sum(map(len, lots)) < count:
            part = next(self._parts, None)
            if part is None:
                raise InvalidInputError("there are fewer vectors than passages")
            lots.append(part)
        together = np.concatenate(lots) if len(lots) > 1 else self._left
        self._left = together[count:]
        return together[:count]

    def require_end(self) -> None:
        if len(self._left) or next(self._parts, None) is not None:
            raise InvalidInputError("there are more vectors than passages")


def _longest_line(limits: DocumentLimits, passages: int) -> int:
    """Bytes of a line that a document within the `limits` can have."""
    spans = _SPAN_BYTES * min(passages, limits.text)
    chars = limits.text + limits.title + MAX_OUTLINE_CHARS
    return _MOST_ESCAPED * chars + spans + _SPAN_BYTES * MOST_MARKS + _BESIDE_THE_TEXT


def _require_limits(line: _Line, limits: DocumentLimits) -> None:
    try:
        check_id(line.id)
        check_text(line.text, "text", limits.text)
        check_text(line.title, "title", limits.title)
        check_metadata(line.metadata)
        check_outline(line.marks, len(line.text))
    except InvalidInputError as error:
        raise InvalidInputError(f"document {line.id[:100]!r}: {error.field}: {error}") from error


def _require_name(name: str, *wanted: str) -> None:
    if name not in wanted:
        raise InvalidInputError(
            f"{name[:100]!r} is where {' or '.join(wanted)} would be in a snapshot"
        )


def _manifest(content: bytes, checksum: bytes) -> Manifest:
    if checksum != checksum_line(content):
        raise InvalidInputError(f"{MANIFEST_FILE} is not what {CHECKSUM_FILE} says")
    _json(content, MANIFEST_FILE)  # pydantic's own parser takes the last of two values
    with _explained(MANIFEST_FILE):
        manifest = Manifest.model_validate_json(content)
    if manifest.format_version != FORMAT_VERSION:
        raise InvalidInputError(
            f"the snapshot has format {manifest.format_version}; this program reads "
            f"{FORMAT_VERSION}"
        )
    if manifest.encoder and not 0 < manifest.encoder.dimension <= _MOST_DIMENSIONS:
        raise InvalidInputError(f"vectors cannot have {manifest.encoder.dimension} dimensions")
    return manifest


def _difference(said: list[PartRecord], found: list[PartRecord]) -> str:
    for wanted, part in zip(said, found, strict=False):
        if wanted != part:
            return f"{part.name} is not what {MANIFEST_FILE} says: it is damaged"
    return f"{MANIFEST_FILE} names {len(said)} parts; there are {len(found)}"


def _json(content: bytes, where: str) -> Any:
    """The value of a JSON text in which no object has a key twice."""
    try:
        return strict_json.loads(content.decode())
    except DuplicateKeyError as error:
        raise InvalidInputError(f"{where}: {error}") from error
    except (ValueError, RecursionError) as error:
        raise InvalidInputError(f"{where}: it is no JSON in UTF-8") from error


@contextmanager
def _explained(where: str) -> Iterator[None]:
    try:
        yield
    except ValidationError as error:
        found = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(map(str, found["loc"]))
        raise InvalidInputError(f"{where}: {place}: {found['msg']}") from error


def _line(content: bytes, where: str) -> _Line:
    """A line as it is written, and nothing else: a strict parser stops at the first difference."""
    value = _json(content, where)
    if not isinstance(value, dict) or value.keys() != _Line.model_fields.keys():
        raise InvalidInputError(f"{where}: it is no object with {', '.join(_Line.model_fields)}")
    with _explained(where):
        return _Line.model_validate(value)


def _small(file: BinaryIO, member: Member, parts: int) -> bytes:
    """The manifest or its checksum. A manifest of `parts` parts has few other fields."""
    most = _BESIDE_THE_PARTS + _LARGEST_PART_RECORD * parts
    if member.size > most:
        raise InvalidInputError(f"{member.name} has {member.size} bytes; at most {most} are taken")
    file.seek(member.offset)
    content = file.read(member.size)
    # Values beyond those that it can have, which would take much memory before they are refused.
    if sum(map(content.count, (b"[", b"{", b","))) > 4 * parts + _OTHER_MARKS:
        raise InvalidInputError(f"{member.name} has more values than {parts} parts need")
    return content


def _sha256(file: BinaryIO, member: Member) -> str:
    digest = hashlib.sha256()
    file.seek(member.offset)
    left = member.size
    while chunk := file.read(min(left, _CHUNK)):
        digest.update(chunk)
        left -= len(chunk)
    return digest.hexdigest()


def _lines(file: BinaryIO, member: Member, longest: int) -> Iterator[bytes]:
    position, end = member.offset, member.offset + member.size
    while position < end:
        file.seek(position)  # vectors are read in between
        line = file.readline(min(end - position, longest + 1))
        if len(line) > longest:
            raise InvalidInputError(
                f"a line of {member.name} has more than {longest} bytes, the most that a document "
                "within max_document_chars and max_title_chars can have"
            )
        position += len(line)
        yield line
