"""Negatives for training: mined from the model's own neighbours, BM25, levels, or at random."""

from service.training.mining.choice import Choice, Mined
from service.training.mining.compose import mine_both, mine_random, mine_smart
from service.training.mining.examples import (
    Examples,
    from_collection,
    from_rows,
)
from service.training.mining.lexical import mine_bm25
from service.training.mining.neighbours import Encode, mine_dense
from service.training.mining.queries import QueryFor
from service.training.mining.report import MiningReport
from service.training.texts import passage_text

__all__ = [
    "Choice",
    "Encode",
    "Examples",
    "Mined",
    "MiningReport",
    "QueryFor",
    "from_collection",
    "from_rows",
    "mine_bm25",
    "mine_both",
    "mine_dense",
    "mine_random",
    "mine_smart",
    "passage_text",
]
