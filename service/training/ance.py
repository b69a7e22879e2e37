"""Groups of a query, its positive and its negatives, whose negatives change while a model trains.

ANCE: negatives are the model's own nearest wrong passages, mined again as the model changes (Xiong
et al., *Approximate Nearest Neighbor Negative Contrastive Learning for Dense Text Retrieval*, ICLR
2021).
"""

# ruff: noqa: ARG002 - the library decides what its callbacks are given

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers import TrainerCallback, TrainerState

from service.datasets import TrainingRow, read_training_rows, write_training_rows
from service.training.batch_texts import prefixed

NEGATIVES = "negatives.jsonl"
"""In a checkpoint: the groups as they were when it was written."""

_ROW = "row"


class Groups:
    """Training rows as the columns query, positive, negative_1 ..., negative_query_1 ...

    Each row has one positive and the same number of negatives. `with_queries` adds the columns of
    the negatives' own queries. `prefixes` are those of queries and passages.
    """

    def __init__(
        self, rows: Iterable[TrainingRow], prefixes: tuple[str, str], *, with_queries: bool
    ) -> None:
        self.rows = list(rows)
        self._prefixes, self._with_queries = prefixes, with_queries

    def dataset(self) -> Dataset:
        """A view: what is read from it are the negatives of that moment."""
        columns = self._columns(self.rows)
        dataset = Dataset.from_dict({**columns, _ROW: list(range(len(self.rows)))})
        dataset.set_transform(self._at_present)
        return dataset

    def renew(self, rows: Iterable[TrainingRow]) -> None:
        """Take the negatives of these rows; groups that none of them is of keep theirs."""
        new = {(row.query, row.positives): row for row in rows}
        self.rows = [new.get((row.query, row.positives), row) for row in self.rows]

    def _at_present(self, batch: dict[str, list[Any]]) -> dict[str, list[str]]:
        return self._columns([self.rows[place] for place in batch[_ROW]])

    def _columns(self, rows: Sequence[TrainingRow]) -> dict[str, list[str]]:
        query, passage = self._prefixes
        columns = {
            "query": [prefixed(row.query, query) for row in rows],
            "positive": [prefixed(row.positives[0], passage) for row in rows],
        }
        count = len(rows[0].negatives) if rows else 0
        for j in range(count):
            columns[f"negative_{j + 1}"] = [prefixed(row.negatives[j], passage) for row in rows]
        for j in range(count if self._with_queries else 0):
            own = [prefixed(row.negative_queries[j], query) for row in rows]
            columns[f"negative_query_{j + 1}"] = own
        return columns


class AnceRefresh(TrainerCallback):
    """Mines the groups' negatives every `every` optimizer steps; with 0, after each epoch.

    `mine` gives rows by the current model. The groups are part of each checkpoint, so that a
    training that is resumed goes on with the negatives that it had.
    """

    def __init__(
        self, groups: Groups, mine: Callable[[], Iterable[TrainingRow]], every: int
    ) -> None:
        self._groups, self._mine, self._every = groups, mine, every

    def on_train_begin(self, args: Any, state: TrainerState, *_: Any, **__: Any) -> None:
        """Of a training that is resumed: back to its negatives."""
        if state.global_step:
            kept = _checkpoint(args, state) / NEGATIVES
            # Killed after the checkpoint and before this file: what the model finds now will do.
            self._groups.renew(read_training_rows(kept) if kept.exists() else self._mine())

    def on_step_begin(self, args: Any, state: TrainerState, *_: Any, **__: Any) -> None:
        """Mine where it is due.

        Not at the end of the step before: a checkpoint of that step must hold what was there
        before, or a resumed training would read its first batch with other negatives.
        """
        if state.global_step and self._is_due(state):
            self._groups.renew(self._mine())

    def on_save(self, args: Any, state: TrainerState, *_: Any, **__: Any) -> None:
        write_training_rows(_checkpoint(args, state) / NEGATIVES, self._groups.rows)

    def _is_due(self, state: TrainerState) -> bool:
        if self._every:
            return state.global_step % self._every == 0
        return state.epoch is not None and float(state.epoch).is_integer()


def _checkpoint(args: Any, state: TrainerState) -> Path:
    return Path(str(args.output_dir)) / f"checkpoint-{state.global_step}"
