"""Train, validation and test by query; related queries stay together."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TypeVar

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from service.datasets.labels import Collection
from service.datasets.levels import ArticleOf
from service.errors import InvalidInputError

_Member = TypeVar("_Member", str, tuple[int, str])

_QUERY, _TEXT, _DOCUMENT, _ARTICLE = range(4)


def split_collection(
    collection: Collection,
    shares: Mapping[str, float],
    *,
    seed: int = 0,
    article_of: ArticleOf | None = None,
) -> dict[str, Collection]:
    """Judged queries by name of `shares`, which sum to 1; each part keeps all documents.

    The hash of `seed` and a query's id decides its part. The order of the file and other queries
    do not matter, and the sizes are about the shares. Queries with the same text or a common right
    document stay together, with `article_of` also those of one article; the least id among them
    decides. Raises `InvalidInputError` for shares that do not sum to 1 and for a part without
    queries.
    """
    if not shares or min(shares.values()) <= 0 or abs(sum(shares.values()) - 1) > 1e-9:
        raise InvalidInputError("the shares must be above 0 and sum to 1", "shares")
    parts: dict[str, list[str]] = {name: [] for name in shares}
    for query, group in _groups(collection, article_of).items():
        parts[_part(f"{seed}:{group}", shares)].append(query)
    for name, queries in parts.items():
        if not queries:
            raise InvalidInputError(f"{collection.name}: no query falls into {name}", "shares")
    return {name: _only(collection, name, queries) for name, queries in parts.items()}


def hash_share(text: str) -> float:
    """Where a text's SHA-256 falls in [0, 1)."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64


def joined(groups: Iterable[Iterable[_Member]]) -> dict[_Member, _Member]:
    """Each member's group, named by its least member: groups that share a member are one group."""
    members = [list(group) for group in groups]
    names = sorted({member for group in members for member in group})
    place = {name: number for number, name in enumerate(names)}
    edges = sorted({(place[group[0]], place[member]) for group in members for member in group})
    rows, columns = np.array(edges, np.int64).reshape(-1, 2).T
    shape = (len(names), len(names))
    graph = coo_array((np.ones(len(rows), np.int8), (rows, columns)), shape=shape)
    _, labels = connected_components(graph, directed=False)
    least: dict[int, _Member] = {}
    for name, label in zip(names, labels.tolist(), strict=True):
        least.setdefault(label, name)
    return {name: least[label] for name, label in zip(names, labels.tolist(), strict=True)}


def _part(key: str, shares: Mapping[str, float]) -> str:
    place, end = hash_share(key), 0.0
    for name, share in shares.items():
        end += share
        if place < end:
            return name
    return name  # the sum of the shares may fall short of 1 by a rounding


def _groups(collection: Collection, article_of: ArticleOf | None) -> dict[str, str]:
    article = {d.id: article_of(d) if article_of else None for d in collection.documents}
    shared: list[list[tuple[int, str]]] = []
    for query, judged in collection.qrels.items():
        members = [(_QUERY, query), (_TEXT, collection.queries[query])]
        for document, grade in judged.items():
            if grade > 0:
                key = article[document]
                members.append((_DOCUMENT, document) if key is None else (_ARTICLE, key))
        shared.append(members)
    # `_QUERY` sorts first, so the least member of each group is a query.
    return {name: least for (kind, name), (_, least) in joined(shared).items() if kind == _QUERY}


def _only(collection: Collection, name: str, queries: list[str]) -> Collection:
    return replace(
        collection,
        name=f"{collection.name}-{name}",
        queries={query: collection.queries[query] for query in queries},
        qrels={query: collection.qrels[query] for query in queries},
        unfindable={q: collection.unfindable[q] for q in queries if q in collection.unfindable},
    )
