"""Stable Static Embedding: the mean of a text's token rows, through a separable dynamic tanh."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from sentence_transformers.base.modules import InputModule
from tokenizers import Tokenizer
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast

from service.encoder.four_bits import pack, unpack
from service.encoder.word_tokens import WordTokens

Precision = Literal["float32", "4-bit"]

UNKNOWN = "<unk>"
MAX_LENGTH = 8192
"""Tokens; the module itself has no limit, but a text must have one."""

_WEIGHTS, _TOKENIZER, _CONFIG = "model.safetensors", "tokenizer.json", "config.json"


class SeparableDyT(nn.Module):
    """Dynamic tanh for each dimension k by itself: y_k = c_k * tanh(a_k * x_k + b_k).

    Its gradient for x_k is c_k * a_k * sech^2(a_k * x_k + b_k): dimensions that are already large
    learn little, the others fully. At the start a and c are 1 and b is 0.

    References:
        Zhu et al., "Transformers without Normalization", CVPR 2025 (dynamic tanh); RikkaBotan,
        "Stable Static Embedding" (its separable form after a static embedding).
    """

    def __init__(self, dimension: int) -> None:
        """`dimension` is the number of independent triples (a, b, c)."""
        super().__init__()
        self.a = nn.Parameter(torch.ones(dimension))
        self.b = nn.Parameter(torch.zeros(dimension))
        self.c = nn.Parameter(torch.ones(dimension))

    def forward(self, x: Tensor) -> Tensor:
        """(n, dimension) -> (n, dimension)."""
        return self.c * torch.tanh(self.a * x + self.b)


class SSE(InputModule):
    """A static embedding as the only module of a sentence-transformers model.

    Tokens have one row each; their mean goes through a `SeparableDyT`. A text without tokens counts
    as one unknown token. Vectors are not normalised. Trained with a Matryoshka loss, their first
    `matryoshka_dims` dimensions are vectors of their own.

    `precision` decides how `save` writes the rows: `float32`, or `4-bit` in blocks of `block`
    weights with one float16 scale each (`service.encoder.four_bits`). Loaded rows are float32
    always.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        dimension: int = 512,
        *,
        matryoshka_dims: Sequence[int] = (),
        precision: Precision = "float32",
        block: int = 128,
    ) -> None:
        """Rows start as zeros: give them values, or load them.

        Raises `ValueError` when the tokenizer has no `<unk>`, or a size in `matryoshka_dims` is
        not from 1 to `dimension`.
        """
        super().__init__()  # type: ignore[no-untyped-call]
        unknown = tokenizer.token_to_id(UNKNOWN)
        if unknown is None:
            raise ValueError(f"the tokenizer has no {UNKNOWN}")
        if not all(1 <= size <= dimension for size in matryoshka_dims):
            raise ValueError(f"matryoshka_dims {matryoshka_dims} are not within 1 to {dimension}")
        tokenizer.no_padding()
        tokenizer.no_truncation()
        self._pieces, self._words = tokenizer, WordTokens(tokenizer)
        self.tokenizer = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
            tokenizer_object=tokenizer, unk_token=UNKNOWN, model_max_length=MAX_LENGTH
        )
        self.max_seq_length: int = MAX_LENGTH
        self.matryoshka_dims = tuple(sorted(matryoshka_dims, reverse=True))
        self.precision, self.block = precision, block
        self._unknown: int = unknown
        rows = torch.zeros(tokenizer.get_vocab_size(), dimension)
        self.embedding = nn.EmbeddingBag.from_pretrained(rows, freeze=False, mode="mean")
        self.dyt = SeparableDyT(dimension)

    @property
    def dimension(self) -> int:
        """Of a whole vector."""
        return self.embedding.embedding_dim

    def get_embedding_dimension(self) -> int:
        """The same, under the name by which sentence-transformers asks."""
        return self.dimension

    def preprocess(
        self, inputs: Sequence[Any], prompt: str | None = None, **_: Any
    ) -> dict[str, Tensor]:
        """Texts -> all their token ids in a row, int64, and where each text starts, int64 (n,)."""
        texts = [(prompt or "") + str(text) for text in inputs]
        return self.bags([tokens[: self.max_seq_length] for tokens in self.tokens(texts)])

    def tokens(self, texts: Sequence[str]) -> list[NDArray[np.int64]]:
        """Token ids of each text, int64 (tokens,), nothing cut. Any thread may call it."""
        return [np.array(ids, np.int64) for ids in self._words(texts)]

    def bags(self, tokens: Sequence[NDArray[np.int64]]) -> dict[str, Tensor]:
        """Token ids of each text -> what `preprocess` gives."""
        unknown = np.array([self._unknown])
        rows = [own if len(own) else unknown for own in tokens]
        lengths = np.cumsum([0, *map(len, rows)])
        ids = np.concatenate(rows) if rows else np.empty(0, np.int64)
        return {"input_ids": torch.from_numpy(ids), "offsets": torch.from_numpy(lengths[:-1])}

    def forward(self, features: dict[str, Any], **_: Any) -> dict[str, Any]:
        """Adds `sentence_embedding`, float (n, dimension)."""
        means = self.embedding(features["input_ids"], features["offsets"])
        features["sentence_embedding"] = self.dyt(means)
        return features

    def get_config_dict(self) -> dict[str, Any]:
        """What `load` needs, and what `service.models.folder` reads of a folder."""
        return {
            "hidden_size": self.dimension,
            "matryoshka_dims": list(self.matryoshka_dims),
            "precision": self.precision,
            "block": self.block,
            "needs_prefix": False,
        }

    def save(self, output_path: str, *_: Any, safe_serialization: bool = True, **__: Any) -> None:
        """Write weights, configuration and tokenizer; never as a pickle."""
        if not safe_serialization:
            raise ValueError("an SSE is saved as safetensors only")
        folder = Path(output_path)
        tensors = {name: part.detach().cpu() for name, part in self.state_dict().items()}
        if self.precision == "4-bit":
            rows = tensors.pop("embedding.weight")
            tensors["embedding.levels"], tensors["embedding.scales"] = pack(rows, self.block)
        tensors = {name: part.contiguous() for name, part in tensors.items()}
        save_file(tensors, folder / _WEIGHTS, metadata={"format": "pt"})
        _write_json(folder / _CONFIG, self.get_config_dict(), indent=2)
        # Without indentation: the pieces are most of a tokenizer, and their file ships.
        content = json.loads(self._pieces.to_str())
        _write_json(folder / _TOKENIZER, content)
        settings = {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "unk_token": UNKNOWN,
            "model_max_length": MAX_LENGTH,
        }
        _write_json(folder / "tokenizer_config.json", settings, indent=2)

    @classmethod
    def load(cls, model_name_or_path: str, subfolder: str = "", *_: Any, **settings: Any) -> Self:
        """Read what `save` wrote, from a folder or the hub.

        Of the library's settings, those about the hub count. Raises `ValueError` where a file is
        missing or the parts do not fit each other.
        """
        names = ("token", "cache_folder", "revision", "local_files_only")
        hub = {name: settings[name] for name in names if name in settings}
        config, tokenizer, weights = (
            cls.load_file_path(model_name_or_path, name, subfolder=subfolder, **hub)
            for name in (_CONFIG, _TOKENIZER, _WEIGHTS)
        )
        if config is None or tokenizer is None or weights is None:
            raise ValueError(f"{model_name_or_path} lacks {_CONFIG}, {_TOKENIZER} or {_WEIGHTS}")
        stated = json.loads(Path(config).read_text(encoding="utf-8"))
        module = cls(
            Tokenizer.from_file(tokenizer),
            int(stated["hidden_size"]),
            matryoshka_dims=stated.get("matryoshka_dims", ()),
            precision=stated.get("precision", "float32"),
            block=int(stated.get("block", 128)),
        )
        try:
            module.load_state_dict(_decoded(load_file(weights)))
        except RuntimeError as error:
            raise ValueError(f"{weights} does not fit its configuration: {error}") from error
        return module


def _decoded(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    if "embedding.levels" in tensors:
        levels, scales = tensors.pop("embedding.levels"), tensors.pop("embedding.scales")
        tensors["embedding.weight"] = unpack(levels, scales)
    return tensors


def _write_json(path: Path, content: Any, indent: int | None = None) -> None:
    separators = None if indent else (",", ":")
    text = json.dumps(content, ensure_ascii=False, indent=indent, separators=separators)
    path.write_text(text + "\n", encoding="utf-8")
