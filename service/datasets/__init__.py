"""Readers of labelled collections and training rows."""

from service.datasets.beir import write_beir
from service.datasets.describe import Labels, describe, find_problems, open_labels
from service.datasets.labels import Collection
from service.datasets.layouts import (
    count_rows,
    data_sha256,
    open_collection,
    read_documents,
    unread_files,
)
from service.datasets.levels import (
    LevelledCollection,
    LevelledQuery,
    article_key,
    derive_levels,
    graded,
    levels_from_grades,
    read_levels,
    write_levels,
)
from service.datasets.training_rows import (
    LabelledPair,
    TrainingRow,
    read_labelled_pairs,
    read_training_rows,
    rows_kind,
    write_training_rows,
)
