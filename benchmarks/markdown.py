"""Markdown tables, and pages that keep a place for them.

A page has `<!-- bench:NAME -->` and `<!-- /bench:NAME -->`; what stands between them is written.
"""

import re
from collections.abc import Iterable, Mapping, Sequence

_MARKED = re.compile(
    r"(?P<begin><!-- bench:(?P<name>[\w-]+) -->\n).*?(?P<end><!-- /bench:(?P=name) -->)", re.DOTALL
)


def names_in(text: str) -> list[str]:
    """The tables that a page wants."""
    return [found["name"] for found in _MARKED.finditer(text)]


def filled(text: str, tables: Mapping[str, str]) -> str:
    """The page with these tables between its markers; a place whose table is not there stays."""

    def place(found: re.Match[str]) -> str:
        table = tables.get(found["name"])
        return found[0] if table is None else f"{found['begin']}{table}\n{found['end']}"

    return _MARKED.sub(place, text)


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """The first column to the left, the others to the right; None is a dash."""
    lines = [head, ["---", *(["---:"] * (len(head) - 1))], *rows]
    return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return str(value)
