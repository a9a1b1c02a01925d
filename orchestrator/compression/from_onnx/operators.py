"""Which ONNX operations are known, and what each computes in torch. What is not in the table is refused by name."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from orchestrator.compression.from_onnx import layers, shapes
from orchestrator.compression.from_onnx.layers import Known, Made
from orchestrator.compression.from_onnx.views import VIEW_OPERATORS
from orchestrator.onnx.reader import Array, OnnxNode


def _arithmetic(compute: Callable[[Any, Any], Any], of_sizes: Callable[..., Array]) -> Callable[..., Made]:
    """On feature maps, on the sizes that exporters compute in the graph, or on a map and a number made of sizes."""

    def either(a: Any, b: Any) -> Any:
        if isinstance(a, Tensor) or isinstance(b, Tensor):
            return compute(*(x if isinstance(x, Tensor) else x.item() for x in (a, b)))
        return shapes.of_sizes(of_sizes, a, b)

    return layers.plain(either)


def _only_sizes(compute: Callable[..., Array]) -> Callable[..., Made]:
    def of_sizes(*xs: Any) -> Array:
        if any(isinstance(x, Tensor) for x in xs):
            raise ValueError("is known for the sizes of feature maps only")
        return shapes.of_sizes(compute, *xs)

    return layers.plain(of_sizes)


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


def _reduce(node: OnnxNode, known: Known, _: int) -> Made:
    """The mean, or the sum as the mean times how many there are, which devices have an operator for."""
    given: Any = known[1] if len(node.inputs) > 1 else node.attributes.get("axes")
    if given is None:
        raise node.refuse("reduces all axes, samples among them")
    axes, keep = tuple(int(axis) for axis in given), bool(node.attributes.get("keepdims", 1))

    def compute(x: Tensor) -> Tensor:
        mean = x.mean(dim=axes, keepdim=keep)
        return mean * math.prod(x.shape[axis] for axis in axes) if node.operation == "ReduceSum" else mean

    return Made(compute, node.inputs[:1])


def _power(node: OnnxNode, known: Known, _: int) -> Made:
    exponent = _number(node, known, 1, "exponent")
    if exponent is None:
        raise node.refuse("its exponent is not finite")

    def compute(x: Any) -> Any:
        if isinstance(x, Tensor):
            return torch.square(x) if exponent == 2 else torch.pow(x, exponent)
        return np.asarray(x**exponent)

    return Made(compute, node.inputs[:1])


def _root(x: Any) -> Any:
    return torch.sqrt(x) if isinstance(x, Tensor) else np.asarray(np.sqrt(x))


def _softmax(node: OnnxNode, known: Known, opset: int) -> Made:
    axis: Any = node.attributes.get("axis", -1 if opset >= 13 else 1)

    def compute(x: Tensor) -> Tensor:
        if opset < 13 and axis % x.ndim != x.ndim - 1:
            raise ValueError("takes several axes as one, as operator sets before 13 do")
        return torch.softmax(x, axis)

    return Made(compute, node.inputs)


def _constant_of_shape(node: OnnxNode, known: Known, _: int) -> Made:
    return Made(lambda shape: shapes.constant_of_shape(node, shape), node.inputs)


def _cast(node: OnnxNode, known: Known, _: int) -> Made:
    def compute(x: Any) -> Any:
        if not isinstance(x, Tensor):
            return shapes.cast(node, x)
        if node.attributes.get("to") != 1:
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
    **VIEW_OPERATORS,
    "Add": _arithmetic(operator.add, np.add),
    "Sub": _arithmetic(operator.sub, np.subtract),
    "Mul": _arithmetic(operator.mul, np.multiply),
    "Div": _arithmetic(operator.truediv, shapes.divide),
    "Pow": _power,
    "Sqrt": layers.plain(_root),
    "Mod": _only_sizes(np.mod),
    "Equal": _only_sizes(np.equal),
    "Where": _only_sizes(np.where),
    "ConstantOfShape": _constant_of_shape,
    "MaxPool": _max_pool,
    "AveragePool": _average_pool,
    "GlobalAveragePool": layers.plain(_global_average),
    "ReduceMean": _reduce,
    "ReduceSum": _reduce,
    "Softmax": _softmax,
    "Shape": layers.plain(lambda x: np.array(x.shape, np.int64)),
    "Cast": _cast,
    "Clip": _clip,
    "Relu": layers.plain(torch.relu),
    "LeakyRelu": _leaky_relu,
    "Elu": _elu,
    "Sigmoid": layers.plain(torch.sigmoid),
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": layers.plain(functional.hardswish),
    "Tanh": layers.plain(torch.tanh),
    "Gelu": _gelu,
    "Erf": layers.plain(torch.erf),
    "Exp": layers.plain(torch.exp),
    "Softplus": layers.plain(functional.softplus),
    "Mish": layers.plain(functional.mish),
    "Dropout": _dropout,
    "Identity": _dropout,
}  # fmt: skip
