"""A cross-encoder: one pass through a transformer for every (query, passage) pair."""

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from cachetools import LRUCache
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from service.errors import InferenceError, ModelSourceError, UnprocessableTextError
from service.protocols import Reranker
from service.reranker.forward import Forward, Logits, TorchForward, load_classifier
from service.reranker.onnx_forward import OnnxForward
from service.reranker.pair_tokens import PairTokenizer, TokenPair, digest
from service.types import Backend, EncodedPassage, EncodedQuery, PairScore, Reads

Pair = tuple[str, str]
"""Query and passage."""

FEWEST_PASSAGE_TOKENS = 16
"""A query must leave at least this much of the window: a pair without a passage says nothing."""

_DECIMALS = 4
"""Of a logit: what is below them depends on the device and on a batch's other pairs."""


@dataclass(frozen=True, slots=True)
class CrossEncoderOptions:
    """What runs a cross-encoder, and what it remembers.

    `onnx_file` is what `prepare_onnx` wrote, for the backends of that name, which run on the CPU.
    Texts are tokenised once and their ids kept up to `cache_bytes`; `score_cache` scores are kept.
    A passage of more tokens than `passage_window` is cut to the part of that many that shares most
    with the query; 0 for never. `variant` names all of this that decides a score.
    """

    backend: Backend = "torch"
    onnx_file: Path | None = None
    cache_bytes: int = 0
    score_cache: int = 0
    passage_window: int = 0
    variant: str = ""


class CrossEncoderReranker(Reranker):
    """Scores are raw logits, rounded to 0.0001.

    A pair is cut to `max_length` tokens, or to the model's own maximum if that is less, at its
    passage's end and never in its query. Calls from several threads wait for each other.
    """

    reads: Reads = "token ids"
    slice_size = 10
    """Tenths of a second on a CPU."""

    def __init__(
        self,
        folder: Path,
        *,
        model: str,
        weights_sha256: str,
        max_length: int,
        batch_tokens: int,
        device: str = "auto",
        threads: int = 0,
        options: CrossEncoderOptions = CrossEncoderOptions(),
    ) -> None:
        """Load the model; raises `ModelSourceError` when it cannot be, or gives several scores.

        `device` and `threads` are as for `service.encoder.bi_encoder.BiEncoder`.
        """
        self.model, self.weights_sha256, self.variant = model, weights_sha256, options.variant
        self.backend = options.backend
        self._lock = threading.Lock()
        if threads:
            torch.set_num_threads(threads)
        tokenizer: PreTrainedTokenizerBase
        if options.onnx_file is not None:
            tokenizer = _tokenizer(folder, model)
            limit = tokenizer.model_max_length
            self._forward: Forward = OnnxForward(options.onnx_file, threads=threads)
        else:
            loaded = load_classifier(folder, model, device)
            tokenizer, limit = loaded.tokenizer, loaded.max_length or max_length
            dtype = torch.bfloat16 if options.backend == "torch-bf16" else torch.float32
            self._forward = TorchForward(
                loaded.network,
                dtype=dtype,
                batch_tokens=batch_tokens,
                takes_types=loaded.takes_types,
            )
        self._tokenizer = PairTokenizer(
            tokenizer,
            max_length=min(max_length, limit),
            cache_bytes=options.cache_bytes,
            window=options.passage_window,
        )
        self._scores: LRUCache[bytes, PairScore] = LRUCache(options.score_cache)

    def score(
        self, query: EncodedQuery, slices: Iterable[Sequence[EncodedPassage]], /
    ) -> Iterator[list[PairScore]]:
        """Logits, all finite.

        Raises `UnprocessableTextError` for a query that leaves the passage too little room, and
        `InferenceError` for a score that is not finite.
        """
        for passages in slices:
            pairs = [(query.windows[p.window], p.text) for p in passages]
            stored = {p.text: p.packed for p in passages if p.packed is not None}
            with self._lock:
                scores = self._known_or_scored(pairs, stored)
            yield scores

    def pack(self, texts: Sequence[str], /) -> list[bytes]:
        """Token ids of passages. Raises `InferenceError`."""
        with self._lock, self._errors():
            return self._tokenizer.pack(texts)

    def _known_or_scored(
        self, pairs: Sequence[Pair], stored: Mapping[str, bytes]
    ) -> list[PairScore]:
        keys = {pair: _key(pair) for pair in pairs}
        known = {pair: score for pair, key in keys.items() if (score := self._scores.get(key))}
        missing = [pair for pair in keys if pair not in known]
        if missing:
            for pair, score in zip(missing, self._score(missing, stored), strict=True):
                known[pair] = score
                with suppress(ValueError):  # a cache of size 0
                    self._scores[keys[pair]] = score
        return [known[pair] for pair in pairs]

    def _score(self, pairs: Sequence[Pair], stored: Mapping[str, bytes]) -> list[PairScore]:
        with self._errors():
            read = self._read(pairs, stored)
            logits = self._forward.logits(read)
        return self._rounded(logits, read)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Whatever fails within is an `InferenceError`, or the text's own fault."""
        try:
            yield
        except UnprocessableTextError:
            raise
        except Exception as error:  # the libraries raise whatever their parts raise
            raise InferenceError(f"{self.model} failed: {type(error).__name__}") from error

    def _rounded(self, logits: Logits, read: Sequence[TokenPair]) -> list[PairScore]:
        if not np.isfinite(logits).all():
            raise InferenceError(f"{self.model} gave a score that is not finite")
        return [
            PairScore(round(float(logit), _DECIMALS), pair.truncated)
            for logit, pair in zip(logits, read, strict=True)
        ]

    def _read(self, pairs: Sequence[Pair], stored: Mapping[str, bytes]) -> list[TokenPair]:
        queries, passages = ({pair[place] for pair in pairs} for place in (0, 1))
        tokens = self._tokenizer.tokens(sorted(queries))
        tokens |= self._tokenizer.tokens(sorted(passages), stored)
        limit = self._tokenizer.room - FEWEST_PASSAGE_TOKENS
        longest = max(len(tokens[query]) for query, _passage in pairs)
        if longest > limit:
            raise UnprocessableTextError(
                f"the query has {longest} tokens; to be reranked it may have at most {limit}",
                "query",
            )
        return [self._tokenizer.pair(query, passage, tokens) for query, passage in pairs]


def _key(pair: Pair) -> bytes:
    query, passage = pair
    # The query's length parts it from the passage, whatever either holds.
    return digest(f"{len(query)}\0{query}{passage}")


def _tokenizer(folder: Path, name: str) -> PreTrainedTokenizerBase:
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
    except Exception as error:  # the library raises whatever its parts raise
        raise ModelSourceError(f"{name} cannot be loaded from {folder}: {error}") from error
    return tokenizer
