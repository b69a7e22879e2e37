"""Readers that turn files into documents, and labelled files into collections and rows."""

from service.collection.beir import read_beir, write_beir
from service.collection.describe import Labels, describe, find_problems, open_labels
from service.collection.files import count_rows, read_documents, unread_files
from service.collection.labels import Collection
from service.collection.layouts import data_sha256, open_collection
from service.collection.levels import (
    LevelledCollection,
    LevelledQuery,
    article_key,
    derive_levels,
    graded,
    levels_from_grades,
    read_levels,
    write_levels,
)
from service.collection.rows import Row
from service.collection.training_rows import (
    LabelledPair,
    TrainingRow,
    read_labelled_pairs,
    read_training_rows,
    rows_kind,
    write_labelled_pairs,
    write_training_rows,
)

__all__ = [
    "Collection",
    "LabelledPair",
    "Labels",
    "LevelledCollection",
    "LevelledQuery",
    "Row",
    "TrainingRow",
    "article_key",
    "count_rows",
    "data_sha256",
    "derive_levels",
    "describe",
    "find_problems",
    "graded",
    "levels_from_grades",
    "open_collection",
    "open_labels",
    "read_beir",
    "read_documents",
    "read_labelled_pairs",
    "read_levels",
    "read_training_rows",
    "rows_kind",
    "unread_files",
    "write_beir",
    "write_labelled_pairs",
    "write_levels",
    "write_training_rows",
]
