"""Products of feature maps, norms, constants and what moves them, in ONNX.

The device's definitions speak of channels last, so most of these turn their inputs to that and their output back.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from edge_agent.runtime import graph as g
from edge_agent.runtime import limits
from orchestrator.onnx.writer import Writer


def _multiply(writer: Writer, operator: g.Operator, multiply: g.Multiply) -> None:
    """One value for each channel is [N, C, 1, 1] and repeats by itself."""
    form = multiply.requantize
    product = writer.node("Mul", [writer.value(x) for x in operator.inputs])
    value = writer.scaled(product, writer.factor(form, operator, *operator.inputs))
    writer.finish(value, operator, form.qmin, form.qmax)


def _matmul(writer: Writer, operator: g.Operator, matmul: g.MatMul) -> None:
    form, (a, b) = matmul.requantize, operator.inputs
    left = _by_head(writer, a, matmul.heads, matmul.a_stacked)
    right = _by_head(writer, b, matmul.heads, matmul.b_stacked)
    if matmul.b_transposed:
        right = writer.transposed(right, 0, 1, 3, 2)
    product = writer.scaled(writer.node("MatMul", [left, right]), writer.factor(form, operator, a, b))
    if not matmul.output_stacked:
        shape = writer.activation(operator.output).shape
        product = writer.reshaped(writer.transposed(product, 0, 2, 1, 3), *shape)
    writer.finish(writer.channels_first(product, operator), operator, form.qmin, form.qmax)


def _by_head(writer: Writer, activation: int, heads: int, is_stacked: bool) -> str:
    """[N, heads, rows, columns]."""
    value = writer.channels_last(activation)
    if is_stacked:
        return value
    height, width, channels = writer.activation(activation).shape
    return writer.transposed(writer.reshaped(value, height * width, heads, channels // heads), 0, 2, 1, 3)


def _layer_norm(writer: Writer, operator: g.Operator, norm: g.LayerNorm) -> None:
    """The device's deviations count `NORM_ONE` for one, and its epsilon C^2 steps of the input squared."""
    x, y = writer.activation(operator.inputs[0]), writer.activation(operator.output)
    gain = writer.tensors[norm.gain]
    step = np.broadcast_to(writer.multiplier(norm.requantize) * y.scale, gain.shape)
    inputs = [writer.channels_last(operator.inputs[0]), writer.dequantized(gain, step * limits.NORM_ONE)]
    if norm.bias is not None:
        inputs.append(writer.dequantized(writer.tensors[norm.bias], step))
    epsilon = norm.epsilon * (x.scale / x.channels) ** 2
    value = writer.node("LayerNormalization", inputs, axis=-1, epsilon=epsilon)
    writer.finish(writer.channels_first(value, operator), operator, norm.requantize.qmin, norm.requantize.qmax)


def _reshape(writer: Writer, operator: g.Operator, _: g.Reshape) -> None:
    value = writer.reshaped(writer.channels_last(operator.inputs[0]), *writer.activation(operator.output).shape)
    writer.finish(writer.channels_first(value, operator), operator)


def _permute(writer: Writer, operator: g.Operator, permute: g.Permute) -> None:
    value = writer.transposed(writer.channels_last(operator.inputs[0]), 0, *(1 + axis for axis in permute.axes))
    writer.finish(writer.channels_first(value, operator), operator)


def _constant(writer: Writer, operator: g.Operator, constant: g.Constant) -> None:
    """Repeated for every sample: joining feature maps does not do that by itself."""
    value = writer.tensors[constant.value][None]
    value = np.ascontiguousarray(value.transpose(0, 3, 1, 2)) if value.ndim == 4 else value
    batch = writer.node("Shape", ["input"], start=0, end=1)
    shape = writer.node("Concat", [batch, writer.constant(np.array(value.shape[1:], np.int64))], axis=0)
    writer.node("Expand", [writer.constant(value), shape], output=f"{writer.value(operator.output)}.q")
    writer.dequantize(operator.output)


SEQUENCE_OPERATORS: dict[type, Callable[[Writer, g.Operator, Any], None]] = {
    g.Multiply: _multiply,
    g.MatMul: _matmul,
    g.LayerNorm: _layer_norm,
    g.Reshape: _reshape,
    g.Permute: _permute,
    g.Constant: _constant,
}
