"""Folders of Markdown, text and HTML."""

import os
import time
from pathlib import Path

import pytest

from service.datasets import read_documents
from service.documents.rows import Row
from service.types import Document, DocumentLimits, Mark, Refused
from tests.fixtures.file_rows import plain


def one(path: Path, content: str | bytes) -> Row:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    (row,) = read_documents(path)
    return plain(row)


def test_a_folder_is_read_in_the_order_of_relative_paths(tmp_path: Path) -> None:
    for name in ("b.txt", "a/z.md", "a/deep/x.html", "a.md", "skip.py", ".hidden.md", ".git/c.md"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"text of {name}")
    rows = list(read_documents(tmp_path))
    ids = [row.id for row in rows if isinstance(row, Document)]
    assert ids == ["a.md", "a/deep/x.html", "a/z.md", "b.txt"]
    assert plain(rows[3]) == Document("b.txt", "text of b.txt")
    assert rows[2].metadata["path"] == "a/z.md"  # type: ignore[union-attr]


def test_a_single_file_is_known_by_its_name(tmp_path: Path) -> None:
    assert one(tmp_path / "note.MD", "# Title\n\nText\n") == Document(
        "note.MD", "# Title\n\nText\n", "Title"
    )


def test_text_is_kept_to_the_letter_but_for_the_byte_order_mark(tmp_path: Path) -> None:
    assert one(tmp_path / "a.txt", "\ufeff one\r\n\ttwo \n") == Document(
        "a.txt", " one\r\n\ttwo \n"
    )


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("intro\n\n## Second level ##\n# First", "Second level"),
        ("# C#", "C#"),
        ("#hashtag\n\n#   \n# Real", "Real"),
        ("Underlined\n=====\n", "Underlined"),
        ("Underlined\n---\n", "Underlined"),
        ("- item\n---\n# Real", "Real"),
        ("```sh\n# a comment\n```\n# Real", "Real"),
        ("~~~~\n# a comment\n~~~\n~~~~\n# Real", "Real"),
        ("```inline``` code\n# Real", "Real"),
        ("no heading\n\n---\n", ""),
    ],
)
def test_the_first_heading_of_markdown_is_its_title(tmp_path: Path, text: str, title: str) -> None:
    row = one(tmp_path / "a.md", text)
    assert isinstance(row, Document)
    assert (row.title, row.text) == (title, text)


@pytest.mark.parametrize(
    ("name", "content", "line", "field"),
    [
        ("a.txt", b"fine\nbad \xff", 2, "text"),
        ("a.html", b"<p>\xff", 1, "text"),
        ("a.txt", b" \n", None, "text"),
        ("a.html", b"<script>x</script>", None, "text"),
        ("a.html", b"<!-- nothing", None, "text"),
    ],
)
def test_a_bad_file_is_refused_with_its_line(
    tmp_path: Path, name: str, content: bytes, line: int | None, field: str
) -> None:
    row = one(tmp_path / name, content)
    assert isinstance(row, Refused)
    assert (row.source, row.line, row.field) == (str(tmp_path / name), line, field)


def test_text_and_file_have_limits(tmp_path: Path) -> None:
    pages = {"a.txt": "x" * 11, "b.html": f"<!--{'x' * 160}-->y", "c.html": f"<!--{'x' * 100}-->y"}
    for name, content in pages.items():
        (tmp_path / name).write_text(content)
    long, rest, large, fine = read_documents(tmp_path, DocumentLimits(10))
    assert isinstance(long, Document)
    assert isinstance(rest, Document)
    assert [(one.id, one.text) for one in (long, rest)] == [("a.txt", "x" * 10), ("a.txt#2", "x")]
    assert rest.metadata == {**long.metadata, "part": 2}
    assert isinstance(large, Refused)
    assert "168 bytes; 160 are" in large.reason
    assert plain(fine) == Document("c.html", "y")


def test_links_are_read_within_the_folder_and_refused_beyond(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.txt").write_text("secret")
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "real.txt").write_text("real")
    (folder / "a.txt").symlink_to("real.txt")
    (folder / "b.txt").symlink_to(outside / "secret.txt")
    (folder / "c").symlink_to(outside)
    (folder / "d.txt").symlink_to("d.txt")
    (folder / "e.txt").symlink_to("nowhere")
    rows = list(read_documents(folder))
    assert [plain(row) for row in rows if isinstance(row, Document)] == [
        Document("a.txt", "real"),
        Document("real.txt", "real"),
    ]
    assert [Path(row.source).name for row in rows if isinstance(row, Refused)] == [
        "b.txt",
        "c",
        "d.txt",
        "e.txt",
    ]


def test_what_is_no_regular_file_is_refused_unread(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.txt")
    (row,) = read_documents(tmp_path)
    assert isinstance(row, Refused)
    assert row.reason == "not a regular file"


def test_a_folder_that_cannot_be_listed_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.txt").write_text("one")
    (tmp_path / "closed").mkdir()
    scandir = os.scandir

    def deny(path: str) -> object:
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", deny)
    rows = list(read_documents(tmp_path))
    assert [type(row) for row in rows] == [Document, Refused]


def test_a_name_that_is_no_unicode_is_refused_and_can_be_printed(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"caf\xe9.txt")).write_text("one")
    (row,) = read_documents(tmp_path)
    assert isinstance(row, Refused)
    assert row.field == "id"
    assert row.source.encode()


def test_front_matter_is_metadata_and_no_text(tmp_path: Path) -> None:
    front = "title: Tides\ntags: [sea, moon]\nlevel: 3\ndate: 2026-01-03\nauthor: {name: Ann}"
    row = one(tmp_path / "a.md", f"---\n{front}\nempty:\n---\n# Heading\nText")
    metadata = {
        "tags": ["sea", "moon"], "level": 3, "date": "2026-01-03", "author.name": "Ann",
        "empty": None,
    }  # fmt: skip
    outline = (Mark(0, None, ("Heading",)),)
    assert row == Document("a.md", "# Heading\nText", "Tides", metadata, outline)


@pytest.mark.parametrize(
    "front",
    [
        "a: [", "- a list", "x: &a [1]\ny: *a", "no fields", "date: 2024-13-45",
        "a: " + "[" * 1000 + "]" * 1000,
    ],
)  # fmt: skip
def test_what_is_no_front_matter_is_text(tmp_path: Path, front: str) -> None:
    text = f"---\n{front}\n---\nText"
    row = one(tmp_path / "a.md", text)
    assert isinstance(row, Document)
    assert (row.text, row.metadata) == (text, {})


@pytest.mark.parametrize("line", ["# a{}x", "a|b\n-|-{}x"])
def test_a_line_takes_time_in_proportion_to_its_length(tmp_path: Path, line: str) -> None:
    began = time.process_time()
    assert isinstance(one(tmp_path / "a.md", line.format(" " * 20_000)), Document)
    assert time.process_time() - began < 0.5


def test_markdown_tells_headings_and_the_heads_of_tables(tmp_path: Path) -> None:
    text = (
        "# Guide\nIntro\n## Causes\nThe moon.\n\n| name | age |\n|---|:-:|\n| a | 1 |\n\nAfter.\n"
        "Setext\n------\n```\n# no\n| x |\n|---|\n```\n### Deep ###\nend\n# Last\nx"
    )
    row = one(tmp_path / "a.md", text)
    assert isinstance(row, Document)
    assert row.title == "Guide"
    found = {
        part: row.place(text.index(part)).headings
        for part in ("Intro", "The moon", "| a |", "After", "# no", "end", "x", "# Last")
    }
    assert found == {
        "Intro": (),
        "The moon": ("Causes",),
        "| a |": ("Causes", "name | age"),
        "After": ("Causes",),
        "# no": ("Setext",),
        "x": ("Setext",),
        "end": ("Setext", "Deep"),
        "# Last": ("Last",),
    }
