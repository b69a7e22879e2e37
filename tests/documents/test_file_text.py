import pytest

from service.documents.file_text import FileText, documents_of
from service.documents.outline import (
    MAX_HEADING_CHARS,
    MAX_OUTLINE_CHARS,
    MOST_HEADINGS,
    MOST_MARKS,
    check_outline,
)
from service.types import DocumentLimits, Mark

LIMITS = DocumentLimits(text=20, title=5)


def test_a_long_text_is_cut_where_a_part_begins() -> None:
    outline = [Mark(0, 1), Mark(14, 2), Mark(30, 3)]
    file = FileText("A long title", "x" * 14 + "y" * 16 + "z" * 4, outline, {"own": 1})
    first, second = documents_of("f.pdf", file, {"name": "f.pdf"}, LIMITS)
    assert (first.id, first.text, first.title) == ("f.pdf", "x" * 14, "A lon")
    assert first.metadata == {"own": 1, "name": "f.pdf"}
    assert (second.id, second.text) == ("f.pdf#2", "y" * 16 + "z" * 4)
    assert second.metadata == {"own": 1, "name": "f.pdf", "part": 2}
    assert second.outline == (Mark(0, 2), Mark(16, 3))


def test_a_part_that_begins_within_a_page_knows_its_page() -> None:
    file = FileText("", "one\n" * 10, [Mark(0, 7, ("Tides",))])
    parts = list(documents_of("f", file, {}, LIMITS))
    assert [part.text for part in parts] == ["one\n" * 5, "one\n" * 5]
    assert [part.outline for part in parts] == [(Mark(0, 7, ("Tides",)),)] * 2


@pytest.mark.parametrize(
    "marks",
    [
        [Mark(n, n + 1) for n in range(MOST_MARKS + 5)],
        [Mark(n, None, (str(n), "x" * 290)) for n in range(MAX_OUTLINE_CHARS // 290 + 5)],
        [Mark(0, 1, ("x" * (MAX_HEADING_CHARS + 1),) * (MOST_HEADINGS + 1))],
    ],
    ids=["marks", "characters", "headings"],
)
def test_an_outline_beyond_the_limits_ends_and_tells_no_wrong_place(marks: list[Mark]) -> None:
    file = FileText("", "x" * (MOST_MARKS + 100), marks)
    (document,) = documents_of("f", file, {}, DocumentLimits())
    check_outline(document.outline, len(document.text))
    last = document.outline[-1]
    assert (last.page, last.headings) == (None, ()) or len(marks) == 1
    assert document.place(len(document.text)) == last
