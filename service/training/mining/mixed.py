"""Negatives from several sources at once: the model's neighbours, BM25, siblings and chance."""

import random
from collections import defaultdict
from collections.abc import Iterator

import numpy as np

from service.training.mining.choice import Choice, Mined, Ranking, choose
from service.training.mining.compose import rank_random
from service.training.mining.examples import Examples
from service.training.mining.lexical import rank_bm25
from service.training.mining.neighbours import rank_dense, rescored
from service.types import Vectors


def mine_mixed(queries: Vectors, passages: Vectors, examples: Examples, choice: Choice) -> Mined:
    """Rows whose negatives come from four sources in turn, each with ranks of its own.

    The sources: nearest passages by inner product, BM25's best, siblings (passages of the right
    ones' articles, in a drawn order), and any passage at all. `queries` (n, dim) and `passages`
    (m, dim) are unit vectors, float32, in the order of `examples`; the choice's margin holds for
    the cosines of all sources but the last, which has no scores.
    """
    dense = rank_dense(queries, passages, examples, choice)
    lexical = rescored(rank_bm25(examples, choice), queries, passages, examples)
    siblings = rescored(list(rank_siblings(examples, choice)), queries, passages, examples)
    anywhere = rank_random(examples, choice)
    return choose(examples, [dense, lexical, siblings, anywhere], choice, strategy="mixed")


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
        yield Ranking(
            np.array(found, np.int64),
            np.full(len(found), np.nan),
            np.full(len(positives), np.nan),
        )
