"""Collects the nodes and constants of an ONNX graph; what an operator becomes is decided in `*_operators`.

Values are named after activations, which need not have different names: `<index>.<name>`, int8 with `.q`. A feature map
of rank 3 is [N, C, H, W] in ONNX.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_agent.runtime import graph as g
from orchestrator.onnx.errors import OnnxMissingError

Array = npt.NDArray[Any]


class Writer:
    def __init__(self, graph: g.Graph, tensors: Sequence[Array]) -> None:
        try:
            import onnx
        except ImportError as error:
            raise OnnxMissingError("onnx") from error
        self.onnx: Any = onnx
        self.graph, self.tensors = graph, tensors
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self._fresh = 0

    # Activations

    def activation(self, index: int) -> g.Activation:
        return self.graph.activations[index]

    def value(self, activation: int) -> str:
        return f"{activation}.{self.activation(activation).name}"

    def integers(self, activation: int) -> str:
        """The int8 numbers themselves, as int32, which more operations take."""
        return self.node("Cast", [f"{self.value(activation)}.q"], to=self.onnx.TensorProto.INT32)

    def finish(self, value: str, operator: g.Operator, qmin: int = -128, qmax: int = 127) -> None:
        """`value` is the operator's output in float."""
        y = self.activation(operator.output)
        self.quantize(self.clamped(value, operator.output, qmin, qmax), operator.output, y.scale)

    def clamped(self, value: str, activation: int, qmin: int, qmax: int) -> str:
        """What int8 clamps by itself needs no node."""
        if (qmin, qmax) == (-128, 127):
            return value
        y = self.activation(activation)
        bounds = [np.array(y.scale * (q - y.zero_point), np.float32) for q in (qmin, qmax)]
        return self.node("Clip", [value, *(self.constant(bound) for bound in bounds)])

    def quantize(self, value: str, activation: int, scale: float) -> None:
        y = self.activation(activation)
        parameters: list[Array] = [np.array(scale, np.float32), np.array(y.zero_point, np.int8)]
        inputs = [value, *(self.constant(array) for array in parameters)]
        self.node("QuantizeLinear", inputs, output=f"{self.value(activation)}.q")
        self.dequantize(activation)

    def dequantize(self, activation: int) -> None:
        y, name = self.activation(activation), self.value(activation)
        parameters: list[Array] = [np.array(y.scale, np.float32), np.array(y.zero_point, np.int8)]
        self.node("DequantizeLinear", [f"{name}.q", *(self.constant(array) for array in parameters)], output=name)

    def dequantized(self, q: Array, scale: Array) -> str:
        """A weight or bias with a scale for each of its first axis."""
        inputs = [self.constant(array) for array in (q, scale.astype(np.float32), np.zeros(len(q), q.dtype))]
        return self.node("DequantizeLinear", inputs, axis=0)

    # Scales

    def multiplier(self, form: g.Requantize) -> Array:
        values = self.tensors[form.tensor].astype(np.float64)
        return np.exp2(-values) if form.is_shift else values

    def factor(self, form: g.Requantize, operator: g.Operator, *inputs: int) -> float:
        """What a step of the input, or of the product of inputs, counts in the output, next to what it should."""
        step = math.prod(self.activation(x).scale for x in inputs)
        return float(self.multiplier(form)[0]) * self.activation(operator.output).scale / step

    def scaled(self, value: str, factor: float) -> str:
        """The value times `factor`, which lowering often makes 1 up to rounding."""
        if math.isclose(factor, 1.0, rel_tol=1e-3):
            return value
        return self.node("Mul", [value, self.constant(np.array(factor, np.float32))])

    # Layouts

    def channels_last(self, activation: int) -> str:
        """The value as the device stores it."""
        value = self.value(activation)
        return self.transposed(value, 0, 2, 3, 1) if len(self.activation(activation).shape) == 3 else value

    def channels_first(self, value: str, operator: g.Operator) -> str:
        """What the device stores as the operator's output, as ONNX has it."""
        return self.transposed(value, 0, 3, 1, 2) if len(self.activation(operator.output).shape) == 3 else value

    def transposed(self, value: str, *axes: int) -> str:
        return self.node("Transpose", [value], perm=axes)

    def reshaped(self, value: str, *shape: int) -> str:
        """Of each sample."""
        return self.node("Reshape", [value, self.constant(np.array([0, *shape], np.int64))])

    # Nodes

    def node(self, operation: str, inputs: Sequence[str], output: str = "", **attributes: Any) -> str:
        output = output or self._fresh_name("value")
        self.nodes.append(self.onnx.helper.make_node(operation, list(inputs), [output], name=output, **attributes))
        return output

    def constant(self, array: Array) -> str:
        name = self._fresh_name("constant")
        self.constants.append(self.onnx.numpy_helper.from_array(np.asarray(array), name))
        return name

    def _fresh_name(self, prefix: str) -> str:
        self._fresh += 1
        return f"{prefix}.{self._fresh}"
