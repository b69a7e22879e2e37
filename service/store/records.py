"""Records of the index stage."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from service.types import Document, Span, Vectors


class EncodedDocument(NamedTuple):
    """A document, the spans of its passages, and a vector for each: float32 (n_spans, dim).

    Models read the title up to `title_end`, in code points; None for all of it. `packed` has what
    the reranker is to find of each passage, None where it is to be made later; empty for none.
    """

    document: Document
    spans: Sequence[Span]
    vectors: Vectors
    title_end: int | None = None
    packed: Sequence[bytes | None] = ()


class StagedDocument(NamedTuple):
    """A document that waits for its passages, as it was at `version`."""

    document: Document
    version: int


class StoredDocument(NamedTuple):
    """A document as it was last written.

    `indexed` is whether searches see this version; until then they see the one before, if any.
    `problem` says why its passages could not be encoded, or what of an indexed document the models
    do not read.
    """

    document: Document
    version: int
    indexed: bool
    problem: str | None


class Written(NamedTuple):
    """What a write did to one document: its version, and whether it is new or as it was."""

    id: str
    version: int
    created: bool
    unchanged: bool


def content_hash(document: Document) -> str:
    """SHA-256 of all that a user sends: id, title, text and metadata (the order of keys aside)."""
    content = [document.id, document.title, document.text, document.metadata]
    text = json.dumps(content, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


class Counts(NamedTuple):
    """How much of the store searches can see."""

    documents: int
    passages: int


@dataclass(frozen=True, slots=True)
class GenerationRecord:
    """What the store knows of an index folder: enough to tell whether it is sound and up to date.

    `sha256` maps each file's name to its checksum; it is kept here, apart from the files.
    """

    name: str
    revision: int
    created: datetime
    sha256: Mapping[str, str]
