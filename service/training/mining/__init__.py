"""Negatives for training: mined from the model's own neighbours, BM25, levels, or at random."""

from service.training.mining.choice import Choice, Mined, MiningReport
from service.training.mining.compose import mine, mine_smart
from service.training.mining.examples import Examples, from_collection, from_rows
