"""The arithmetic of docs/format.md in numpy: one function for each operator, plain rather than fast.

These functions are the definition that every compiled path is held to, bit for bit. Activations are int8 arrays with
the batch in front, tensors are decoded and checked. Integer sums of products run through float64 matrix products, which
are exact here: no partial sum reaches 2^53.

Shape letters: N batch, H and W of the map, C channels in, O channels out, K features. Products of activations: Z heads,
R rows and S columns of the output, K the axis that is summed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_agent.errors import InputError
from edge_agent.runtime import graph as g
from edge_agent.runtime import limits

Int8 = npt.NDArray[np.int8]
Int64 = npt.NDArray[np.int64]
Tensors = list[npt.NDArray[Any]]


def requantize(acc: Int64, form: g.Requantize, tensors: Tensors, zero_point: int) -> Int8:
    """Bring an accumulator with the channels last to int8; ties go to even by multiplier, up by shift."""
    if form.is_shift:
        return _requantize_by_shift(acc, tensors[form.tensor].astype(np.int64), form, zero_point)
    product: npt.NDArray[np.float32] = acc.astype(np.int32).astype(np.float32) * tensors[form.tensor]
    low, high = np.float32(form.qmin - zero_point), np.float32(form.qmax - zero_point)
    rounded = np.rint(np.minimum(np.maximum(product, low), high))
    return _int8(rounded.astype(np.int32) + zero_point)


def _requantize_by_shift(acc: Int64, shift: Int64, form: g.Requantize, zero_point: int) -> Int8:
    right, left = np.maximum(shift, 0), np.maximum(-shift, 0)
    half = np.where(shift > 0, np.int64(1) << np.maximum(shift - 1, 0), 0)
    clamped = np.clip(acc, -limits.SHIFT_LEFT_CLAMP, limits.SHIFT_LEFT_CLAMP)
    value = np.where(shift < 0, clamped << left, (acc + half) >> right)
    return _int8(np.clip(value + zero_point, form.qmin, form.qmax))


def conv2d(x_NHWC: Int8, conv: g.Conv2D, tensors: Tensors, x: g.Activation, y: g.Activation) -> Int8:
    weight_OHWC = tensors[conv.weight].astype(np.float64)
    batch, (height, width, channels_out) = x_NHWC.shape[0], y.shape
    in_group, out_group = weight_OHWC.shape[3], channels_out // conv.groups
    acc = np.zeros((batch, height, width, channels_out), dtype=np.float64)
    centred = x_NHWC.astype(np.float64) - x.zero_point
    for row, column, tap_NHWC in _taps(_pad(centred, conv.window, 0.0), conv.window, height, width):
        if in_group == 1:  # depthwise: no product to sum, so no matrix product
            repeated = np.repeat(tap_NHWC, out_group, axis=3)
            acc += repeated * weight_OHWC[:, row, column, 0]
            continue
        for group in range(conv.groups):
            outs = slice(group * out_group, (group + 1) * out_group)
            ins = slice(group * in_group, (group + 1) * in_group)
            acc[..., outs] += tap_NHWC[..., ins] @ weight_OHWC[outs, row, column, :].T
    return requantize(_with_bias(acc, conv.bias, tensors), conv.requantize, tensors, y.zero_point)


def linear(x_NK: Int8, kind: g.Linear, tensors: Tensors, x: g.Activation, y: g.Activation) -> Int8:
    acc = (x_NK.astype(np.float64) - x.zero_point) @ tensors[kind.weight].astype(np.float64).T
    return requantize(_with_bias(acc, kind.bias, tensors), kind.requantize, tensors, y.zero_point)


def _with_bias(acc: npt.NDArray[np.float64], bias: int | None, tensors: Tensors) -> Int64:
    exact = acc.astype(np.int64)
    return exact if bias is None else exact + tensors[bias]


def add(a: Int8, b: Int8, kind: g.Add, tensors: Tensors, grids: list[g.Activation], y: g.Activation) -> Int8:
    acc = kind.multiplier_a * (a.astype(np.int64) - grids[0].zero_point)
    acc += kind.multiplier_b * (b.astype(np.int64) - grids[1].zero_point)
    return requantize(acc, kind.requantize, tensors, y.zero_point)


def concat(xs: list[Int8], kind: g.Concat, tensors: Tensors, grids: list[g.Activation], y: g.Activation) -> Int8:
    parts = [
        requantize(x.astype(np.int64) - grid.zero_point, form, tensors, y.zero_point)
        for x, grid, form in zip(xs, grids, kind.requantize, strict=True)
    ]
    return np.concatenate(parts, axis=-1)


def max_pool(x_NHWC: Int8, kind: g.MaxPool, y: g.Activation) -> Int8:
    height, width, channels = y.shape
    largest = np.full((x_NHWC.shape[0], height, width, channels), -128, dtype=np.int8)
    for _, _, tap_NHWC in _taps(_pad(x_NHWC, kind.window, -128), kind.window, height, width):
        np.maximum(largest, tap_NHWC, out=largest)
    return largest


def average_pool(x_NHWC: Int8, kind: g.AveragePool, tensors: Tensors, x: g.Activation, y: g.Activation) -> Int8:
    height, width, channels = y.shape
    acc = np.zeros((x_NHWC.shape[0], height, width, channels), dtype=np.int64)
    centred = x_NHWC.astype(np.int64) - x.zero_point
    for _, _, tap_NHWC in _taps(_pad(centred, kind.window, 0), kind.window, height, width):
        acc += tap_NHWC
    return requantize(acc * max(kind.reciprocal, 1), kind.requantize, tensors, y.zero_point)


def softmax(x: Int8, table: npt.NDArray[np.uint32]) -> Int8:
    """Over the last axis: min(255, (510 e + S) div 2S) - 128 in 64-bit integers."""
    wide = x.astype(np.int64)
    exponential = table[wide.max(axis=-1, keepdims=True) - wide].astype(np.int64)
    total = exponential.sum(axis=-1, keepdims=True)
    return _int8(np.minimum((510 * exponential + total) // (2 * total), 255) - 128)


def rule_table(x_NK: Int8, kind: g.RuleTable, tensors: Tensors, y: g.Activation) -> Int8:
    """Every sample down every tree, a level at a time; who has reached a leaf waits there."""
    nodes = tensors[kind.nodes]
    is_condition = nodes != 0
    feature = (nodes & 0xFFFF).astype(np.intp)
    threshold = (nodes >> 16 & 0xFF).astype(np.int64) - 128
    left = kind.trees + 2 * (np.cumsum(is_condition) - is_condition)  # by conditions that stand before
    at_NT = np.tile(np.arange(kind.trees), (len(x_NK), 1))
    while (walks_NT := is_condition[at_NT]).any():
        exceeds_NT = np.take_along_axis(x_NK, feature[at_NT], axis=1) > threshold[at_NT]
        at_NT = np.where(walks_NT, left[at_NT] + exceeds_NT, at_NT)
    leaf = np.cumsum(~is_condition) - 1
    acc_NO = tensors[kind.scores][leaf[at_NT]].sum(axis=1, dtype=np.int64)
    return requantize(acc_NO, kind.requantize, tensors, y.zero_point)


def select(gate: Int8, confident: Int8, otherwise: Int8, kind: g.Select) -> Int8:
    passes = gate.reshape(len(gate), *[1] * (confident.ndim - 1)) >= kind.threshold
    return np.where(passes, confident, otherwise)


def matmul(a: Int8, b: Int8, kind: g.MatMul, tensors: Tensors, grids: list[g.Activation], y: g.Activation) -> Int8:
    a_NZRK = _by_head(a.astype(np.float64) - grids[0].zero_point, kind.heads, kind.a_stacked)
    b_NZKS = _by_head(b.astype(np.float64) - grids[1].zero_point, kind.heads, kind.b_stacked)
    acc_NZRS = a_NZRK @ (b_NZKS.swapaxes(2, 3) if kind.b_transposed else b_NZKS)
    acc = acc_NZRS if kind.output_stacked else acc_NZRS.swapaxes(1, 2)
    return requantize(acc.reshape(len(a), *y.shape).astype(np.int64), kind.requantize, tensors, y.zero_point)


def _by_head(x: npt.NDArray[np.float64], heads: int, is_stacked: bool) -> npt.NDArray[np.float64]:
    """[N, heads, rows, columns] of an activation that is stacked or side by side."""
    batch, height, width, channels = x.shape
    return x if is_stacked else x.reshape(batch, height * width, heads, channels // heads).swapaxes(1, 2)


def layer_norm(x: Int8, kind: g.LayerNorm, tensors: Tensors, grid: g.Activation, y: g.Activation) -> Int8:
    """Everything is an exact integer but one conversion, square root, division and product, each rounded to float32."""
    centred = x.astype(np.int64) - grid.zero_point
    channels, total = centred.shape[-1], centred.sum(axis=-1, keepdims=True)
    variance = channels * (centred * centred).sum(axis=-1, keepdims=True) - total * total  # times channels^2
    root = np.sqrt((variance + kind.epsilon).astype(np.float32))
    deviation = (channels * centred - total).astype(np.float32)  # times channels: exact, below 2^22
    normalised = np.rint(deviation * (np.float32(limits.NORM_ONE) / root)).astype(np.int64)
    acc = normalised * tensors[kind.gain]
    return requantize(acc if kind.bias is None else acc + tensors[kind.bias], kind.requantize, tensors, y.zero_point)


def multiply(a: Int8, b: Int8, kind: g.Multiply, tensors: Tensors, grids: list[g.Activation], y: g.Activation) -> Int8:
    acc = (a.astype(np.int64) - grids[0].zero_point) * (b.astype(np.int64) - grids[1].zero_point)
    return requantize(acc, kind.requantize, tensors, y.zero_point)


def quantize_raw(raw: npt.NDArray[np.uint8], table: npt.NDArray[np.int8]) -> Int8:
    """raw uint8 with the channels last, through the table of each channel."""
    channel = np.arange(raw.shape[-1]) if table.shape[0] > 1 else np.zeros(raw.shape[-1], dtype=np.intp)
    quantized: Int8 = table[channel, raw]
    return quantized


def quantize_float(
    values: npt.NDArray[np.float32], multiplier: float, affine: npt.NDArray[np.float32] | None, zero_point: int
) -> Int8:
    """`affine` has the offset and the multiplier of each channel; two roundings, none fused."""
    if np.isnan(values).any():
        raise InputError("the input holds NaN")
    with np.errstate(over="ignore", under="ignore"):
        product = values * np.float32(multiplier) if affine is None else (values - affine[0]) * affine[1]
    rounded = np.rint(np.clip(product, np.float32(-128 - zero_point), np.float32(127 - zero_point)))
    return _int8(rounded.astype(np.int32) + zero_point)


def _int8(values: npt.NDArray[np.integer[Any]]) -> Int8:
    return values.astype(np.int8)


def _pad(x_NHWC: npt.NDArray[Any], window: g.Window, value: float) -> npt.NDArray[Any]:
    pad = window.padding
    widths = ((0, 0), (pad.top, pad.bottom), (pad.left, pad.right), (0, 0))
    return np.pad(x_NHWC, widths, constant_values=value) if any(map(any, widths)) else x_NHWC


def _taps(
    padded: npt.NDArray[Any], window: g.Window, height: int, width: int
) -> Iterator[tuple[int, int, npt.NDArray[Any]]]:
    """For each position of the window, the strided view of what stands under it for every output position."""
    for row in range(window.kernel_h):
        for column in range(window.kernel_w):
            rows = slice(row, row + (height - 1) * window.stride_h + 1, window.stride_h)
            columns = slice(column, column + (width - 1) * window.stride_w + 1, window.stride_w)
            yield row, column, padded[:, rows, columns, :]
