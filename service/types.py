"""Records that travel between the stages. This module imports nothing of ours."""

import hashlib
import json
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
"""Embeddings, float32, shape (n, dim), rows of unit length."""

Ids = NDArray[np.int64]
"""Passage ids, int64, ascending."""

MetadataValue = str | int | float | bool | None | list[str]
Metadata = Mapping[str, MetadataValue]
FilterScalar = str | int | float | bool
FilterValue: TypeAlias = (
    FilterScalar
    | Sequence[FilterScalar]
    | Mapping[str, "FilterValue"]
    | Sequence[Mapping[str, "FilterValue"]]
)
Filters = Mapping[str, FilterValue]
"""Field name -> value, values or operators; `and`, `or`, `not` -> filters (docs/filters.md)."""

Word = Literal["high", "medium", "low", "uncalibrated"]
RerankStatus = Literal["complete", "partial", "skipped", "failed"]

Reads = Literal["texts", "token ids", "states"]
"""What a reranker reads of a passage: its text alone, or first of all what is stored for it."""

Backend = Literal["torch", "torch-bf16", "onnx", "onnx-int8"]
"""What runs a cross-encoder."""

EncoderBackend = Literal["torch", "torch-bf16", "onnx", "onnx-int8"]
"""What runs an encoder's transformer."""

Mode = Literal["dense", "sparse", "hybrid"]
"""How stage one finds passages: by vectors, by words, or by both."""

Fusion = Literal["rrf", "weighted"]
"""How the hybrid mode makes one order of two: by ranks or by scores."""


class Mark(NamedTuple):
    """Where a part of a text begins, in code points: its page (1-based) and the headings over it.

    The headings of a table's rows are followed by its header row.
    """

    start: int
    page: int | None = None
    headings: tuple[str, ...] = ()

    def under(self, title: str, end: int | None = None) -> str:
        """What models read before a passage that begins here: the title, then the headings.

        They read the headings, `Setup > On Debian`, up to `end`, in code points.
        """
        headings = " > ".join(self.headings)[:end]
        return f"{title} {headings}" if title and headings else title or headings


WHOLE = Mark(0)
"""The place of a passage in a text without outline."""


@dataclass(frozen=True, slots=True)
class Document:
    """What a user ingests. `outline` says where its parts begin, in their order."""

    id: str
    text: str
    title: str = ""
    metadata: Metadata = field(default_factory=dict)
    outline: Sequence[Mark] = ()

    def place(self, start: int) -> Mark:
        """Where in the outline a passage is that begins at `start`."""
        before = bisect_right(self.outline, start, key=lambda mark: mark.start)
        return self.outline[before - 1] if before else WHOLE

    @property
    def content_hash(self) -> str:
        """SHA-256 of all that a user sends; the order of the metadata's keys does not count."""
        content: list[object] = [self.id, self.title, self.text, self.metadata]
        content += [self.outline] if self.outline else []
        text = json.dumps(content, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


MAX_TEXT_CHARS = 1_000_000
MAX_TITLE_CHARS = 2000


@dataclass(frozen=True, slots=True)
class DocumentLimits:
    """The longest text and the longest title that a document may have, in characters.

    `empty`: whether a document may have no text; it then keeps its title.
    """

    text: int = MAX_TEXT_CHARS
    title: int = MAX_TITLE_CHARS
    empty: bool = False


class Span(NamedTuple):
    """A piece of a document's text: `text[start:end]`, in code points."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class StoredPassage:
    """A passage as the store gives it back, with what a hit shows of its document.

    `text` is `document.text[start:end]`, to the letter; `place` says where it is in the document's
    outline. Models read the title up to `title_end` and the headings up to `headings_end`; None
    where they read all of them.
    """

    id: int
    document_id: str
    title: str
    text: str
    start: int
    end: int
    metadata: Metadata
    title_end: int | None = None
    place: Mark = WHOLE
    headings_end: int | None = None

    @property
    def before(self) -> str:
        """What models read before its text."""
        return self.place.under(self.title[: self.title_end], self.headings_end)


class EncodedDocument(NamedTuple):
    """A document, the spans of its passages, and a vector for each: float32 (n_spans, dim).

    Models read the title up to `title_end` and the headings up to `headings_end`, in code points;
    None for all of them. `packed` has what the reranker made of each passage, None where it is made
    later; empty for none.
    """

    document: Document
    spans: Sequence[Span]
    vectors: Vectors
    title_end: int | None = None
    packed: Sequence[bytes | None] = ()
    headings_end: int | None = None


class StagedDocument(NamedTuple):
    """A document that waits for its passages, as it was at `version`."""

    document: Document
    version: int


class StoredDocument(NamedTuple):
    """A document as it was last written.

    `indexed` is whether searches see this version; until then they see the previous one, if any.
    `problem` says why its passages could not be encoded, or which part of an indexed document the
    models do not read.
    """

    document: Document
    version: int
    indexed: bool
    problem: str | None


@dataclass(frozen=True, slots=True)
class StoredRow:
    """One version of a document with its passages, as one store hands it to another."""

    document: Document
    version: int
    staged: bool
    spans: Sequence[Span]
    vectors: Vectors
    title_end: int | None = None
    headings_end: int | None = None


class Written(NamedTuple):
    """What a write did to one document: its version, and whether it is new or unchanged."""

    id: str
    version: int
    created: bool
    unchanged: bool


Expectation = Callable[[int | None], bool]
"""Given a document's version, None where there is no such document: may it be written?"""

Expectations = Mapping[str, Expectation]
"""By the document's id."""


class Counts(NamedTuple):
    """How much of the store searches can see."""

    documents: int
    passages: int


@dataclass(frozen=True, slots=True)
class GenerationRecord:
    """What the store knows of an index folder, to tell whether it is sound and up to date.

    `sha256` maps each file's name to its checksum. The folder itself does not have them.
    """

    name: str
    revision: int
    created: datetime
    sha256: Mapping[str, str]


class FacetsAsked(NamedTuple):
    """Metadata fields whose values are to be counted, and how many values of each to name."""

    fields: tuple[str, ...]
    values: int


@dataclass(frozen=True, slots=True)
class FacetValue:
    """A value of a metadata field, and how many documents have it."""

    value: FilterScalar
    count: int


@dataclass(frozen=True, slots=True)
class Facet:
    """The values of a metadata field that most documents have.

    `other` counts those of values that are not named: a document once for each. `missing`
    documents have no value.
    """

    values: list[FacetValue]
    other: int
    missing: int


class Candidate(NamedTuple):
    """What stage one finds: a passage id and its score, the cosine with the query or BM25's."""

    passage_id: int
    score: float


class PairScore(NamedTuple):
    """What the reranker says of one pair: its logit, and whether the passage had to be cut."""

    logit: float
    truncated: bool


class Piece(NamedTuple):
    """A token of a text: its id in the vocabulary, and `text[start:end]`, which it spells."""

    id: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class TokenMatches:
    """How a reranker's score of one passage comes about.

    `query` and `passage` are the places of the tokens that count, in the query's window and in the
    passage's text. `similar` float32 (query tokens, passage tokens). A query token adds `points`,
    float32 (query tokens,), times its greatest similarity; `rest` is the score without any.
    """

    query: Sequence[Span]
    passage: Sequence[Span]
    similar: NDArray[np.float32]
    points: NDArray[np.float32]
    rest: float


@dataclass(frozen=True, slots=True)
class TokenStates:
    """One text seen through a transformer.

    `ids` int32 (n,): its pieces, special tokens and prefix counted. `states` float32
    (n, layers x hidden): the chosen layers' states side by side, each of unit length. `pooled`
    float32 (hidden,): the bi-encoder's own vector, of unit length. `truncated`: the text had more
    pieces than the window.
    """

    ids: NDArray[np.int32]
    states: NDArray[np.float32]
    pooled: NDArray[np.float32]
    truncated: bool


@dataclass(frozen=True, slots=True)
class EncodedQuery:
    """A query as the encoder read it.

    `windows` are the parts that it was read in: the query alone where it fits the encoder's window.
    `vectors` float32 (windows, dim), rows of unit length. `tokens` counts the whole query. `states`
    has the token states of each window, or nothing where the reranker reads none.
    """

    windows: tuple[str, ...]
    vectors: Vectors
    tokens: int
    states: tuple[TokenStates, ...] = ()


@dataclass(frozen=True, slots=True)
class EncodedPassage:
    """A passage as a reranker is given it.

    `source` is its text without prefix, or gives it: a reranker with stored states needs no text,
    and to clean a hundred takes milliseconds. `packed` is what the reranker once made of the
    passage to be stored; None where nothing is. `window` is the place of the query's window to
    compare it with.
    """

    source: str | Callable[[], str]
    packed: bytes | None = None
    window: int = 0

    @property
    def text(self) -> str:
        """What it says, without prefix."""
        return self.source if isinstance(self.source, str) else self.source()


@dataclass(frozen=True, slots=True)
class EncoderIdentity:
    """All that decides what a text's vector is."""

    model: str
    weights_sha256: str
    dimension: int
    query_prefix: str
    passage_prefix: str
    max_length: int
    normalizer_version: int

    @property
    def prefixes(self) -> tuple[str, str]:
        """Of a query and of a passage."""
        return self.query_prefix, self.passage_prefix


@dataclass(frozen=True, slots=True)
class IndexIdentity(EncoderIdentity):
    """All that decides what an index stores of a document. Any other index is refused.

    The versions are those of `text.chunker`, `text.passage` and `words`; `passage_overlap` is in
    tokens.
    """

    chunker_version: int = 0
    passage_text_version: int = 0
    words_version: int = 0
    passage_overlap: int = 0

    def differences(self, here: "IndexIdentity") -> dict[str, str]:
        """The fields in which `here` differs, and a sentence about each."""
        return {
            name: f"{name} is {there!r} there, {own!r} here"
            for name in (field.name for field in fields(self))
            if (there := getattr(self, name)) != (own := getattr(here, name))
        }


@dataclass(frozen=True, slots=True)
class Refused:
    """A row that was not taken in: its place (1-based line, if there are lines) and the reason."""

    source: str
    line: int | None
    field: str | None
    reason: str
