"""What is read of an HTML page, on a small set of pages of every kind."""

from pathlib import Path
from typing import NamedTuple

import pytest

from service.datasets import read_documents
from service.documents.html import read_html
from service.errors import InvalidInputError
from service.types import Document, Refused
from tests.fixtures.file_rows import plain

FEE = "The committee raised the annual fee to 45 euros for every household."


class Page(NamedTuple):
    """A page's body, what must be read of it, and what must not."""

    body: str
    read: list[str]
    unread: list[str] = []  # noqa: RUF012 - never changed


PAGES = {
    "borders": Page(
        "<h1>Annual<br>Report 2025</h1><select><option>Red<option>Green</select>"
        "<button>Save</button><button>Cancel</button><center>Notice</center>End",
        ["Annual\nReport 2025", "Red\nGreen\nSave\nCancel\n\nNotice\n\nEnd"],
    ),
    "boxes": Page(
        "<my-card>One</my-card><my-card>Two</my-card><span style='display:block'>Three</span>"
        "<span style='display: inline-block'>Four</span><a href=a>Five</a><a href=b>Six</a>",
        ["One Two\nThree\nFour\nFive Six"],
    ),
    "words": Page(
        "<p>A <b>bo</b>ld wo<wbr>rd, H<sub>2</sub>O, <a href=x>link</a>s</p>",
        ["A bold word, H2O, links"],
    ),
    "unclosed heading": Page(f"<h1>Fees<p>{FEE}</p><p>More</p>", ["Fees\n\n" + FEE + "\n\nMore"]),
    "hidden": Page(
        f"<p>{FEE}</p><p hidden>unseen1</p><div style='color:red; display: none'><p>unseen2</p>"
        "</div><p style='visibility:hidden'>unseen3</p><dialog>unseen4</dialog><template>unseen5"
        "</template><input type=hidden value=unseen6><p aria-hidden=true>unseen7</p><noscript>"
        "unseen8</noscript><iframe>unseen9</iframe><p hidden=until-found>Found</p>"
        "<dialog open>Shown</dialog><details><summary>More</summary>Folded</details>",
        [FEE, "Found", "Shown", "More\nFolded"],
        ["unseen"],
    ),
    "around": Page(
        "<a href=#main class=skip-to-content>skip</a>"
        "<header><a href=/>home</a><nav><h2>menu</h2><a href=a>Dogs</a></nav><h1>Fees</h1></header>"
        "<div id=cookie-banner class=x><p>We use cookies</p><button>Accept</button></div>"
        f"<main><p>{FEE}</p></main><div role=navigation>more</div><footer>Imprint</footer>",
        ["Fees\n\n" + FEE],
        ["skip", "home", "menu", "Dogs", "cookies", "Accept", "more", "Imprint"],
    ),
    "within an article": Page(
        "<article class='cookie-recipe'><header><h1>Oat cookies</h1><p>By the cook</p></header>"
        f"<p>{FEE}</p><aside>Note well</aside><div><footer>Sources</footer></div></article>",
        ["Oat cookies\n\nBy the cook", FEE, "Note well", "Sources"],
    ),
    "nothing but a menu": Page("<nav><a href=a>Fees</a><a href=b>Dogs</a></nav>", ["Fees Dogs"]),
    "links": Page("<ul><li><a href=a>Table 2024</a><li><a href=b>Table 2025</a></ul>", ["Table"]),
    "alt": Page(
        f"<p>{FEE}<img src=a alt='A chart of dog fees'>after</p><figure><img src=b alt=Map>"
        "<figcaption>Parks</figcaption></figure><input type=image alt=Go><input type=submit "
        "value=Send>",
        [f"{FEE} A chart of dog fees after", "Map\nParks", "Go\nSend"],
    ),
    "table": Page(
        "<table><caption>Fees</caption><tr><th>Animal<th>Fee<tr><td>Dog<td>85</table>",
        ["Fees\nAnimal Fee\nDog 85"],
    ),
    "lists": Page(
        "<ol><li>Fill in<li>Pay<ul><li>by post</ul></ol><dl><dt>Fee<dd>Money</dl>",
        ["Fill in\nPay\n\nby post", "Fee\nMoney"],
    ),
    "code": Page(
        "<p>So:</p><pre>def f():\n    return 1<br>f()</pre>", ["def f():\n    return 1\nf()"]
    ),
    "ruby": Page("<p><ruby>手<rp>(</rp><rt>て</rt></ruby>数料", ["手数料"], ["て"]),
    "graphics": Page(
        "<svg><title>icon</title><text>Axis</text></svg><script>bad()</script><style>bad</style>",
        ["Axis"],
        ["icon", "bad"],
    ),
    "tiny": Page("Closed", ["Closed"]),
    "a file's name": Page("index.html", ["index.html"]),
}


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_read_as_it_is_shown(name: str) -> None:
    page = PAGES[name]
    _, text = read_html(f"<html><body>{page.body}</body></html>".encode())
    assert [piece for piece in page.read if piece not in text] == []
    assert [piece for piece in page.unread if piece in text] == []


@pytest.mark.parametrize(
    ("page", "title"),
    [
        ("<title> A\n title</title><h1>Heading</h1>", "A title"),
        ("<h1>Annual<br>Report 2025</h1>End", "Annual Report 2025"),
        (f"<h1>Fees<p>{FEE}</p>", "Fees"),
        (f"<h1>{FEE * 10}", ""),
        ("<h2> First <i>one</i></h2><h1>Second</h1>", "First one"),
        ("<h1 hidden>Unseen</h1><nav><h2>Menu</h2></nav><h2>Seen</h2>", "Seen"),
        ("<title></title><h1><img alt='The logo'></h1>", "The logo"),
        ("<svg><title>icon</title></svg><h1>Heading</h1>", "Heading"),
        ('<?xml version="1.0"?><html><head><title>X</title></head></html>', "X"),
        ("<p>no title", ""),
    ],
)
def test_the_title_is_the_pages_or_its_first_heading(page: str, title: str) -> None:
    assert read_html(page.encode())[0] == title


CHARSETS = {
    "meta": ("<meta charset=windows-1251><p>Привет", "windows-1251"),
    "http-equiv": (
        '<meta http-equiv=Content-Type content="text/html; charset=Shift_JIS"><p>手数料 ①',
        "cp932",
    ),
    "a browser's Latin 1": ("<meta charset=iso-8859-1><p>45 € déjà", "cp1252"),
    "XML": ("<?xml version='1.0' encoding='iso-8859-2'?><p>Dług", "iso-8859-2"),
    "mark": ("<p>Huế", "utf-16"),
    "mark before meta": ("<meta charset=latin1><p>Huế", "utf-8-sig"),
    "nothing": ("<p>Huế", "utf-8"),
    "unknown": ("<meta charset=nonsense><p>Huế", "utf-8"),
    "false UTF-16": ("<meta charset=utf-16><p>Huế", "utf-8"),
}


@pytest.mark.parametrize("name", CHARSETS)
def test_a_page_is_decoded_as_it_declares(name: str) -> None:
    page, encoding = CHARSETS[name]
    assert read_html(page.encode(encoding))[1] == page.partition("<p>")[2]


def test_bytes_that_are_not_of_the_declared_charset_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_bytes(b"<meta charset=euc-jp>\n<p>\xff")
    (row,) = read_documents(tmp_path / "a.html")
    assert isinstance(row, Refused)
    assert (row.line, row.reason) == (2, "not valid EUC_JP")


def test_text_files_may_have_a_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("Huế\n".encode("utf-16"))
    (tmp_path / "b.md").write_bytes("# Huế\n".encode("utf-8-sig"))
    rows = [plain(row) for row in read_documents(tmp_path)]
    assert rows == [
        Document("a.txt", "Huế\n"),
        Document("b.md", "# Huế\n", "Huế"),
    ]


def test_deep_pages_are_read_and_deeper_ones_refused() -> None:
    assert read_html(b"<div>" * 5000 + b"deep") == ("", "deep")
    wide = b"<ul>" + b"<li><b>x</b><p>y" * 20_000
    assert read_html(wide)[1].count("x") == 20_000
    for page in (b"<div>" * 200_000, b"".join(b"<b id=%d>" % n for n in range(6000)) + b"<p>" * 9):
        with pytest.raises(InvalidInputError, match="nested too deep"):
            read_html(page)
