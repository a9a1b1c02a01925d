"""The operators of convolutional networks, in ONNX."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from edge_agent.runtime import graph as g
from orchestrator.onnx.writer import Array, Writer


def _convolution(writer: Writer, operator: g.Operator, conv: g.Conv2D) -> None:
    weight = np.ascontiguousarray(writer.tensors[conv.weight].transpose(0, 3, 1, 2))  # OHWI to OIHW
    inputs = _weights(writer, operator, conv.requantize, weight, conv.bias)
    value = writer.node("Conv", inputs, **_window(conv.window), group=conv.groups)
    writer.finish(value, operator, conv.requantize.qmin, conv.requantize.qmax)


def _linear(writer: Writer, operator: g.Operator, linear: g.Linear) -> None:
    inputs = _weights(writer, operator, linear.requantize, writer.tensors[linear.weight], linear.bias)
    writer.finish(writer.node("Gemm", inputs, transB=1), operator, linear.requantize.qmin, linear.requantize.qmax)


def _weights(writer: Writer, operator: g.Operator, form: g.Requantize, weight: Array, bias: int | None) -> list[str]:
    """Input, weight and bias as values in float."""
    x, y = writer.activation(operator.inputs[0]), writer.activation(operator.output)
    scale = np.broadcast_to(writer.multiplier(form) * y.scale / x.scale, (len(weight),)).astype(np.float32)
    inputs = [writer.value(operator.inputs[0]), writer.dequantized(weight, scale)]
    if bias is not None:
        inputs.append(writer.dequantized(writer.tensors[bias], scale * np.float32(x.scale)))
    return inputs


def _add(writer: Writer, operator: g.Operator, add: g.Add) -> None:
    values = [
        writer.scaled(writer.value(x), multiplier * writer.factor(add.requantize, operator, x))
        for x, multiplier in zip(operator.inputs, (add.multiplier_a, add.multiplier_b), strict=True)
    ]
    writer.finish(writer.node("Add", values), operator, add.requantize.qmin, add.requantize.qmax)


def _concat(writer: Writer, operator: g.Operator, concat: g.Concat) -> None:
    parts = []
    for x, form in zip(operator.inputs, concat.requantize, strict=True):
        value = writer.scaled(writer.value(x), writer.factor(form, operator, x))
        parts.append(writer.clamped(value, operator.output, form.qmin, form.qmax))
    writer.finish(writer.node("Concat", parts, axis=1), operator)


def _max_pool(writer: Writer, operator: g.Operator, pool: g.MaxPool) -> None:
    writer.finish(writer.node("MaxPool", [writer.value(operator.inputs[0])], **_window(pool.window)), operator)


def _average_pool(writer: Writer, operator: g.Operator, pool: g.AveragePool) -> None:
    (x,) = operator.inputs
    elements = pool.window.kernel_h * pool.window.kernel_w * max(pool.reciprocal, 1)
    value = writer.scaled(writer.value(x), elements * writer.factor(pool.requantize, operator, x))
    mean = writer.node("AveragePool", [value], count_include_pad=1, **_window(pool.window))
    writer.finish(mean, operator, pool.requantize.qmin, pool.requantize.qmax)


def _flatten(writer: Writer, operator: g.Operator, _: g.Flatten) -> None:
    writer.finish(writer.reshaped(writer.channels_last(operator.inputs[0]), -1), operator)


def _clamp(writer: Writer, operator: g.Operator, clamp: g.Clamp) -> None:
    writer.finish(writer.value(operator.inputs[0]), operator, clamp.qmin, clamp.qmax)


def _table(writer: Writer, operator: g.Operator, table: g.Table) -> None:
    """Exactly what the device does: q + 128 is an index."""
    index = writer.node("Add", [writer.integers(operator.inputs[0]), writer.constant(np.array(128, np.int32))])
    looked_up = f"{writer.value(operator.output)}.q"
    writer.node("Gather", [writer.constant(writer.tensors[table.table]), index], output=looked_up)
    writer.dequantize(operator.output)


def _softmax(writer: Writer, operator: g.Operator, softmax: g.Softmax) -> None:
    """What the table falls by is the step that counts; the device's certainty is 255 of the 256 steps in one."""
    (x,) = operator.inputs
    first, second, *_ = writer.tensors[softmax.table].astype(np.float64)
    step = math.log(first / max(second, 1.0))
    logits = writer.scaled(writer.value(x), step / writer.activation(x).scale)
    probabilities = writer.node("Softmax", [logits], axis=1)
    writer.finish(writer.scaled(probabilities, 255 / 256), operator)


def _window(window: g.Window) -> dict[str, Any]:
    pad = window.padding
    return {
        "kernel_shape": [window.kernel_h, window.kernel_w],
        "strides": [window.stride_h, window.stride_w],
        "pads": [pad.top, pad.left, pad.bottom, pad.right],
    }


IMAGE_OPERATORS: dict[type, Callable[[Writer, g.Operator, Any], None]] = {
    g.Conv2D: _convolution,
    g.Linear: _linear,
    g.Add: _add,
    g.Concat: _concat,
    g.MaxPool: _max_pool,
    g.AveragePool: _average_pool,
    g.Flatten: _flatten,
    g.Clamp: _clamp,
    g.Table: _table,
    g.Softmax: _softmax,
}
