"""From a path to documents: which reader a file needs, and the files of a folder."""

import os
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np

from service.documents.charset import decoded
from service.documents.csv_file import CSV, CsvFormat, read_csv
from service.documents.file_text import FileText, documents_of
from service.documents.html import read_html
from service.documents.jsonl import read_jsonl
from service.documents.lines import Numbered, count_lines, shown
from service.documents.markdown import read_markdown
from service.documents.reader_process import LIBRARY_READERS, LibraryReader, ReaderProcess
from service.documents.rows import Row
from service.errors import InvalidInputError
from service.types import Document, DocumentLimits, MetadataValue, Refused

RowReader = Callable[[Path, DocumentLimits, CsvFormat], Numbered[Document]]
"""Reads a file of many documents, in little memory."""


class FileReader(NamedTuple):
    """Reads a file that is one document, alone or in a folder.

    `read` makes text of the file's bytes. It raises `UnicodeDecodeError` or `InvalidInputError`. A
    file with more than `bytes_per_char` for each character that a text may have is refused unread.
    """

    read: Callable[[bytes], FileText]
    bytes_per_char: int


READERS: dict[str, RowReader | FileReader | LibraryReader] = {
    ".jsonl": lambda path, limits, _form: read_jsonl(path, limits),
    ".ndjson": lambda path, limits, _form: read_jsonl(path, limits),
    ".csv": read_csv,
    ".tsv": read_csv,
    ".md": FileReader(read_markdown, 4),
    ".txt": FileReader(lambda content: FileText("", decoded(content)), 4),
    ".html": FileReader(lambda content: FileText(*read_html(content)), 16),
    ".htm": FileReader(lambda content: FileText(*read_html(content)), 16),
    **LIBRARY_READERS,
}
"""The reader of each kind of file, by its suffix in lower case."""

_LIMITS = DocumentLimits()
_LARGEST_FOR_LIBRARY = 512 << 20
"""Bytes of a file that is read in a process of its own."""


def corpus_file(folder: Path) -> Path:
    """Where a folder has its documents as JSON lines, as BEIR does."""
    return folder / "corpus.jsonl"


def read_files(
    path: Path,
    limits: DocumentLimits = _LIMITS,
    *,
    last_only: bool = False,
    csv: CsvFormat = CSV,
) -> Iterator[Row]:
    """The documents of a file or folder, in a fixed order, and the rows that were refused.

    - a file: as the reader of its suffix says
    - a folder with `corpus.jsonl`: that file
    - any other folder: its files, each a document or, if its text is long, a few; the id is the
      path from `folder`, and metadata tell `path`, `name`, `type`, `size` and `modified`

    JSON lines and CSV are read in little memory. With `last_only` they are read twice: if rows
    share an id, only the last one is yielded. A document beyond the `limits` is refused. A bad row
    never raises and never stops the rows after it. Raises `InvalidInputError` at once for a path
    that is missing, unreadable or of another kind.
    """
    found = _located(path)
    if found.is_dir():
        return _read_folder(found, limits)
    reader = READERS[found.suffix.lower()]
    if isinstance(reader, FileReader | LibraryReader):
        return _read_one(found, limits)

    def rows() -> Iterator[Row]:
        return (row for _, row in reader(found, limits, csv))

    return _last_of_each_id(rows) if last_only else rows()


def count_rows(path: Path) -> int:
    """About how many rows `read_files` will yield, quickly.

    Blank lines, and lines within a quoted field of CSV, are counted too. Raises as
    `read_files` does.
    """
    found = _located(path)
    if found.is_dir():
        return len(_find(found)[0])
    reader = READERS[found.suffix.lower()]
    if isinstance(reader, FileReader | LibraryReader):
        return 1
    return max(0, count_lines(found) - (reader is read_csv))


def unread_files(path: Path) -> str:
    """How many files of a folder `read_files` ignores: `3 .pdf, 1 .rst`; empty if none."""
    is_plain_folder = path.is_dir() and not corpus_file(path).exists()
    return _counted(_find(path)[1]) if is_plain_folder else ""


def _located(path: Path) -> Path:
    """The file or folder to read: if a folder has corpus.jsonl, that file."""
    try:
        if path.is_file():
            path.open("rb").close()
        else:
            path.stat()
    except FileNotFoundError as error:
        raise InvalidInputError(
            f"{shown(path)}: there is no such file or folder", "path"
        ) from error
    except OSError as error:
        raise InvalidInputError(
            f"{shown(path)}: cannot be read: {error.strerror}", "path"
        ) from error
    if path.is_dir() and not corpus_file(path).exists():
        files, others = _find(path)
        if not files:
            suffixes = ", ".join(name for name in READERS if _is_document(f"x{name}"))
            only = f"; it holds {_counted(others)}" if others else ""
            raise InvalidInputError(
                f"{shown(path)}: the folder holds neither corpus.jsonl nor any file named "
                f"{suffixes}{only}",
                "path",
            )
        return path
    file = corpus_file(path) if path.is_dir() else path
    if not file.is_file():
        raise InvalidInputError(f"{shown(file)}: not a regular file", "path")
    if file.suffix.lower() not in READERS:
        raise InvalidInputError(
            f"{shown(file)}: only files named {', '.join(READERS)} are read", "path"
        )
    return file


def _last_of_each_id(read: Callable[[], Iterator[Row]]) -> Iterator[Row]:
    """The rows without those whose id a later one has.

    Eight bytes of each id are kept, and the whole id only if another row has the same eight bytes.
    """
    ids = (hash(row.id) for row in read() if isinstance(row, Document))
    hashes, counts = np.unique(np.fromiter(ids, np.int64), return_counts=True)
    last: dict[str, int] = {}
    if shared := set(hashes[counts > 1].tolist()):
        for number, row in enumerate(read()):
            if isinstance(row, Document) and hash(row.id) in shared:
                last[row.id] = number
    for number, row in enumerate(read()):
        if not isinstance(row, Document) or last.get(row.id, number) == number:
            yield row


def _find(folder: Path) -> tuple[list[Path], Counter[str]]:
    """The files to read under `folder`, by relative path, and the numbers of others by kind.

    The files include folders that are not entered, because they are links or cannot be listed.
    Names that begin with a dot are ignored; such a folder counts as one.
    """
    found: list[Path] = []
    others: Counter[str] = Counter()

    def add_unlisted(error: OSError) -> None:
        found.append(Path(error.filename))

    for parent, folders, names in os.walk(folder, onerror=add_unlisted):
        others.update(_kind(name) for name in folders if name.startswith("."))
        others.update(_kind(name) for name in names if not _is_document(name))
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [path for name in folders if (path := Path(parent, name)).is_symlink()]
        found += [Path(parent, name) for name in names if _is_document(name)]
    return sorted(found, key=lambda path: path.relative_to(folder).as_posix()), others


def _is_document(name: str) -> bool:
    reader = READERS.get(Path(name).suffix.lower())
    return isinstance(reader, FileReader | LibraryReader) and not name.startswith(".")


def _kind(name: str) -> str:
    return "hidden" if name.startswith(".") else Path(name).suffix.lower() or "no suffix"


def _counted(kinds: Counter[str]) -> str:
    ordered = sorted(kinds.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{count} {kind}" for kind, count in ordered)


def _read_one(path: Path, limits: DocumentLimits) -> Iterator[Row]:
    with ReaderProcess() as process:
        yield from _read_file(path, path.name, limits, process)


def _read_folder(folder: Path, limits: DocumentLimits) -> Iterator[Row]:
    """The rows of each file. A link is read if it leads to a file within `folder`."""
    root = Path(os.path.realpath(folder))
    with ReaderProcess() as process:
        for path in _find(folder)[0]:
            if path.is_dir():
                reason = "a folder that is a link or cannot be listed"
                yield Refused(shown(path), None, None, reason)
            elif path.is_symlink() and not Path(os.path.realpath(path)).is_relative_to(root):
                yield Refused(shown(path), None, None, "a link that leaves the folder")
            else:
                yield from _read_file(path, path.relative_to(folder).as_posix(), limits, process)


def _read_file(
    path: Path, id_: str, limits: DocumentLimits, process: ReaderProcess
) -> Iterator[Row]:
    try:
        yield from documents_of(id_, _text(path, limits, process), _facts(path, id_), limits)
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        yield Refused(shown(path), line, "text", f"not valid {error.encoding.upper()}")
    except InvalidInputError as error:
        yield Refused(shown(path), None, error.field, str(error))
    except OSError as error:
        yield Refused(shown(path), None, None, f"cannot be read: {error.strerror}")


def _text(path: Path, limits: DocumentLimits, process: ReaderProcess) -> FileText:
    reader = READERS[path.suffix.lower()]
    if not path.is_file() and path.exists():
        raise InvalidInputError("not a regular file")
    size = path.stat().st_size
    most = _LARGEST_FOR_LIBRARY
    if isinstance(reader, FileReader):
        most = reader.bytes_per_char * limits.text
    if size > most:
        raise InvalidInputError(
            f"the file has {size} bytes; {most} are the most that are read", "text"
        )
    return reader.read(path.read_bytes()) if isinstance(reader, FileReader) else process.read(path)


def _facts(path: Path, id_: str) -> dict[str, MetadataValue]:
    """What the file system says of a file."""
    known = path.stat()
    modified = datetime.fromtimestamp(int(known.st_mtime), UTC).isoformat()
    return {
        "path": id_,
        "name": path.name,
        "type": path.suffix[1:].lower(),
        "size": known.st_size,
        "modified": modified,
    }
