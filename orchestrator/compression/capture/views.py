"""Exported tensors as views of stored feature maps, so that reshaping and permuting cost nothing.

A device stores a feature map [C, H, W] pixel by pixel with the channels last, and a flat one as it is; samples follow
each other. A view says where each dimension of an exported tensor runs through that storage: as a list of factors, each
a size and a stride in elements, like the strides of an array, but several to a dimension where merging made one of two.
Attention that splits channels into heads, permutes and flattens again is back where it began, and nothing was moved.

Pure: nodes are made by `emitter`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Factor = tuple[int, int]  # size above 1, stride
Dim = tuple[Factor, ...]
Shape = tuple[int, ...]


@dataclass(frozen=True)
class View:
    """All elements of the feature map `name`, every sample included; the batch is a dimension like any other."""

    name: str
    dims: tuple[Dim, ...]

    @property
    def shape(self) -> Shape:
        return tuple(size_of(dim) for dim in self.dims)

    def permute(self, order: Sequence[int]) -> View:
        return View(self.name, tuple(self.dims[axis] for axis in order))

    def reshape(self, shape: Sequence[int]) -> View | None:
        """The same elements in another shape; None where a dimension would end within a factor's stride."""
        left = list(merged(factor for dim in self.dims for factor in dim))
        dims = []
        for size in shape:
            dim: list[Factor] = []
            while size > 1:
                if not left:
                    return None
                whole, stride = left[0]
                if size % whole == 0:
                    dim.append(left.pop(0))
                    size //= whole
                elif whole % size == 0:
                    dim.append((size, stride * (whole // size)))
                    left[0] = (whole // size, stride)
                    size = 1
                else:
                    return None
            dims.append(merged(dim))
        return None if left else View(self.name, tuple(dims))

    def with_channels(self, name: str, axis: int, channels: int) -> View:
        """The view of a feature map that has other channels, whose pixels are the same; they are dimension `axis`."""
        before = size_of(self.dims[axis])
        dims = [tuple((size, stride // before * channels) for size, stride in dim) for dim in self.dims]
        dims[axis] = () if channels == 1 else ((channels, 1),)
        return View(name, tuple(dims))

    def renamed(self, name: str) -> View:
        return View(name, self.dims)

    def by_storage(self, axes: Iterable[int]) -> list[int]:
        """`axes` in the order in which they are stored, the slowest first; those of size 1 come first of all."""
        return sorted(axes, key=lambda axis: -max((stride for _, stride in self.dims[axis]), default=math.inf))


def stored(name: str, shape: Shape, batch: int) -> View:
    """How torch sees the feature map: [N, C, H, W], or [N, F]."""
    elements = math.prod(shape)
    if len(shape) == 1:
        return View(name, (_dim(batch, elements), _dim(shape[0], 1)))
    channels, height, width = shape
    dims = (_dim(batch, elements), _dim(channels, 1), _dim(height, width * channels), _dim(width, channels))
    return View(name, dims)


def contiguous(name: str, shape: Sequence[int]) -> View:
    """A tensor of this shape, batch included, whose order is that of the storage."""
    strides = [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]
    return View(name, tuple(_dim(size, stride) for size, stride in zip(shape, strides, strict=True)))


def merged(factors: Iterable[Factor]) -> Dim:
    """Neighbours that run on into each other become one."""
    result: list[Factor] = []
    for size, stride in factors:
        if size == 1:
            continue
        if result and result[-1][1] == size * stride:
            result[-1] = (result[-1][0] * size, stride)
        else:
            result.append((size, stride))
    return tuple(result)


def size_of(dim: Dim) -> int:
    return math.prod(size for size, _ in dim)


def run_of(view: View, axes: Iterable[int]) -> Dim:
    """The factors of several dimensions in this order."""
    return merged(factor for axis in axes for factor in view.dims[axis])


def is_run(factors: Dim) -> bool:
    """Whether these factors are one stretch of storage."""
    return not factors or (len(factors) == 1 and factors[0][1] == 1)


def to_storage(view: View, values: Tensor) -> Tensor:
    """Values of the view's dimensions but the batch, its first, as flat storage of one sample."""
    factors = [factor for dim in view.dims[1:] for factor in dim]
    if not factors:
        return values.reshape(-1)
    order = sorted(range(len(factors)), key=lambda index: -factors[index][1])
    return torch.permute(values.reshape([size for size, _ in factors]), order).reshape(-1)


def _dim(size: int, stride: int) -> Dim:
    return () if size == 1 else ((size, stride),)
