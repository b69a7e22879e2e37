"""Candidates for negatives: the model's neighbours, BM25's best, siblings, or any passages.

Mining the model's own neighbours again as it changes is ANCE (Xiong et al., *Approximate Nearest
Neighbor Negative Contrastive Learning for Dense Text Retrieval*, ICLR 2021). The margin under the
positive's score follows NV-Retriever (Moreira et al., 2024).
"""

import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.errors import TrainingError
from service.extras import install_command
from service.index.faiss_index import FaissIndex
from service.training.mining.choice import Choice, Ranking
from service.training.mining.examples import Examples
from service.types import Vectors
from service.words import tokenize

Encode = Callable[[Sequence[str]], Vectors]
"""Texts -> float32 (n, dim), rows of unit length, input order; adds the model's own prefix."""

_QUERIES_AT_ONCE = 512


def rank_dense(
    queries: Vectors, passages: Vectors, examples: Examples, choice: Choice
) -> list[Ranking]:
    """Each query's nearest passages, enough for the choice's window; ties by place.

    By inner product, found exactly. Raises `InferenceError` for vectors that are not finite.
    """
    index = FaissIndex.build(
        [(np.arange(len(passages), dtype=np.int64), passages)],
        dimension=passages.shape[1],
        kind="flat",
    )
    wanted = choice.rank_max + max(map(len, examples.positives))
    rankings = []
    for start in range(0, len(queries), _QUERIES_AT_ONCE):
        found = index.search(queries[start : start + _QUERIES_AT_ONCE], wanted)
        for query, candidates in enumerate(found, start):
            places = np.array([candidate.passage_id for candidate in candidates], np.int64)
            scores = np.array([candidate.score for candidate in candidates], np.float64)
            positives = cosines(queries[query], passages, examples.positives[query])
            rankings.append(Ranking(places, scores, positives))
    return rankings


def rescored(
    rankings: Iterable[Ranking], queries: Vectors, passages: Vectors, examples: Examples
) -> list[Ranking]:
    """The same candidates in the same order with their cosines in place of their scores."""
    return [
        Ranking(
            ranking.places,
            cosines(queries[query], passages, ranking.places),
            cosines(queries[query], passages, examples.positives[query]),
        )
        for query, ranking in enumerate(rankings)
    ]


def cosines(
    query: NDArray[np.float32], passages: Vectors, places: Sequence[int] | NDArray[np.int64]
) -> NDArray[np.float64]:
    """Inner products of one vector (dim,) with the passages at `places`, in [-1, 1]."""
    chosen = passages[np.asarray(places, np.int64)].astype(np.float64)
    # Summed as the index sums, so that a candidate and a positive can be compared to the last bit.
    products: NDArray[np.float64] = (chosen * query.astype(np.float64)).sum(axis=1)
    return products.clip(-1.0, 1.0)


def rank_bm25(examples: Examples, choice: Choice) -> list[Ranking]:
    """Each query's best passages, enough for the choice's window; ties by place.

    Scores are BM25's (Lucene's variant, k1 1.5, b 0.75): 0 and above, without an upper bound, not
    comparable between queries. Passages that share no word with the query are no candidates.
    """
    index = _index([tokenize(text) for text in examples.passages])
    wanted = choice.rank_max + max(map(len, examples.positives))
    rankings = []
    for query, positives in zip(examples.queries, examples.positives, strict=True):
        scores = _scores(index, tokenize(query), len(examples.passages))
        places = _best(scores, wanted)
        rankings.append(Ranking(places, scores[places], scores[list(positives)]))
    return rankings


def _index(words: Sequence[Sequence[str]]) -> Any:
    try:
        import bm25s  # noqa: PLC0415
    except ImportError as error:
        raise TrainingError(f"BM25 needs the package bm25s: {install_command('train')}") from error
    index = bm25s.BM25(method="lucene", k1=1.5, b=0.75)
    # A passage without a word would leave an index of no words at all without a vocabulary.
    index.index([list(found) or [""] for found in words], show_progress=False)
    return index


def _scores(index: Any, words: Sequence[str], passages: int) -> NDArray[np.float64]:
    known = [word for word in words if word in index.vocab_dict]
    if not known:
        return np.zeros(passages)
    return np.asarray(index.get_scores(known), np.float64)


def _best(scores: NDArray[np.float64], count: int) -> NDArray[np.int64]:
    """Places of the `count` highest scores above 0, best first."""
    places = np.flatnonzero(scores > 0)
    if len(places) > count:
        kth = np.partition(scores[places], -count)[-count]
        places = places[scores[places] >= kth]  # ties at the cut-off are settled by place
    return places[np.lexsort((places, -scores[places]))][:count]


def rank_siblings(examples: Examples, choice: Choice) -> Iterator[Ranking]:
    """Each query's wrong passages of its right ones' articles, shuffled; without scores."""
    members: dict[str, list[int]] = defaultdict(list)
    for place, articles in enumerate(examples.articles):
        for article in sorted(articles):
            members[article].append(place)
    for query, positives in zip(examples.queries, examples.positives, strict=True):
        own = {article for place in positives for article in examples.articles[place]}
        found = sorted({p for article in own for p in members[article]} - set(positives))
        random.Random(f"{choice.seed}:{query}").shuffle(found)  # noqa: S311
        yield _unscored(found, positives)


def rank_random(examples: Examples, choice: Choice) -> Iterator[Ranking]:
    """Each query's draw, when its turn comes: all of them would not fit into memory."""
    for query, positives in zip(examples.queries, examples.positives, strict=True):
        count = min(len(examples.passages), choice.rank_max + len(positives))
        draw = random.Random(f"{choice.seed}:{query}")  # noqa: S311
        yield _unscored(draw.sample(range(len(examples.passages)), count), positives)


def _unscored(places: Sequence[int], positives: Sequence[int]) -> Ranking:
    nothing = np.full(len(positives), np.nan)
    return Ranking(np.array(places, np.int64), np.full(len(places), np.nan), nothing)
