"""Which ONNX operations are known, and what each computes in torch. What is not in the table is refused by name."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from orchestrator.compression.from_onnx import layers
from orchestrator.compression.from_onnx.layers import Known, Made
from orchestrator.onnx.reader import Array, OnnxNode


def _plain(compute: Callable[..., Any]) -> Callable[[OnnxNode, Known, int], Made]:
    return lambda node, known, opset: Made(compute, node.inputs)


def _clip(node: OnnxNode, known: Known, _: int) -> Made:
    low, high = (_number(node, known, index, name) for index, name in ((1, "min"), (2, "max")))
    if low is None and high is None:
        return Made(lambda x: x, node.inputs[:1])
    return Made(lambda x: torch.clamp(x, low, high), node.inputs[:1])


def _number(node: OnnxNode, known: Known, index: int, name: str) -> float | None:
    """An input since operator set 11, an attribute before; infinities and the ends of float32 are no bound."""
    if name in node.attributes:
        value = float(str(node.attributes[name]))
    elif index < len(node.inputs) and node.inputs[index]:
        array = known[index]
        if array is None or array.size != 1:
            raise node.refuse(f"its {name} is not a number that the file holds")
        value = float(array.reshape(()))
    else:
        return None
    return value if abs(value) < np.finfo(np.float32).max else None


def _max_pool(node: OnnxNode, known: Known, _: int) -> Made:
    kernel, stride, pads = _window(node)
    dilation = layers.sizes(node, "dilations", (1,) * len(kernel))
    is_up = bool(node.attributes.get("ceil_mode", 0))
    pool: Any = functional.max_pool2d if len(kernel) == 2 else functional.max_pool1d
    half = len(kernel)
    if pads is not None and pads[:half] == pads[half:]:
        return Made(lambda x: pool(x, kernel, stride, pads[:half], dilation, is_up), node.inputs)

    def compute(x: Tensor) -> Tensor:
        x = layers.padded(x, pads or layers.same_pads(node, x, kernel, stride), -math.inf)
        result: Tensor = pool(x, kernel, stride, 0, dilation, is_up)
        return result

    return Made(compute, node.inputs)


def _average_pool(node: OnnxNode, known: Known, _: int) -> Made:
    kernel, stride, pads = _window(node)
    counts, is_up = bool(node.attributes.get("count_include_pad", 0)), bool(node.attributes.get("ceil_mode", 0))
    half = len(kernel)
    if pads is None or pads[:half] != pads[half:]:
        raise node.refuse("pads one side more than the other")
    pool: Any = functional.avg_pool2d if half == 2 else functional.avg_pool1d
    return Made(lambda x: pool(x, kernel, stride, pads[:half], is_up, counts), node.inputs)


def _window(node: OnnxNode) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...] | None]:
    kernel = layers.sizes(node, "kernel_shape", ())
    if len(kernel) not in (1, 2):
        raise node.refuse("pools in one and two dimensions are known")
    stride = layers.sizes(node, "strides", (1,) * len(kernel))
    return kernel, stride, layers.pads(node, kernel, stride, layers.sizes(node, "dilations", (1,) * len(kernel)))


def _global_average(x: Tensor) -> Tensor:
    return x.mean(dim=tuple(range(2, x.ndim)), keepdim=True)


def _reduce_mean(node: OnnxNode, known: Known, _: int) -> Made:
    given: Any = known[1] if len(node.inputs) > 1 else node.attributes.get("axes")
    if given is None:
        raise node.refuse("averages over all axes, samples among them")
    axes, keep = tuple(int(axis) for axis in given), bool(node.attributes.get("keepdims", 1))
    return Made(lambda x: x.mean(dim=axes, keepdim=keep), node.inputs[:1])


def _flatten(node: OnnxNode, known: Known, _: int) -> Made:
    if node.attributes.get("axis", 1) != 1:
        raise node.refuse("flattens samples together")
    return Made(lambda x: torch.flatten(x, 1), node.inputs)


def _reshape(x: Tensor, shape: Array) -> Tensor:
    """The first size is the number of samples, whatever the exporter's own batch was."""
    wanted = [x.shape[i] if size == 0 else int(size) for i, size in enumerate(shape)]
    return x.reshape(x.shape[0], *wanted[1:])


def _transpose(node: OnnxNode, known: Known, _: int) -> Made:
    perm: Any = node.attributes.get("perm")
    if perm is None or perm[0] != 0:
        raise node.refuse("moves the axis of samples")
    return Made(lambda x: x.permute(perm), node.inputs)


def _axes_of(node: OnnxNode, known: Known) -> tuple[int, ...]:
    given: Any = known[1] if len(node.inputs) > 1 else node.attributes.get("axes", ())
    if given is None or len(given) == 0:
        raise node.refuse("does not say which axes")
    return tuple(int(axis) for axis in given)


def _squeeze(node: OnnxNode, known: Known, _: int) -> Made:
    axes = _axes_of(node, known)
    if 0 in axes:
        raise node.refuse("removes the axis of samples")
    return Made(lambda x: torch.squeeze(x, axes), node.inputs[:1])


def _unsqueeze(node: OnnxNode, known: Known, _: int) -> Made:
    axes = _axes_of(node, known)

    def compute(x: Any) -> Any:
        if not isinstance(x, Tensor):
            return np.expand_dims(x, axes)
        for axis in sorted(axes):
            x = x.unsqueeze(axis)
        return x

    return Made(compute, node.inputs[:1])


def _softmax(node: OnnxNode, known: Known, opset: int) -> Made:
    axis: Any = node.attributes.get("axis", -1 if opset >= 13 else 1)

    def compute(x: Tensor) -> Tensor:
        if opset < 13 and axis % x.ndim != x.ndim - 1:
            raise ValueError("takes several axes as one, as operator sets before 13 do")
        return torch.softmax(x, axis)

    return Made(compute, node.inputs)


def _concat(node: OnnxNode, known: Known, _: int) -> Made:
    axis: Any = node.attributes.get("axis", 1)

    def compute(*xs: Any) -> Any:
        if isinstance(xs[0], Tensor):
            return torch.cat(xs, axis)
        return np.concatenate(xs, axis)

    return Made(compute, node.inputs)


def _gather(node: OnnxNode, known: Known, _: int) -> Made:
    axis: Any = node.attributes.get("axis", 0)

    def compute(x: Any, indices: Array) -> Any:
        if not isinstance(x, Tensor):
            return np.take(x, indices, axis)
        if indices.ndim > 1:
            raise ValueError("gathers by a table of indices")
        if indices.ndim == 0:
            return x.select(axis, int(indices))
        return x.index_select(axis, torch.from_numpy(np.asarray(indices, np.int64)))

    return Made(compute, node.inputs)


def _cast(node: OnnxNode, known: Known, _: int) -> Made:
    def compute(x: Any) -> Any:
        if isinstance(x, Tensor) and node.attributes.get("to") != 1:
            raise ValueError("casts a feature map to what is not float32")
        return x

    return Made(compute, node.inputs)


def _leaky_relu(node: OnnxNode, known: Known, _: int) -> Made:
    slope = float(str(node.attributes.get("alpha", 0.01)))
    return Made(lambda x: functional.leaky_relu(x, slope), node.inputs)


def _elu(node: OnnxNode, known: Known, _: int) -> Made:
    alpha = float(str(node.attributes.get("alpha", 1.0)))
    return Made(lambda x: functional.elu(x, alpha), node.inputs)


def _hard_sigmoid(node: OnnxNode, known: Known, _: int) -> Made:
    alpha, beta = float(str(node.attributes.get("alpha", 0.2))), float(str(node.attributes.get("beta", 0.5)))
    if math.isclose(alpha, 1 / 6, rel_tol=1e-6) and beta == 0.5:
        return Made(functional.hardsigmoid, node.inputs)
    return Made(lambda x: torch.clamp(alpha * x + beta, 0.0, 1.0), node.inputs)


def _gelu(node: OnnxNode, known: Known, _: int) -> Made:
    mode = str(node.attributes.get("approximate", "none"))
    return Made(lambda x: functional.gelu(x, approximate=mode), node.inputs)


def _dropout(node: OnnxNode, known: Known, _: int) -> Made:
    return Made(lambda x: x, node.inputs[:1])


OPERATORS: dict[str, Callable[[OnnxNode, Known, int], Made]] = {
    "Conv": layers.conv,
    "Gemm": layers.gemm,
    "MatMul": layers.matmul,
    "BatchNormalization": layers.batch_norm,
    "LayerNormalization": layers.layer_norm,
    "Add": _plain(torch.add),
    "Sub": _plain(torch.sub),
    "Mul": _plain(torch.mul),
    "Div": _plain(torch.div),
    "Concat": _concat,
    "MaxPool": _max_pool,
    "AveragePool": _average_pool,
    "GlobalAveragePool": _plain(_global_average),
    "ReduceMean": _reduce_mean,
    "Flatten": _flatten,
    "Reshape": _plain(_reshape),
    "Transpose": _transpose,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Softmax": _softmax,
    "Shape": _plain(lambda x: np.array(x.shape, np.int64)),
    "Gather": _gather,
    "Cast": _cast,
    "Clip": _clip,
    "Relu": _plain(torch.relu),
    "LeakyRelu": _leaky_relu,
    "Elu": _elu,
    "Sigmoid": _plain(torch.sigmoid),
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _plain(functional.hardswish),
    "Tanh": _plain(torch.tanh),
    "Gelu": _gelu,
    "Erf": _plain(torch.erf),
    "Exp": _plain(torch.exp),
    "Softplus": _plain(functional.softplus),
    "Mish": _plain(functional.mish),
    "Dropout": _dropout,
    "Identity": _dropout,
}  # fmt: skip
