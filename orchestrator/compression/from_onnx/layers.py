"""ONNX nodes that own weights, as ordinary torch layers: convolution, linear, batch norm, layer norm.

Each function takes the node, its inputs where they are constants, and the operator set.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from orchestrator.onnx.reader import Array, OnnxNode

Known = Sequence[Array | None]
MAX_WINDOW = 4096
"""Of kernels, strides, dilations and pads."""


@dataclass(frozen=True)
class Made:
    """What a node becomes: a function of the values called `inputs`; where it has a layer, that comes first.

    A function does not keep the layer itself, so that a copy of the network computes with the copy's weights.
    """

    compute: Callable[..., Any]
    inputs: tuple[str, ...]
    layer: nn.Module | None = None


def plain(compute: Callable[..., Any]) -> Callable[[OnnxNode, Known, int], Made]:
    return lambda node, known, opset: Made(compute, node.inputs)


def conv(node: OnnxNode, known: Known, _: int) -> Made:
    weight, bias = _weight(node, known, 1), _optional(node, known, 2)
    if weight.ndim not in (3, 4):
        raise node.refuse(f"has a weight of rank {weight.ndim}; convolutions in one and two dimensions are known")
    groups: Any = node.attributes.get("group", 1)
    spatial = weight.ndim - 2
    kernel = weight.shape[2:]
    if tuple(sizes(node, "kernel_shape", kernel)) != kernel:
        raise node.refuse(
            f"says that its kernel is {node.attributes['kernel_shape']}; its weight is {list(weight.shape)}"
        )
    if groups < 1 or weight.shape[0] % groups:
        raise node.refuse(f"has {weight.shape[0]} channels in {groups} groups")
    stride, dilation = sizes(node, "strides", (1,) * spatial), sizes(node, "dilations", (1,) * spatial)
    before = pads(node, kernel, stride, dilation)
    is_even = before is not None and before[:spatial] == before[spatial:]
    make: Any = nn.Conv2d if spatial == 2 else nn.Conv1d
    channels = weight.shape[1] * groups
    options = {"dilation": dilation, "groups": groups, "bias": bias is not None}
    layer = make(channels, len(weight), kernel, stride, before[:spatial] if is_even and before else 0, **options)
    _fill(layer, weight=weight, bias=bias)
    if is_even:
        return Made(_call, node.inputs[:1], layer)

    def pad_and_call(layer: nn.Module, x: Tensor) -> Tensor:
        return _call(layer, padded(x, before or same_pads(node, x, kernel, stride), 0.0))

    return Made(pad_and_call, node.inputs[:1], layer)


def gemm(node: OnnxNode, known: Known, _: int) -> Made:
    weight, bias = _weight(node, known, 1), _optional(node, known, 2)
    if weight.ndim != 2 or node.attributes.get("transA", 0):
        raise node.refuse("transposes its first input, or its weight is no matrix")
    weight = weight if node.attributes.get("transB", 0) else weight.T
    alpha, beta = (float(str(node.attributes.get(name, 1.0))) for name in ("alpha", "beta"))
    if bias is not None:
        if bias.size not in (1, len(weight)):
            raise node.refuse(f"adds a constant of shape {list(bias.shape)} to {len(weight)} features")
        bias = np.broadcast_to(bias.reshape(-1), (len(weight),)) * beta
    return linear(node, weight * alpha, bias)


def linear(node: OnnxNode, weight_OI: Array, bias: Array | None = None) -> Made:
    layer = nn.Linear(weight_OI.shape[1], len(weight_OI), bias=bias is not None)
    _fill(layer, weight=weight_OI, bias=bias)
    return Made(_call, node.inputs[:1], layer)


def matmul(node: OnnxNode, known: Known, _: int) -> Made:
    weight = known[1]
    if weight is None or weight.ndim != 2:
        return Made(torch.matmul, node.inputs)
    return linear(node, weight.T)


class _BatchNorm(nn.BatchNorm2d):
    """Of any rank: an ONNX node does not say which it has."""

    def _check_input_dim(self, x: Tensor) -> None:
        if x.ndim < 2:
            raise ValueError("batch norm takes samples and channels")


def batch_norm(node: OnnxNode, known: Known, _: int) -> Made:
    if node.attributes.get("training_mode", 0):
        raise node.refuse("computes statistics of the batch; export the network in evaluation mode")
    names = ("weight", "bias", "running_mean", "running_var")
    arrays = dict(zip(names, (_weight(node, known, index) for index in range(1, 5)), strict=True))
    channels = arrays["weight"].size
    if any(array.shape != (channels,) for array in arrays.values()):
        raise node.refuse("has statistics of different sizes")
    epsilon, momentum = (
        float(str(node.attributes.get("epsilon", 1e-5))),
        float(str(node.attributes.get("momentum", 0.9))),
    )
    layer = _BatchNorm(channels, epsilon, 1 - momentum)
    _fill(layer, **arrays)
    return Made(_call, node.inputs[:1], layer)


def layer_norm(node: OnnxNode, known: Known, _: int) -> Made:
    weight, bias = _weight(node, known, 1), _optional(node, known, 2)
    axis: Any = node.attributes.get("axis", -1)
    if weight.ndim != 1 or (bias is not None and bias.shape != weight.shape):
        raise node.refuse("normalises over more than one axis")
    layer = nn.LayerNorm(len(weight), float(str(node.attributes.get("epsilon", 1e-5))), bias=bias is not None)
    _fill(layer, weight=weight, bias=bias)

    def compute(layer: nn.Module, x: Tensor) -> Tensor:
        if axis % x.ndim != x.ndim - 1:
            raise ValueError("normalises over more than the last axis")
        return _call(layer, x)

    return Made(compute, node.inputs[:1], layer)


def sizes(node: OnnxNode, name: str, default: tuple[int, ...]) -> tuple[int, ...]:
    values: Any = node.attributes.get(name, default)
    if not isinstance(values, tuple) or not all(isinstance(v, int) and 1 <= v <= MAX_WINDOW for v in values):
        raise node.refuse(f"has {name} {values}; each is from 1 to {MAX_WINDOW}")
    return tuple(int(value) for value in values)


def pads(
    node: OnnxNode, kernel: tuple[int, ...], stride: tuple[int, ...], dilation: tuple[int, ...]
) -> tuple[int, ...] | None:
    """All that come before the axes, then all that come after; None where they depend on the input's size."""
    mode = node.attributes.get("auto_pad", "NOTSET")
    if mode == "VALID":
        return (0,) * (2 * len(kernel))
    if mode in ("SAME_UPPER", "SAME_LOWER"):
        if set(dilation) != {1}:
            raise node.refuse("has dilation and automatic padding")
        is_fixed = set(stride) == {1} and all(size % 2 for size in kernel)
        return tuple(size // 2 for size in kernel) * 2 if is_fixed else None
    values: Any = node.attributes.get("pads", (0,) * (2 * len(kernel)))
    if len(values) != 2 * len(kernel) or not all(0 <= value <= MAX_WINDOW for value in values):
        raise node.refuse(f"has pads {values}; there are two for each axis, from 0 to {MAX_WINDOW}")
    return tuple(int(value) for value in values)


def same_pads(node: OnnxNode, x: Tensor, kernel: tuple[int, ...], stride: tuple[int, ...]) -> tuple[int, ...]:
    totals = [
        max((-(-size // step) - 1) * step + k - size, 0)
        for size, k, step in zip(x.shape[2:], kernel, stride, strict=True)
    ]
    small, large = [total // 2 for total in totals], [total - total // 2 for total in totals]
    return tuple(small + large if node.attributes["auto_pad"] == "SAME_UPPER" else large + small)


def padded(x: Tensor, pads: tuple[int, ...], value: float) -> Tensor:
    axes = len(pads) // 2
    pairs = [pad for axis in reversed(range(axes)) for pad in (pads[axis], pads[axes + axis])]
    return functional.pad(x, pairs, value=value) if any(pads) else x


def _call(layer: nn.Module, x: Tensor) -> Tensor:
    result: Tensor = layer(x)
    return result


def _weight(node: OnnxNode, known: Known, index: int) -> Array:
    array = _optional(node, known, index)
    if array is None:
        raise node.refuse(f"its input {index} is not a weight that the file holds")
    return array


def _optional(node: OnnxNode, known: Known, index: int) -> Array | None:
    if index >= len(node.inputs) or not node.inputs[index]:
        return None
    array = known[index]
    if array is None or array.dtype.kind != "f":
        raise node.refuse(f"its input {node.inputs[index]!r} is not a weight that the file holds, in floating point")
    return array


def _fill(layer: nn.Module, **arrays: Array | None) -> None:
    with torch.no_grad():
        for name, array in arrays.items():
            if array is not None:
                getattr(layer, name).copy_(torch.from_numpy(np.ascontiguousarray(array, np.float32)))
