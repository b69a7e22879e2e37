"""BERT's layers as a graph of ONNX Runtime: one text's states in, the states of each layer out.

In int8 each token has a scale and an offset of its own, each output of a product a scale: with one
scale for all of a text the vectors are too far from float32's (cosine 0.995 for e5-small).
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.encoder.bert_folder import Bert

Array = NDArray[Any]

STATES = "states"
"""The input: float32 (tokens, hidden), what the first layer reads."""

_OPSET = 20

_LEAST = np.float32(1e-12)
"""A scale is at least this, so that a token of equal numbers divides by no zero."""


def output_of(layer: int) -> str:
    """The name of a layer's states; the first layer is 1."""
    return f"layer_{layer}"


def write_graph(bert: Bert, file: Path, *, bits: int | None = None) -> None:
    """Write the layers of `bert` to a file, in float32 or with weights of `bits`."""
    import onnx  # noqa: PLC0415

    graph = _Graph(bits)
    states = STATES
    for layer in range(bert.layers):
        states = _layer(graph, bert, states, layer)
    onnx.save(graph.model(bert.hidden, bert.layers), file)


def _layer(graph: "_Graph", bert: Bert, states: str, layer: int) -> str:
    def read(name: str) -> Array:
        found: Array = bert.read(f"encoder.layer.{layer}.{name}").float().numpy()
        return found

    def linear(name: str) -> tuple[Array, Array]:
        return read(f"{name}.weight").T, read(f"{name}.bias")

    def norm(value: str, name: str, output: str | None = None) -> str:
        weights = (graph.constant(read(f"{name}.LayerNorm.{part}")) for part in ("weight", "bias"))
        about = {"epsilon": bert.epsilon, "axis": -1}
        return graph.add("LayerNormalization", value, *weights, output=output, **about)

    size = bert.hidden // bert.heads
    parts = [linear(f"attention.self.{name}") for name in ("query", "key", "value")]
    weight, bias = (np.concatenate(own, axis=-1) for own in zip(*parts, strict=True))
    # The products of queries and keys are divided here, once.
    weight[:, : bert.hidden] /= np.sqrt(size)
    bias[: bert.hidden] /= np.sqrt(size)
    mixed = graph.linear(states, weight, bias)
    shape = graph.constant(np.array([0, 3, bert.heads, size]))
    mixed = graph.add("Transpose", graph.add("Reshape", mixed, shape), perm=[1, 2, 0, 3])
    query, key, value = (
        graph.add("Gather", mixed, graph.constant(np.array(place)), axis=0) for place in range(3)
    )
    products = graph.add("MatMul", query, graph.add("Transpose", key, perm=[0, 2, 1]))
    mean = graph.add("MatMul", graph.add("Softmax", products, axis=-1), value)
    mean = graph.add("Transpose", mean, perm=[1, 0, 2])
    mean = graph.add("Reshape", mean, graph.constant(np.array([0, bert.hidden])))
    own = graph.linear(mean, *linear("attention.output.dense"))
    states = norm(graph.add("Add", own, states), "attention.output")
    inner = graph.add("Gelu", graph.linear(states, *linear("intermediate.dense")))
    own = graph.linear(inner, *linear("output.dense"))
    return norm(graph.add("Add", own, states), "output", output_of(layer + 1))


class _Graph:
    """Nodes and constants, in the order in which they are added."""

    def __init__(self, bits: int | None) -> None:
        self._nodes: list[Any] = []
        self._constants: list[Any] = []
        self._bits = bits

    def add(self, kind: str, *inputs: str, output: str | None = None, **about: Any) -> str:
        """One operation; gives the name of its result."""
        from onnx import helper  # noqa: PLC0415

        output = output or f"{kind}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, inputs, [output], **about))
        return output

    def constant(self, value: Array | np.float32) -> str:
        from onnx import numpy_helper  # noqa: PLC0415

        name = f"constant_{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.asarray(value, order="C"), name))
        return name

    def linear(self, states: str, weight: Array, bias: Array) -> str:
        """`states @ weight + bias`."""
        if self._bits is None:
            return self.add("Gemm", states, self.constant(weight), self.constant(bias))
        most = 2 ** (self._bits - 1) - 1
        scales = np.maximum(np.abs(weight).max(axis=0) / np.float32(most), _LEAST)
        levels = np.rint(weight / scales).astype(np.int8)
        tokens, scale, least = self._quantised(states)
        one = self.constant(np.float32(1))
        product = self.add(
            "MatMulIntegerToFloat",
            tokens,
            self.constant(levels),
            one,
            self.constant(scales),
            domain="com.microsoft",
        )
        # What the least number of each token, which is its offset, adds to every output.
        sums = self.constant((levels.astype(np.float32) * scales).sum(axis=0, keepdims=True))
        offset = self.add("Gemm", least, sums, self.constant(bias))
        return self.add("Add", self.add("Mul", product, scale), offset)

    def _quantised(self, states: str) -> tuple[str, str, str]:
        """Each token in uint8, its scale and its least number."""
        axes = self.constant(np.array([-1]))
        least = self.add("ReduceMin", states, axes)
        span = self.add("Sub", self.add("ReduceMax", states, axes), least)
        scale = self.add("Mul", span, self.constant(np.float32(1 / 255)))
        scale = self.add("Max", scale, self.constant(_LEAST))
        tokens = self.add("Div", self.add("Sub", states, least), scale)
        return self.add("Cast", self.add("Round", tokens), to=2), scale, least

    def model(self, hidden: int, layers: int) -> Any:
        from onnx import TensorProto, helper  # noqa: PLC0415

        def states(name: str) -> Any:
            return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["tokens", hidden])

        outputs = [states(output_of(layer + 1)) for layer in range(layers)]
        graph = helper.make_graph(self._nodes, "layers", [states(STATES)], outputs, self._constants)
        opsets = [helper.make_opsetid("", _OPSET), helper.make_opsetid("com.microsoft", 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=10)
