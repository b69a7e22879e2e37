"""Real sentences that any machine has: the docstrings of installed packages, and Python's manual.

Nothing is imported or run: the sources are only parsed.
"""

import ast
import importlib.util
import inspect
import re
import sysconfig
import tokenize
import warnings
from collections.abc import Iterator
from pathlib import Path

PACKAGES = ("numpy", "scipy", "sklearn")
FEWEST_WORDS = 8

_PROSE = re.compile(r"[A-Z`][^>]*[.:!?)]", re.DOTALL)
_NOT_PROSE = ("::", " : ", "---", "===", "|")
_LEFT_OUT = frozenset({"test", "tests", "site-packages", "idlelib", "lib2to3", "pydoc_data"})
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z`])")


def pages() -> Iterator[tuple[str, list[str]]]:
    """(name, paragraphs) of each module and topic, in a fixed order; no paragraph comes twice."""
    seen: set[str] = set()
    for name, texts in _texts():
        paragraphs = []
        for text in texts:
            for paragraph in prose_of(text):
                if paragraph not in seen:
                    seen.add(paragraph)
                    paragraphs.append(paragraph)
        if paragraphs:
            yield name, paragraphs


def prose_of(text: str) -> Iterator[str]:
    """The paragraphs of a docstring or page that read as sentences, each on one line."""
    for block in re.split(r"\n\s*\n", text):
        paragraph = " ".join(block.split())
        if (
            _PROSE.fullmatch(paragraph)
            and len(paragraph.split()) >= FEWEST_WORDS
            and not any(mark in paragraph for mark in _NOT_PROSE)
        ):
            yield paragraph


def sentences(paragraph: str) -> list[str]:
    """The sentences of a paragraph; an abbreviation may part one in two."""
    return _SENTENCE_END.split(paragraph)


def _texts() -> Iterator[tuple[str, list[str]]]:
    from pydoc_data.topics import topics  # noqa: PLC0415 - a text of half a megabyte

    for name in sorted(topics):
        yield f"topic {name}", [topics[name]]
    yield from _docstrings_below(Path(sysconfig.get_path("stdlib")), "")
    for package in PACKAGES:
        found = importlib.util.find_spec(package)
        if found is not None and found.origin is not None:
            yield from _docstrings_below(Path(found.origin).parent, f"{package}.")


def _docstrings_below(root: Path, prefix: str) -> Iterator[tuple[str, list[str]]]:
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        if not _LEFT_OUT.intersection(parts):
            docstrings = list(_docstrings(path))
            if docstrings:
                yield prefix + ".".join(parts), docstrings


def _docstrings(path: Path) -> Iterator[str]:
    try:
        with tokenize.open(path) as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of old escapes in other people's strings
            tree = ast.parse(file.read())
    except (SyntaxError, ValueError):
        return  # template files of some distributions only look like Python
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node, clean=False)
            if text:
                yield inspect.cleandoc(text)
