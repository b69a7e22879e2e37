"""PDF and office files, with the real libraries in a process of their own."""

import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from service.datasets import read_documents
from service.documents import reader_process
from service.documents.reader_process import ReaderProcess
from service.errors import InvalidInputError
from service.types import Document, Mark, Refused
from tests.fixtures.file_rows import plain
from tests.fixtures.office_files import make_docx, make_epub, make_pdf, make_pptx, make_xlsx

ENCRYPT = (
    "/ID [<00112233445566778899aabbccddeeff> <00112233445566778899aabbccddeeff>] "
    "/Encrypt << /Filter /Standard /V 1 /R 2 /Length 40 /P -4 "
    f"/O <{'41' * 32}> /U <{'42' * 32}> >>"
)


@pytest.fixture(scope="module")
def process() -> Iterator[ReaderProcess]:
    with ReaderProcess() as process:
        yield process


def only(path: Path) -> Document:
    (row,) = read_documents(path)
    assert isinstance(row, Document), row
    return row


@pytest.mark.parametrize(
    ("make", "title", "text", "places"),
    [
        (
            make_docx,
            "Handbook",
            "Employees get 27 days.",
            {
                "Employees": ("Leave",),
                "| Senior": ("Leave", "Grade | Days"),
                "Trains": ("Travel",),
            },
        ),
        (make_pptx, "Plan", "We begin in May.", {"It costs": ("Costs",)}),
        (make_xlsx, "a", "lamp", {"| chair": ("Prices", "item | price")}),
        (make_epub, "Voyages", "The hero sails.", {"It rains": ("Chapter one", "Storm")}),
    ],
)
def test_an_office_file_tells_its_text_and_headings(
    tmp_path: Path,
    process: ReaderProcess,
    make: Callable[[Path], None],
    title: str,
    text: str,
    places: dict[str, tuple[str, ...]],
) -> None:
    path = tmp_path / f"a.{make.__name__.removeprefix('make_')}"
    make(path)
    found = process.read(path)
    assert found.title == title
    assert text in found.text
    document = Document("a", found.text, outline=found.outline)
    for part, headings in places.items():
        assert document.place(found.text.index(part)).headings == headings
    if make is make_pptx:
        assert document.place(found.text.index("It costs")).page == 2


def test_a_pdf_tells_pages_and_bookmarks(tmp_path: Path) -> None:
    path = tmp_path / "a.pdf"
    make_pdf(path, ["The moon.", "", "The sea.", "The end."], {"Tides": 0, "Waves": 2})
    document = only(path)
    assert document.text == "The moon.\n\nThe sea.\n\nThe end.\n\n"
    assert document.outline == (
        Mark(0, 1, ("Tides",)), Mark(11, 3, ("Waves",)), Mark(21, 4, ("Waves",)),
    )  # fmt: skip
    assert document.metadata["type"] == "pdf"
    assert plain(document).metadata == {}  # type: ignore[union-attr]


def test_what_cannot_be_read_is_named_and_the_rest_is_read(tmp_path: Path) -> None:
    make_pdf(tmp_path / "a-good.pdf", ["Good."], {"One": 0})
    (tmp_path / "b-broken.pdf").write_bytes(b"%PDF-1.4 nothing")
    make_pdf(tmp_path / "c-locked.pdf", ["Secret."], {"One": 0}, ENCRYPT)
    make_pdf(tmp_path / "d-scanned.pdf", ["", ""], {"One": 0})
    (tmp_path / "e-broken.docx").write_bytes(b"PK\x03\x04 not really")
    (tmp_path / "f-old.docx").write_bytes(b"\xd0\xcf\x11\xe0" + b"0" * 600)
    with zipfile.ZipFile(tmp_path / "g-bomb.xlsx", "w", zipfile.ZIP_DEFLATED) as archive:
        for part in range(9):
            archive.writestr(f"xl/{part}.xml", bytes(64 << 20))
    with zipfile.ZipFile(tmp_path / "h-other.pptx", "w") as archive:
        archive.writestr("nothing", "of use")
    make_docx(tmp_path / "z-good.docx")
    rows = {
        Path(row.source).name if isinstance(row, Refused) else row.id: row
        for row in read_documents(tmp_path)
    }
    reasons = {name: row.reason for name, row in rows.items() if isinstance(row, Refused)}
    assert rows.keys() - reasons.keys() == {"a-good.pdf", "z-good.docx"}
    assert reasons.pop("g-bomb.xlsx").startswith("it unpacks to 603979776 bytes")
    assert reasons.pop("h-other.pptx").startswith("it cannot be read as PPTX: ")
    assert reasons == {
        "b-broken.pdf": "not a sound PDF",
        "c-locked.pdf": "it needs a password",
        "d-scanned.pdf": "no page has text; one that was scanned needs text recognition first",
        "e-broken.docx": "not a sound file of this kind",
        "f-old.docx": "it needs a password, or is a file of an old Office (.doc)",
    }


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        ("hang", "took more than 2 seconds"),
        ("swell", "memory"),
        ("die", "broken or needs"),
        ("flood", "more text than a file may have"),
    ],
)
def test_a_reader_that_breaks_its_limits_costs_its_file_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str, reason: str
) -> None:
    bad, good = tmp_path / "a.bad", tmp_path / "b.good"
    bad.write_text("x")
    good.write_text("fine")
    script = (
        "import sys; from service.documents import reader_process as made; "
        "made.LIBRARY_READERS.update({"
        f"'.bad': made.LibraryReader('tests.fixtures.bad_readers', '{function}'), "
        "'.good': made.LibraryReader('tests.fixtures.bad_readers', 'fine')}); made.main()"
    )
    monkeypatch.setattr(reader_process, "COMMAND", ("-c", script))
    with ReaderProcess(seconds=2, memory=1 << 30, answered=1 << 20) as process:
        with pytest.raises(InvalidInputError, match=reason):
            process.read(bad)
        assert process.read(good).text == "fine"
