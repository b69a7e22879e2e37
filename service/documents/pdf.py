"""PDF: the text of each page, the bookmarks as headings. Runs in a process of its own."""

from pathlib import Path

from pypdfium2 import PdfDocument, PdfiumError

from service.documents.file_text import FileText
from service.errors import InvalidInputError
from service.types import Mark, MetadataValue

_SHOWN = {"Author": "author", "Subject": "subject", "Keywords": "keywords"}
_MOST_CHARS = 10_000
_MOST_BOOKMARKS = 10_000


def read_pdf(path: Path) -> FileText:
    """Title, text and outline. Raises `InvalidInputError`."""
    try:
        document = PdfDocument(path)
    except PdfiumError as error:
        reason = "it needs a password" if "password" in str(error).lower() else "not a sound PDF"
        raise InvalidInputError(reason) from error
    with document:
        headings = _headings(document)
        texts, marks, start = [], [], 0
        path_now: tuple[str, ...] = ()
        for number in range(len(document)):
            path_now = headings.get(number, path_now)
            text = _text(document, number)
            if text.strip():
                marks.append(Mark(start, number + 1, path_now))
                texts.append(text)
                start += len(text)
        if not texts:
            raise InvalidInputError(
                "no page has text; one that was scanned needs text recognition first"
            )
        said = {name: str(value) for name, value in document.get_metadata_dict().items() if value}
        metadata: dict[str, MetadataValue] = {
            shown: said[name][:_MOST_CHARS] for name, shown in _SHOWN.items() if said.get(name)
        }
        return FileText(said.get("Title", ""), "".join(texts), marks, metadata)


def _text(document: PdfDocument, number: int) -> str:
    page = document[number]
    try:
        view = page.get_textpage()
        try:
            text: str = view.get_text_bounded()
        finally:
            view.close()
    except PdfiumError:
        return ""  # the other pages are read
    finally:
        page.close()
    # pdfium marks a hyphen at the end of a line, and ends lines as Windows does.
    text = text.replace("\ufffe\r\n", "").replace("\ufffe", "").replace("\r\n", "\n")
    return f"{text.rstrip()}\n\n" if text.strip() else ""


def _headings(document: PdfDocument) -> dict[int, tuple[str, ...]]:
    """The bookmarks over each page on which one begins; the first one of a page names it."""
    path: list[tuple[int, str]] = []
    found: dict[int, tuple[str, ...]] = {}
    for count, bookmark in enumerate(document.get_toc(max_depth=6)):
        target = bookmark.get_dest()
        title = bookmark.get_title().strip()
        if count == _MOST_BOOKMARKS:
            break
        path = [*((level, text) for level, text in path if level < bookmark.level)]
        if title:
            path.append((bookmark.level, title))
        number = target.get_index() if target else None
        if number is not None and path:
            found.setdefault(number, tuple(text for _, text in path))
    return found
