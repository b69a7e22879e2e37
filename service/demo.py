"""The demo corpus: the documentation that every Python interpreter has."""

import ast
import builtins
import inspect
import json
import logging
import re
import sys
import sysconfig
import tokenize
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import chain, pairwise
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from service.errors import SecondpassError
from service.store.catalog import MAIN
from service.types import Document

if TYPE_CHECKING:
    from service.engine.engine import Engine

log = logging.getLogger(__name__)

MIN_WORDS = 40
"""Least words of a text that is worth searching."""

MIN_BUILTIN_WORDS = 6
"""The same for builtins, which people ask for first and whose docstrings are short."""

LONG_TOPIC = 1500
"""Words above which each section of a topic is a document of its own."""

_UNINTERESTING = frozenset(
    {"antigravity", "idlelib", "lib2to3", "pydoc_data", "test", "this", "turtledemo"}
)
_HEADING = re.compile(r"^(?P<heading>\S.*)\n(?P<mark>[*=-])(?P=mark)+\n", re.MULTILINE)
_NOT_A_WORD = re.compile(r"[\W_]+")

_Documented = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def demo_documents() -> Iterator[Document]:
    """Builtins, the language reference's topics, then docstrings of the standard library's source.

    Metadata: `kind` is `builtin`, `topic` or `docstring`, and `module` the module of a docstring.
    The source is only parsed, never imported. The order is fixed; equal texts occur once.
    """
    seen: set[str] = set()
    for document in chain(_builtins(), _topics(), _docstrings()):
        # Topics share sections, under headings of different depth; a setter has its getter's name.
        keys = {f"id {document.id}", _NOT_A_WORD.sub(" ", document.text)}
        least = MIN_BUILTIN_WORDS if document.metadata["kind"] == "builtin" else MIN_WORDS
        if len(document.text.split()) >= least and not keys & seen:
            seen |= keys
            yield document


def add_demo(engine: "Engine") -> None:
    """Queue a bulk job that stores the demo corpus, if the collection `main` has no documents."""
    jobs, store = engine.jobs, engine.collection(MAIN).folder.store
    if jobs is None or jobs.waiting:  # an interrupted job continues by itself
        return
    try:
        with store.view() as view:
            if view.written:
                return
        job = jobs.add(map(_line, demo_documents()), MAIN)
        log.info("the demo corpus is encoded in the background: job %s", job.id)
    except SecondpassError as error:
        log.error("the demo corpus cannot be stored: %s", error)


def _line(document: Document) -> bytes:
    fields = {"id": document.id, "title": document.title, "text": document.text}
    return json.dumps({**fields, "metadata": document.metadata}).encode() + b"\n"


def _builtins() -> Iterator[Document]:
    """Docstrings of what has no source to parse because it is written in C."""
    import _csv  # noqa: PLC0415 - the docstring of `csv`, and its functions

    for module, name in ((builtins, "builtins"), (_csv, "csv")):
        for title, text in _described(module, name):
            yield Document(f"doc:{title}", text, title, {"kind": "builtin", "module": name})


def _described(module: ModuleType, module_name: str) -> Iterator[tuple[str, str]]:
    """Names and docstrings of a module, its functions, its classes and their methods."""
    prefix = "" if module is builtins else f"{module_name}."
    if prefix:
        yield module_name, inspect.cleandoc(module.__doc__ or "")
    for name, member in _public(vars(module)):
        if not isinstance(member, type):
            yield prefix + name, _signed(name, member)
        elif issubclass(member, BaseException):
            parent = member.__base__.__name__ if member.__base__ else ""
            yield prefix + name, f"exception {name}({parent})\n\n{member.__doc__}"
        else:
            yield prefix + name, _signed(name, member)
            for method, value in _public(vars(member)):
                yield f"{prefix}{name}.{method}", _signed(method, value)


def _public(members: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    for name, member in sorted(members.items()):
        if not name.startswith("_") and callable(member) and member.__doc__:
            yield name, member


def _signed(name: str, member: object) -> str:
    """A docstring below its signature, where it does not begin with one."""
    text = inspect.cleandoc(member.__doc__ or "")
    try:
        signature = str(inspect.signature(member))  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return text
    return f"{name}{signature}\n\n{text}"


def _topics() -> Iterator[Document]:
    from pydoc_data.topics import topics  # noqa: PLC0415 - a text of half a megabyte

    long = [name for name, text in topics.items() if len(text.split()) > LONG_TOPIC]
    for name in sorted(topics.keys() - set(long)):
        yield Document(f"topic:{name}", topics[name].strip(), name, {"kind": "topic"})
    for name in sorted(long):
        yield from _sections(name, topics[name])


def _sections(name: str, text: str) -> Iterator[Document]:
    borders = sorted({0, len(text)} | {match.start() for match in _HEADING.finditer(text)})
    slugs: Counter[str] = Counter()
    for start, end in pairwise(borders):
        section = text[start:end].strip()
        heading = section.partition("\n")[0]
        slug = _NOT_A_WORD.sub("-", heading.lower()).strip("-")
        slugs[slug] += 1
        if slugs[slug] > 1:  # the except clause and the except* clause
            slug = f"{slug}-{slugs[slug]}"
        id_ = f"topic:{name}:{slug}" if start else f"topic:{name}"
        yield Document(id_, section, f"{name}: {heading}", {"kind": "topic"})


def _docstrings() -> Iterator[Document]:
    root = Path(sysconfig.get_path("stdlib"))
    for path in sorted(root.rglob("*.py")):
        *parents, last = path.relative_to(root).with_suffix("").parts
        parts = parents if last == "__init__" else [*parents, last]
        if not parts or parts[0] not in sys.stdlib_module_names - _UNINTERESTING:
            continue
        if any(part.startswith("_") or part in ("test", "tests") for part in parts):
            continue
        module = ".".join(parts)
        try:
            with tokenize.open(path) as file, warnings.catch_warnings():
                warnings.simplefilter("ignore")  # old escapes in strings
                tree = ast.parse(file.read())
        except (SyntaxError, ValueError):
            continue  # template files of some distributions only look like Python
        for name, text in _walk(tree, module):
            yield Document(f"doc:{name}", text, name, {"kind": "docstring", "module": module})


def _walk(node: ast.Module | _Documented, name: str) -> Iterator[tuple[str, str]]:
    """Docstrings of a node and of the public classes and functions directly within it."""
    if docstring := ast.get_docstring(node):
        yield name, docstring
    if isinstance(node, ast.Module | ast.ClassDef):
        for child in node.body:
            if isinstance(child, _Documented) and not child.name.startswith("_"):
                yield from _walk(child, f"{name}.{child.name}")
