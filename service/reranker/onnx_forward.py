"""A cross-encoder's pass from token ids to logits in ONNX Runtime, and the files that it needs.

onnx, onnxruntime and onnxscript are the extra `secondpass[onnx]`.
"""

import logging
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from service.errors import ModelSourceError
from service.models.onnx_files import (
    Precision,
    onnx_file,
    onnx_session,
    require_onnx,
    saturates,
)
from service.reranker.forward import Logits, load_classifier
from service.reranker.pair_tokens import TokenPair

_VERSION = 1
"""Rises when the files would become others than before."""

_EXPORTERS = ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")
"""Their loggers, and the modules that their warnings are of."""


class OnnxForward:
    """An exported model, one pair at a time, so that a pair's score depends on the pair alone.

    In int8 the scale of the activations is that of the whole input: in a batch it would be the
    batch's.
    """

    def __init__(self, file: Path, *, threads: int) -> None:
        """Open a file that `prepare_onnx` wrote; `threads` 0 for all cores.

        Raises `ModelSourceError` where onnxruntime cannot.
        """
        self._session = onnx_session(file, threads)
        names = {given.name for given in self._session.get_inputs()}
        self._takes_types = "token_type_ids" in names

    def logits(self, pairs: Sequence[TokenPair], /) -> Logits:
        """float32, shape (n,), in input order."""
        logits = np.empty(len(pairs), np.float32)
        for place, pair in enumerate(pairs):
            inputs = {"input_ids": pair.ids[None]}
            if self._takes_types:
                inputs["token_type_ids"] = pair.types[None]
            logits[place] = self._session.run(None, inputs)[0][0]
        return logits


def prepare_onnx(
    folder: Path,
    name: str,
    weights_sha256: str,
    *,
    cache_dir: Path,
    precision: Precision,
    export: bool = True,
) -> Path:
    """The exported file of the cross-encoder in `folder`, made unless it is there and undamaged.

    It lies in `cache_dir/models`, with its SHA-256 beside it, and goes with the weights' hash.
    Raises `ModuleNotFoundError` where a package is missing, and `ModelSourceError` where it cannot
    be made, or may not be: without `export` nothing is written.
    """
    require_onnx()
    narrow = precision == "int8" and saturates()
    kind = f"{precision}-narrow" if narrow else precision

    def write(file: Path) -> None:
        if precision == "fp32":
            _export(folder, name, file)
        else:
            whole = prepare_onnx(
                folder, name, weights_sha256, cache_dir=cache_dir, precision="fp32"
            )
            _quantise(whole, file, narrow=narrow)

    make = _with_errors(name, write) if export else None
    return onnx_file(cache_dir, weights_sha256, kind, _VERSION, make)


def _with_errors(name: str, write: Callable[[Path], None]) -> Callable[[Path], None]:
    def guarded(file: Path) -> None:
        try:
            with _quiet():
                write(file)
        except (OSError, ModelSourceError):
            raise
        except Exception as error:  # the exporter raises whatever its parts raise
            raise ModelSourceError(
                f"{name} cannot be exported to ONNX: {type(error).__name__}; use another "
                "rerank_backend"
            ) from error

    return guarded


class _Scores(nn.Module):
    """Ids (and types), int64 (n, m) without padding -> logits, float32 (n,)."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, token_type_ids: Tensor | None = None) -> Tensor:
        types = {} if token_type_ids is None else {"token_type_ids": token_type_ids}
        logits: Tensor = self.model(input_ids=input_ids, **types).logits[:, 0]
        return logits


def _export(folder: Path, name: str, file: Path) -> None:
    import onnx  # noqa: PLC0415

    model = load_classifier(folder, name, "cpu")
    ids = torch.arange(2 * 48).reshape(2, 48) + 1000
    types = (torch.arange(48) > 9).long().expand(2, 48)
    inputs = {"input_ids": ids} | ({"token_type_ids": types} if model.takes_types else {})
    free = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
    program: Any = torch.onnx.export(
        _Scores(model.network).eval(),
        tuple(inputs.values()),
        input_names=list(inputs),
        output_names=["logits"],
        dynamic_shapes=dict.fromkeys(inputs, free),
        dynamo=True,
        verbose=False,
    )
    graph = program.model_proto
    # Shapes that the exporter wrote down and the quantiser infers differently.
    del graph.graph.value_info[:]
    onnx.save(graph, file)


def _quantise(whole: Path, file: Path, *, narrow: bool) -> None:
    """Weights in int8, a scale to each output; activations in uint8, scaled as they come."""
    from onnxruntime.quantization import QuantType, quantize_dynamic  # noqa: PLC0415

    quantize_dynamic(
        whole,
        file,
        op_types_to_quantize=["MatMul"],
        per_channel=True,
        reduce_range=narrow,
        weight_type=QuantType.QInt8,
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporter and the quantiser tell of themselves what is of no use to who prepares.

    Other threads are not muted: they may serve meanwhile.
    """
    loggers = [logging.getLogger(name) for name in _EXPORTERS]
    levels = [logger.level for logger in loggers]
    root = logging.getLogger()

    def others(record: logging.LogRecord) -> bool:
        # The quantiser has no logger of its own and speaks as the root.
        return record.levelno >= logging.ERROR or "onnxruntime" not in Path(record.pathname).parts

    root.addFilter(others)
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            for name in _EXPORTERS:
                warnings.filterwarnings("ignore", module=rf"{re.escape(name)}(\.|$)")
            # torch's, though the line that it names is Python's own.
            warnings.filterwarnings("ignore", r".*\btreespec\b", FutureWarning)
            yield
    finally:
        root.removeFilter(others)
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
