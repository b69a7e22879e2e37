"""The labelled passages that every system is asked about.

Made ones are an inverse cloze task (Lee, Chang and Toutanova, ACL 2019): a sentence is taken out of
its passage and becomes a query, and that passage is the answer. Others are BEIR folders.
"""

import hashlib
import random
import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.speed.prose import PACKAGES, pages, sentences
from service.datasets import Collection, open_collection
from service.datasets.beir import write_beir
from service.evaluation.provenance import versions
from service.text.passage import cut_document, passage_text
from service.types import Document

SEED = 5
SHORTEST, LONGEST = 130, 210
"""Tokens of a passage before a sentence is taken out of some; each length is as likely."""

QUERY_WORDS = (8, 30)
FORMAT = 1
"""Counted up where the same numbers would make another corpus."""

CountTokens = Callable[[Sequence[str]], list[int]]
Page = tuple[str, list[str]]


@dataclass(frozen=True, slots=True)
class Corpus:
    """Passages by id, queries by id, and query id -> passage id -> grade."""

    name: str
    folder: Path
    passages: dict[str, str]
    queries: dict[str, str]
    qrels: dict[str, dict[str, int]]

    @property
    def sha256(self) -> str:
        """Of all passages and queries, in their order."""
        digest = hashlib.sha256()
        for id_, text in (*self.passages.items(), *self.queries.items()):
            digest.update(f"{id_}\0{text}\0".encode())
        return digest.hexdigest()


def made(parent: Path, passages: int, queries: int, count_tokens: CountTokens) -> Corpus:
    """The corpus of so many passages: the one in `parent`, or one that is made there now."""
    stated = (
        f"{FORMAT} {SEED} {passages} {queries} {versions(PACKAGES)} {versions(['scikit-learn'])}"
    )
    folder = parent / f"made-{hashlib.sha256(stated.encode()).hexdigest()[:12]}"
    if not folder.exists():
        parent.mkdir(parents=True, exist_ok=True)
        write_beir(folder, make(pages(), passages, queries, count_tokens))
    return load(folder, "made")


def of_collection(
    parent: Path, source: Path, budget: int, count_tokens: CountTokens, most: int
) -> Corpus:
    """A BEIR folder, of each document what fits one passage of `budget` tokens.

    So every system ranks the same texts. `most` documents at most: the judged ones first.
    """
    found = open_collection(source)
    judged = {id_ for grades in found.qrels.values() for id_ in grades}
    ordered = sorted(found.documents, key=lambda document: document.id not in judged)[:most]
    documents = []
    for document in ordered:
        cut = cut_document(document, budget=budget, overlap=0, count_tokens=count_tokens)
        if cut.spans:
            first, title = cut.spans[0], document.title[: cut.title_end]
            text = passage_text(title, document.text[first.start : first.end])
            documents.append(Document(document.id, text))
    there = {document.id for document in documents}
    qrels = {
        query: {id_: grade for id_, grade in grades.items() if id_ in there}
        for query, grades in found.qrels.items()
    }
    kept = {query: grades for query, grades in qrels.items() if any(map(bool, grades.values()))}
    queries = {query: found.queries[query] for query in kept}
    key = hashlib.sha256(repr((budget, most, documents, kept)).encode()).hexdigest()[:12]
    folder = parent / f"{found.name}-{key}"
    if not folder.exists():
        parent.mkdir(parents=True, exist_ok=True)
        write_beir(folder, Collection(found.name, documents, queries, kept))
    return load(folder, found.name)


def load(folder: Path, name: str) -> Corpus:
    """Read what one of the two above wrote."""
    found = open_collection(folder)
    passages = {document.id: document.text for document in found.documents}
    qrels = {query: dict(grades) for query, grades in found.qrels.items()}
    return Corpus(name, folder, passages, dict(found.queries), qrels)


def make(
    source: Iterable[Page], passages: int, queries: int, count_tokens: CountTokens
) -> Collection:
    """Passages of whole sentences from the pages, of lengths drawn with a seed, and queries.

    Raises `ValueError` where the pages are not enough for so many.
    """
    draw = random.Random(SEED)  # noqa: S311 - no secret
    every = list(source)
    found = [passage for page in every for passage in _passages(page, draw, count_tokens)]
    if len(found) < passages:
        raise ValueError(f"the pages give {len(found)} passages; {passages} are wanted")
    times = Counter(sentence for passage in found for sentence in passage)
    chosen = draw.sample(found, passages)
    documents: list[Document] = []
    asked: dict[str, str] = {}
    qrels: dict[str, dict[str, int]] = {}
    for number, passage in enumerate(chosen):
        fits = [
            sentence
            for sentence in passage[1:]
            if times[sentence] == 1 and QUERY_WORDS[0] <= len(sentence.split()) <= QUERY_WORDS[1]
        ]
        if len(asked) < queries and len(passage) > 3 and fits:
            query = draw.choice(fits)
            asked[f"q{number}"] = query
            qrels[f"q{number}"] = {f"p{number}": 1}
            fits = [query]
        else:
            fits = []
        kept = [sentence for sentence in passage if sentence not in fits]
        documents.append(Document(f"p{number}", " ".join(kept)))
    if len(asked) < queries:
        raise ValueError(f"the passages give {len(asked)} queries; {queries} are wanted")
    return Collection("made", documents, asked, qrels)


def _passages(page: Page, draw: random.Random, count_tokens: CountTokens) -> list[list[str]]:
    """Lists of sentences; what is left at a page's end and too short is dropped."""
    pieces = [sentence for paragraph in page[1] for sentence in sentences(paragraph)]
    done: list[list[str]] = []
    passage: list[str] = []
    tokens, wanted = 0, draw.randint(SHORTEST, LONGEST)
    for piece, length in zip(pieces, count_tokens(pieces), strict=True):
        if length > SHORTEST or (tokens + length > LONGEST and tokens < SHORTEST):
            passage, tokens = [], 0  # a sentence as long as a passage
            continue
        if tokens + length > wanted and tokens >= SHORTEST:
            done.append(passage)
            passage, tokens, wanted = [], 0, draw.randint(SHORTEST, LONGEST)
        passage.append(piece)
        tokens += length
    return [*done, passage] if SHORTEST <= tokens <= LONGEST else done


def described(corpus: Corpus, count_tokens: CountTokens) -> dict[str, object]:
    """What a result says of it."""
    lengths = count_tokens(list(corpus.passages.values()))
    return {
        "name": corpus.name,
        "sha256": corpus.sha256,
        "passages": len(corpus.passages),
        "queries": len(corpus.queries),
        "mean_tokens": round(statistics.mean(lengths), 1),
        "longest_tokens": max(lengths),
    }
