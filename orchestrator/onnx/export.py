"""A compressed model as an ONNX file in QDQ form: what it computes in float between pairs of quantize and dequantize.

The file takes normalised float32 [N, C, H, W] (or [N, F]), as the network did that was compressed, and gives float32.
Weights are int8 with a scale for each channel, which says what the model's multipliers say: s_w = m * s_out / s_in.
Runtimes requantize in their own ways, so outputs may differ by a step; `agreement` says how often.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_agent.runtime import graph as g
from edge_agent.runtime.model import parse_model
from edge_agent.runtime.tensors import decode_tensors, fetch_payloads
from orchestrator.onnx.errors import OnnxError, OnnxMissingError

OPSET, IR_VERSION = 13, 8  # the first with quantization for each channel; what any runtime of the last years reads

Array = npt.NDArray[Any]


def export_onnx(data: bytes, blobs: Callable[[bytes], bytes]) -> bytes:
    """The ONNX file for a model's stored bytes; `blobs` gives the payload for a SHA-256.

    Raises:
        ModelFormatError, DigestMismatchError: it is not a valid model, or its tensors are not what it names.
        OnnxError: an operator has no counterpart in ONNX; the message names it.
        OnnxMissingError: the `onnx` package is not installed.
    """
    graph = parse_model(data)
    return _Writer(graph, decode_tensors(graph, fetch_payloads(graph, blobs))).write()


class _Writer:
    """Values are named after activations, which need not have different names: `<index>.<name>`, int8 with `.q`."""

    def __init__(self, graph: g.Graph, tensors: Sequence[Array]) -> None:
        try:
            import onnx
        except ImportError as error:
            raise OnnxMissingError("onnx") from error
        self._onnx: Any = onnx
        self._graph, self._tensors = graph, tensors
        self._nodes: list[Any] = []
        self._constants: list[Any] = []
        self._fresh = 0

    def write(self) -> bytes:
        graph, helper = self._graph, self._onnx.helper
        float32 = self._onnx.TensorProto.FLOAT
        source = graph.input_activation
        self._quantize("input", graph.input.activation, 1 / graph.input.multiplier)
        for operator in graph.operators:
            self._write_operator(operator)
        self._node("Identity", [self._value(graph.output.activation)], output="output")
        onnx_graph = helper.make_graph(
            self._nodes,
            graph.name or "model",
            [helper.make_tensor_value_info("input", float32, ["batch", *_channels_first(source.shape)])],
            [
                helper.make_tensor_value_info(
                    "output", float32, ["batch", *_channels_first(graph.output_activation.shape)]
                )
            ],
            self._constants,
        )
        model = helper.make_model(
            onnx_graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="espalier"
        )
        self._onnx.checker.check_model(model, full_check=True)
        result: bytes = model.SerializeToString(deterministic=True)
        return result

    # Operators

    def _write_operator(self, operator: g.Operator) -> None:
        kind = operator.kind
        match kind:
            case g.Conv2D():
                self._convolution(operator, kind)
            case g.Linear():
                self._linear(operator, kind)
            case g.Add():
                self._add(operator, kind)
            case g.Concat():
                self._concat(operator, kind)
            case g.MaxPool():
                self._finish(self._node("MaxPool", [self._value(operator.inputs[0])], **_window(kind.window)), operator)
            case g.AveragePool():
                self._average_pool(operator, kind)
            case g.Flatten():
                self._finish(self._channels_last(operator.inputs[0], (0, -1)), operator)
            case g.Clamp():
                self._finish(self._value(operator.inputs[0]), operator, kind.qmin, kind.qmax)
            case g.Table():
                self._table(operator, kind)
            case g.Softmax():
                self._finish(self._node("Softmax", [self._value(operator.inputs[0])], axis=1), operator)
            case _:
                raise OnnxError(f"operator {operator.name!r} ({type(kind).__name__}) has no export to ONNX yet")

    def _convolution(self, operator: g.Operator, conv: g.Conv2D) -> None:
        weight = np.ascontiguousarray(self._tensors[conv.weight].transpose(0, 3, 1, 2))  # OHWI to OIHW
        inputs = self._weights(operator, conv.requantize, weight, conv.bias)
        window = {**_window(conv.window), "group": conv.groups}
        self._finish(self._node("Conv", inputs, **window), operator, conv.requantize.qmin, conv.requantize.qmax)

    def _linear(self, operator: g.Operator, linear: g.Linear) -> None:
        inputs = self._weights(operator, linear.requantize, self._tensors[linear.weight], linear.bias)
        self._finish(self._node("Gemm", inputs, transB=1), operator, linear.requantize.qmin, linear.requantize.qmax)

    def _weights(self, operator: g.Operator, form: g.Requantize, weight: Array, bias: int | None) -> list[str]:
        """Input, weight and bias as values in float."""
        x, y = self._activation(operator.inputs[0]), self._activation(operator.output)
        scale = np.broadcast_to(self._multiplier(form) * y.scale / x.scale, (len(weight),)).astype(np.float32)
        inputs = [self._value(operator.inputs[0])]
        inputs.append(self._dequantized(weight, scale, np.zeros(len(weight), np.int8)))
        if bias is not None:
            bias_scale = (scale * np.float32(x.scale)).astype(np.float32)
            inputs.append(self._dequantized(self._tensors[bias], bias_scale, np.zeros(len(weight), np.int32)))
        return inputs

    def _add(self, operator: g.Operator, add: g.Add) -> None:
        a, b = operator.inputs
        values = [
            self._scaled(x, multiplier * self._factor(add.requantize, x, operator.output))
            for x, multiplier in ((a, add.multiplier_a), (b, add.multiplier_b))
        ]
        self._finish(self._node("Add", values), operator, add.requantize.qmin, add.requantize.qmax)

    def _concat(self, operator: g.Operator, concat: g.Concat) -> None:
        parts = []
        for x, form in zip(operator.inputs, concat.requantize, strict=True):
            value = self._scaled(x, self._factor(form, x, operator.output))
            parts.append(self._clamped(value, operator.output, form.qmin, form.qmax))
        self._finish(self._node("Concat", parts, axis=1), operator)

    def _average_pool(self, operator: g.Operator, pool: g.AveragePool) -> None:
        elements = pool.window.kernel_h * pool.window.kernel_w * max(pool.reciprocal, 1)
        factor = elements * self._factor(pool.requantize, operator.inputs[0], operator.output)
        mean = self._node(
            "AveragePool", [self._scaled(operator.inputs[0], factor)], count_include_pad=1, **_window(pool.window)
        )
        self._finish(mean, operator, pool.requantize.qmin, pool.requantize.qmax)

    def _table(self, operator: g.Operator, table: g.Table) -> None:
        """Exactly what the device does: q + 128 is an index."""
        source = f"{self._value(operator.inputs[0])}.q"
        index = self._node("Cast", [source], to=self._onnx.TensorProto.INT32)
        index = self._node("Add", [index, self._constant(np.array(128, np.int32))])
        looked_up = f"{self._value(operator.output)}.q"
        self._node("Gather", [self._constant(self._tensors[table.table]), index], output=looked_up)
        self._dequantize(operator.output)

    # Values

    def _finish(self, value: str, operator: g.Operator, qmin: int = -128, qmax: int = 127) -> None:
        y = self._activation(operator.output)
        self._quantize(self._clamped(value, operator.output, qmin, qmax), operator.output, y.scale)

    def _clamped(self, value: str, activation: int, qmin: int, qmax: int) -> str:
        """What int8 clamps by itself needs no node."""
        if (qmin, qmax) == (-128, 127):
            return value
        y = self._activation(activation)
        bounds = [np.array(y.scale * (q - y.zero_point), np.float32) for q in (qmin, qmax)]
        return self._node("Clip", [value, *(self._constant(bound) for bound in bounds)])

    def _quantize(self, value: str, activation: int, scale: float) -> None:
        y = self._activation(activation)
        parameters: list[Array] = [np.array(scale, np.float32), np.array(y.zero_point, np.int8)]
        inputs = [value, *(self._constant(array) for array in parameters)]
        self._node("QuantizeLinear", inputs, output=f"{self._value(activation)}.q")
        self._dequantize(activation)

    def _dequantize(self, activation: int) -> None:
        y, name = self._activation(activation), self._value(activation)
        parameters: list[Array] = [np.array(y.scale, np.float32), np.array(y.zero_point, np.int8)]
        self._node("DequantizeLinear", [f"{name}.q", *(self._constant(array) for array in parameters)], output=name)

    def _dequantized(self, q: Array, scale: Array, zero_point: Array) -> str:
        inputs = [self._constant(array) for array in (q, scale, zero_point)]
        return self._node("DequantizeLinear", inputs, axis=0)

    def _scaled(self, activation: int, factor: float) -> str:
        """The value times `factor`, which lowering makes 1 up to rounding."""
        if math.isclose(factor, 1.0, rel_tol=1e-3):
            return self._value(activation)
        return self._node("Mul", [self._value(activation), self._constant(np.array(factor, np.float32))])

    def _factor(self, form: g.Requantize, x: int, y: int) -> float:
        """What a step of x counts in y, next to what it should by their scales."""
        return float(self._multiplier(form)[0]) * self._activation(y).scale / self._activation(x).scale

    def _multiplier(self, form: g.Requantize) -> Array:
        values = self._tensors[form.tensor].astype(np.float64)
        return np.exp2(-values) if form.is_shift else values

    def _channels_last(self, activation: int, shape: tuple[int, ...]) -> str:
        value = self._value(activation)
        if len(self._activation(activation).shape) == 3:
            value = self._node("Transpose", [value], perm=[0, 2, 3, 1])
        return self._node("Reshape", [value, self._constant(np.array(shape, np.int64))])

    def _activation(self, index: int) -> g.Activation:
        return self._graph.activations[index]

    def _value(self, activation: int) -> str:
        return f"{activation}.{self._activation(activation).name}"

    def _node(self, operation: str, inputs: Sequence[str], output: str = "", **attributes: Any) -> str:
        output = output or self._fresh_name("value")
        self._nodes.append(self._onnx.helper.make_node(operation, list(inputs), [output], name=output, **attributes))
        return output

    def _constant(self, array: Array) -> str:
        name = self._fresh_name("constant")
        self._constants.append(self._onnx.numpy_helper.from_array(np.asarray(array), name))
        return name

    def _fresh_name(self, prefix: str) -> str:
        self._fresh += 1
        return f"{prefix}.{self._fresh}"


def _window(window: g.Window) -> dict[str, Any]:
    pad = window.padding
    return {
        "kernel_shape": [window.kernel_h, window.kernel_w],
        "strides": [window.stride_h, window.stride_w],
        "pads": [pad.top, pad.left, pad.bottom, pad.right],
    }


def _channels_first(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (shape[2], shape[0], shape[1]) if len(shape) == 3 else shape
