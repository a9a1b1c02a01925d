"""ONNX operations on constants and on shapes, in numpy: exporters compute sizes in the graph itself."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from orchestrator.onnx.reader import Array, OnnxNode

MAX_SIZES = 1 << 10
"""Elements of what is computed of sizes and could grow: broadcasting and filling; nothing else here makes more."""


def _constant(node: OnnxNode) -> Array:
    for name in ("value", "value_float", "value_int", "value_floats", "value_ints"):
        if name in node.attributes:
            value: Any = node.attributes[name]
            dtype = np.float32 if "float" in name else np.int64
            return value if isinstance(value, np.ndarray) else np.asarray(value, dtype)
    raise node.refuse("has no value of numbers")


def _axes(node: OnnxNode, given: Array | None) -> tuple[int, ...]:
    """An input since operator set 13, an attribute before."""
    if given is not None:
        return tuple(int(axis) for axis in np.atleast_1d(given))
    axes: Any = node.attributes.get("axes", ())
    return tuple(axes)


def _unsqueeze(node: OnnxNode, x: Array, axes: Array | None = None) -> Array:
    return np.expand_dims(x, _axes(node, axes))


def _squeeze(node: OnnxNode, x: Array, axes: Array | None = None) -> Array:
    return np.squeeze(x, _axes(node, axes) or None)


def _gather(node: OnnxNode, x: Array, indices: Array) -> Array:
    axis: Any = node.attributes.get("axis", 0)
    return np.take(x, indices.astype(np.int64), axis)


def _concat(node: OnnxNode, *xs: Array) -> Array:
    axis: Any = node.attributes.get("axis", 0)
    return np.concatenate(xs, axis)


def slices(node: OnnxNode, rank: int, *given: Array | None) -> tuple[slice, ...]:
    """What a Slice takes of each axis: inputs since operator set 10, attributes before."""
    names = ("starts", "ends", "axes", "steps")
    said: dict[str, Any] = dict(node.attributes) | {
        name: array for name, array in zip(names, given, strict=False) if array is not None
    }
    count = len(said["starts"])
    said = {"axes": range(count), "steps": (1,) * count} | said
    taken = [slice(None)] * rank
    for start, end, axis, step in zip(*(said[name] for name in names), strict=True):
        taken[int(axis)] = slice(int(start), int(end), int(step))
    return tuple(taken)


def _slice(node: OnnxNode, x: Array, *given: Array | None) -> Array:
    return x[slices(node, x.ndim, *given)]


def of_sizes(compute: Callable[..., Array], *xs: Array) -> Array:
    """An operation that broadcasts, on sizes; what it makes is bounded before it is made."""
    if math.prod(np.broadcast_shapes(*(np.shape(x) for x in xs))) > MAX_SIZES:
        raise ValueError("is known for the sizes of feature maps, not for constants of many elements")
    return np.asarray(compute(*xs))


def divide(a: Array, b: Array) -> Array:
    return a // b if a.dtype.kind in "iu" and b.dtype.kind in "iu" else a / b


def constant_of_shape(node: OnnxNode, shape: Array) -> Array:
    if math.prod(int(size) for size in shape) > MAX_SIZES:
        raise ValueError(f"fills more than {MAX_SIZES} elements")
    value: Any = node.attributes.get("value", np.zeros(1, np.float32))
    return np.full([int(size) for size in shape], value.reshape(-1)[0])


def _transpose(node: OnnxNode, x: Array) -> Array:
    perm: Any = node.attributes.get("perm")
    return np.transpose(x, perm)


def _reshape(node: OnnxNode, x: Array, shape: Array) -> Array:
    return np.reshape(x, [x.shape[i] if size == 0 else int(size) for i, size in enumerate(shape)])


def cast(node: OnnxNode, x: Array) -> Array:
    dtype = {1: np.float32, 6: np.int32, 7: np.int64, 11: np.float32}.get(int(str(node.attributes.get("to", 0))))
    if dtype is None:
        raise node.refuse("casts to a type that is not supported")
    return x.astype(dtype)


SHAPE_OPERATORS: dict[str, Callable[..., Array]] = {
    "Constant": _constant,
    "Identity": lambda node, x: x,
    "Unsqueeze": _unsqueeze,
    "Squeeze": _squeeze,
    "Gather": _gather,
    "Concat": _concat,
    "Transpose": _transpose,
    "Reshape": _reshape,
    "Slice": _slice,
    "Cast": cast,
    "ConstantOfShape": constant_of_shape,
}
