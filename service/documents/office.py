"""Word, PowerPoint, Excel and EPUB files, through Markdown. Runs in a process of its own."""

import re
from collections.abc import Callable
from itertools import accumulate
from pathlib import Path
from zipfile import BadZipFile, ZipFile

from markitdown import DocumentConverter, StreamInfo
from markitdown.converters import DocxConverter, EpubConverter, PptxConverter, XlsxConverter

from service.documents.file_text import FileText
from service.documents.markdown import from_markdown
from service.errors import InvalidInputError
from service.types import MetadataValue

_CONVERTERS: dict[str, Callable[[], DocumentConverter]] = {
    ".docx": DocxConverter,
    ".pptx": PptxConverter,
    ".xlsx": XlsxConverter,
    ".epub": EpubConverter,
}
_MOST_UNPACKED = 512 << 20
"""Bytes of all parts of a file. A file of a few kilobytes can hold gigabytes of zeros."""

_OLD_FORMAT = b"\xd0\xcf\x11\xe0"
_SLIDE = re.compile(r"^<!-- Slide number: \d+ -->\n", re.MULTILINE)
_SAID = re.compile(r"\*\*(\w+):\*\* (.*)(?:\n|\Z)")
_PICTURE = re.compile(r"!\[([^\]]*)\]\((?:data:)?[^)]*\)")


def read_office(path: Path) -> FileText:
    """Title, text and outline. Raises `InvalidInputError`."""
    with path.open("rb") as file:
        if file.read(4) == _OLD_FORMAT:
            raise InvalidInputError("it needs a password, or is a file of an old Office (.doc)")
    try:
        with ZipFile(path) as archive:
            unpacked = sum(part.file_size for part in archive.infolist())
    except BadZipFile as error:
        raise InvalidInputError("not a sound file of this kind") from error
    if unpacked > _MOST_UNPACKED:
        raise InvalidInputError(
            f"it unpacks to {unpacked} bytes; {_MOST_UNPACKED} are the most that are read"
        )
    suffix = path.suffix.lower()
    with path.open("rb") as file:
        found = _CONVERTERS[suffix]().convert(file, StreamInfo(extension=suffix))
    markdown = _PICTURE.sub(r"\1", found.markdown)
    metadata: dict[str, MetadataValue] = {}
    if suffix == ".epub":
        metadata, markdown = _said_of_itself(markdown)
    elif suffix == ".xlsx":  # its first heading is the name of a sheet
        metadata = {"title": path.stem}
    text, pages = _without_page_marks(markdown)
    return from_markdown(text, metadata, pages)


def _without_page_marks(markdown: str) -> tuple[str, list[int]]:
    """The text of slides, and where each begins."""
    first, *slides = _SLIDE.split(markdown)
    starts = accumulate((len(slide) for slide in slides[:-1]), initial=len(first))
    return "".join([first, *slides]), list(starts) if slides else []


def _said_of_itself(markdown: str) -> tuple[dict[str, MetadataValue], str]:
    """What an EPUB says before its text: `**Title:** ...`, a line each."""
    metadata: dict[str, MetadataValue] = {}
    while said := _SAID.match(markdown):
        metadata[said[1].lower()] = said[2].strip()
        markdown = markdown[said.end() :]
    return metadata, markdown.lstrip("\n")
