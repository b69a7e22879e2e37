"""A bi-encoder and a cross-encoder in ONNX Runtime, without any other framework."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

BATCH = 32
LONGEST = 512

Floats = NDArray[np.float32]


class _Model:
    """A file of `onnx_folder.py` and the tokenizer beside it."""

    def __init__(self, file: Path) -> None:
        self._tokenizer = Tokenizer.from_file(str(file.with_name("tokenizer.json")))
        self._tokenizer.enable_truncation(LONGEST)
        self._tokenizer.no_padding()
        self._session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
        self._inputs = {given.name for given in self._session.get_inputs()}

    def _run(self, batch: Sequence[Encoding]) -> tuple[Floats, NDArray[np.int64]]:
        """The output and the attention mask, padded to the longest text of the batch."""
        shape = (len(batch), max(len(one.ids) for one in batch))
        ids, mask, types = (np.zeros(shape, np.int64) for _ in range(3))
        for row, one in enumerate(batch):
            length = len(one.ids)
            ids[row, :length], mask[row, :length] = one.ids, 1
            types[row, :length] = one.type_ids
        given = {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}
        inputs = {name: given[name] for name in self._inputs}
        return self._session.run(None, inputs)[0], mask


class Encoder(_Model):
    """Texts with their prefix to vectors of length 1, the mean of the tokens' states."""

    def encode(self, texts: Sequence[str]) -> Floats:
        """In batches of texts of similar length."""
        encoded = self._tokenizer.encode_batch(list(texts))
        order = sorted(range(len(texts)), key=lambda i: len(encoded[i].ids))
        vectors: list[Floats] = []
        for start in range(0, len(order), BATCH):
            states, mask = self._run([encoded[i] for i in order[start : start + BATCH]])
            sums = np.einsum("btd,bt->bd", states, mask.astype(np.float32))
            vectors.append(sums / np.linalg.norm(sums, axis=1, keepdims=True))
        found = np.concatenate(vectors)
        placed = np.empty_like(found)
        placed[order] = found
        return placed


class CrossEncoder(_Model):
    """A query's passages to logits, in one batch."""

    def scores(self, query: str, passages: Sequence[str]) -> Floats:
        """In input order."""
        pairs = self._tokenizer.encode_batch([(query, passage) for passage in passages])
        return self._run(pairs)[0][:, 0]
