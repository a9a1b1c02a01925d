"""ONNX operations that reorder, cut or join feature maps, or the sizes that exporters compute in the graph."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from orchestrator.compression.from_onnx import layers, shapes
from orchestrator.compression.from_onnx.layers import Known, Made
from orchestrator.onnx.reader import Array, OnnxNode


def _flatten(node: OnnxNode, known: Known, _: int) -> Made:
    if node.attributes.get("axis", 1) != 1:
        raise node.refuse("flattens samples together")
    return Made(lambda x: torch.flatten(x, 1), node.inputs)


def _reshape(x: Tensor, shape: Array) -> Tensor:
    """The first size is the number of samples, whatever the exporter's own batch was.

    A single size that is not 1 follows from the feature map, so that pruning may make it smaller.
    """
    _, *wanted = [x.shape[i] if size == 0 else int(size) for i, size in enumerate(shape)]
    if sum(size != 1 for size in wanted) == 1 and math.prod(x.shape[1:]) <= max(wanted):
        wanted = [1 if size == 1 else -1 for size in wanted]
    return x.reshape(x.shape[0], *wanted)


def _transpose(node: OnnxNode, known: Known, _: int) -> Made:
    perm: Any = node.attributes.get("perm")
    return Made(lambda x: x.permute(perm or tuple(reversed(range(x.ndim)))), node.inputs)


def _axes_of(node: OnnxNode, known: Known) -> tuple[int, ...]:
    given: Any = known[1] if len(node.inputs) > 1 else node.attributes.get("axes", ())
    if given is None or len(given) == 0:
        raise node.refuse("does not say which axes")
    return tuple(int(axis) for axis in given)


def _squeeze(node: OnnxNode, known: Known, _: int) -> Made:
    axes = _axes_of(node, known)

    def compute(x: Any) -> Any:
        if not isinstance(x, Tensor):
            return np.squeeze(x, axes)
        if any(x.shape[axis] != 1 for axis in axes):
            raise ValueError(f"removes the axes {list(axes)} of a feature map of shape {list(x.shape)}")
        return torch.squeeze(x, axes)

    return Made(compute, node.inputs[:1])


def _unsqueeze(node: OnnxNode, known: Known, _: int) -> Made:
    axes = _axes_of(node, known)

    def compute(x: Any) -> Any:
        if not isinstance(x, Tensor):
            return np.expand_dims(x, axes)
        for axis in sorted(axes):
            x = x.unsqueeze(axis)
        return x

    return Made(compute, node.inputs[:1])


def _concat(node: OnnxNode, known: Known, _: int) -> Made:
    axis: Any = node.attributes.get("axis", 1)

    def compute(*xs: Any) -> Any:
        if not isinstance(xs[0], Tensor):
            return np.concatenate(xs, axis)
        if axis % xs[0].ndim == 0:
            return torch.cat(xs)
        samples = max(len(x) for x in xs)  # a constant may come for the one sample of the exporter's own batch
        return torch.cat([x if len(x) == samples else x.expand(samples, *x.shape[1:]) for x in xs], axis)

    return Made(compute, node.inputs)


def _slice(node: OnnxNode, known: Known, _: int) -> Made:
    return Made(lambda x, *given: x[shapes.slices(node, x.ndim, *given)], node.inputs)


def _pad(node: OnnxNode, known: Known, _: int) -> Made:
    """All inputs but the first may be left out; before operator set 11 they are attributes."""
    value: Any = known[2] if len(known) > 2 else None
    if node.attributes.get("mode", "constant") != "constant" or (value is None and any(node.inputs[2:3])):
        raise node.refuse("pads with something else than a constant")
    fill: Any = node.attributes.get("value", 0.0) if value is None else value.item()

    def compute(x: Tensor, pads: Any = None, _: Any = None, axes: Any = None) -> Tensor:
        amounts: Any = node.attributes.get("pads", ()) if pads is None else pads
        chosen = range(x.ndim) if axes is None else [int(axis) % x.ndim for axis in axes]
        before = dict(zip(chosen, amounts[: len(chosen)], strict=True))
        after = dict(zip(chosen, amounts[len(chosen) :], strict=True))
        whole = tuple(int(side.get(axis, 0)) for side in (before, after) for axis in range(x.ndim))
        return layers.padded(x, whole, float(fill))

    return Made(compute, node.inputs)


def _split(node: OnnxNode, known: Known, _: int) -> Made:
    """As many parts as it has outputs; as large as the file says, else equal, the last one what is left."""
    axis: Any = node.attributes.get("axis", 0)

    def compute(x: Tensor, given: Any = None) -> tuple[Tensor, ...]:
        said: Any = node.attributes.get("split") if given is None else given
        equal = -(-x.shape[axis] // len(node.outputs))
        return torch.split(x, equal if said is None else [int(size) for size in said], axis)

    return Made(compute, node.inputs)


def _expand(x: Tensor, shape: Array) -> Tensor:
    return x.expand(np.broadcast_shapes(x.shape, tuple(int(size) for size in shape)))


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


VIEW_OPERATORS: dict[str, Callable[[OnnxNode, Known, int], Made]] = {
    "Flatten": _flatten,
    "Reshape": layers.plain(_reshape),
    "Transpose": _transpose,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Concat": _concat,
    "Slice": _slice,
    "Pad": _pad,
    "Split": _split,
    "Gather": _gather,
    "Expand": layers.plain(_expand),
}
