"""Operations that look at a feature map in another way: most of them emit nothing, and cost nothing on a device.

Taking part of a feature map is the exception: channels are picked by the layer that makes them, every n-th row or
column is a pooling window of one pixel, and so is the first token, with a stride as long as the sequence.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import torch

from orchestrator.compression.capture import ir
from orchestrator.compression.capture.call import Call, Value
from orchestrator.compression.capture.views import View, merged


def _reshape(call: Call) -> View:
    return call.emitter.reshape(call.input, call.shape)


def _transpose(call: Call) -> View:
    view = call.input
    order = list(range(len(view.dims)))
    first, second = (call[name] % len(order) for name in ("dim0", "dim1"))
    order[first], order[second] = order[second], order[first]
    return view.permute(order)


def _permute(call: Call) -> View:
    view = call.input
    return view.permute([axis % len(view.dims) for axis in call["dims"]])


def _transpose_matrix(call: Call) -> View:
    return call.input.permute((1, 0))


def _expand(call: Call) -> View:
    call.require(call.shape == call.input.shape, "repeats a feature map; only its own shape is supported")
    return call.input


def _select(call: Call) -> View:
    axis = call.axis()
    start = call["index"] % call.input.shape[axis]
    view = _narrow(call, axis, start, 1)
    return View(view.name, view.dims[:axis] + view.dims[axis + 1 :])


def _slice(call: Call) -> View:
    axis, step = call.axis(), call["step"]
    size = call.input.shape[axis]
    start, end, _ = slice(call["start"], call["end"]).indices(size)
    if step == 1:
        return _narrow(call, axis, start, call.shape[axis])
    is_whole_image = len(call.shape) in (3, 4) and axis >= 2 and (start, end) == (0, size)
    call.require(
        is_whole_image, f"takes every {step}-th entry; only a run, or every n-th row or column of a whole image"
    )
    stride = (step, 1) if axis == 2 and len(call.shape) == 4 else (1, step)
    return call.emit_image(ir.MaxPool, [call.image()], kernel=(1, 1), stride=stride, padding=(0, 0, 0, 0))


def _unbind(call: Call) -> tuple[View, ...]:
    axis = call.axis()
    parts = [_narrow(call, axis, index, 1) for index in range(call.input.shape[axis])]
    return tuple(View(part.name, part.dims[:axis] + part.dims[axis + 1 :]) for part in parts)


def _split(call: Call) -> tuple[View, ...]:
    """chunk, split and split_with_sizes: what they return says where they cut."""
    axis = call.axis()
    sizes = [int(part.shape[axis]) for part in call.node.meta["val"]]
    starts = itertools.accumulate([0, *sizes[:-1]])
    return tuple(_narrow(call, axis, start, size) for start, size in zip(starts, sizes, strict=True))


def _narrow(call: Call, axis: int, start: int, size: int) -> View:
    view = call.input
    if size == view.shape[axis]:
        return view
    channels, *pixels = call.emitter.shapes[view.name]
    whole = math.prod(pixels)
    strides = [stride for _, stride in view.dims[axis]]
    call.require(max(strides) < channels * whole, "takes some of the samples")
    if max(strides) < channels:
        return _some_channels(call, view, axis, start, size)
    is_first_token = (start, size) == (0, 1) and view.dims[axis] == ((whole, channels),)
    call.require(is_first_token, "takes part of a feature map; only channels, or the first token, can be taken")
    height, width = pixels
    window = {"kernel": (1, 1), "stride": (height, width), "padding": (0, 0, 0, 0)}
    name = call.emit(ir.MaxPool, [view.name], (channels, 1, 1), **window)
    dims = [tuple((n, s // whole if s >= whole * channels else s) for n, s in dim) for dim in view.dims]
    dims[axis] = ()
    return View(name, tuple(dims))


def _some_channels(call: Call, view: View, axis: int, start: int, size: int) -> View:
    channels = call.emitter.shapes[view.name][0]
    # What a channel's number is made of: one coordinate for each factor, the slowest first.
    factors = sorted(
        (
            (stride, length, index == axis)
            for index, dim in enumerate(view.dims)
            for length, stride in dim
            if stride < channels
        ),
        reverse=True,
    )
    narrowed = [length for _, length, is_cut in factors if is_cut]
    call.require(len(narrowed) == 1, "takes part of a dimension that is spread over the channels")
    ranges = [range(start, start + size) if is_cut else range(length) for _, length, is_cut in factors]
    taken = [sum(i * f[0] for i, f in zip(at, factors, strict=True)) for at in itertools.product(*ranges)]
    kept = len(taken)
    source = call.emitter.shapes[view.name]
    name = call.emit(ir.Select, [view.name], (kept, *source[1:]), channels=torch.tensor(taken))
    lengths = [len(steps) for steps in ranges]
    strides = {f[0]: math.prod(lengths[position + 1 :]) for position, f in enumerate(factors)}
    dims = []
    for index, dim in enumerate(view.dims):
        new = [
            (size if index == axis else length, strides[stride] if stride < channels else stride // channels * kept)
            for length, stride in dim
        ]
        dims.append(merged(new))
    return View(name, tuple(dims))


VIEW_OPERATORS: dict[str, Callable[[Call], Value]] = {
    **{
        f"aten.{name}": _reshape
        for name in (
            "flatten.using_ints", "view.default", "reshape.default", "_unsafe_view.default", "unflatten.int",
            "squeeze.default", "squeeze.dim", "squeeze.dims", "unsqueeze.default",
        )
    },
    "aten.transpose.int": _transpose,
    "aten.swapaxes.default": _transpose,
    "aten.permute.default": _permute,
    "aten.t.default": _transpose_matrix,
    "aten.expand.default": _expand,
    "aten.select.int": _select,
    "aten.slice.Tensor": _slice,
    "aten.unbind.int": _unbind,
    "aten.chunk.default": _split,
    "aten.split.Tensor": _split,
    "aten.split_with_sizes.default": _split,
}  # fmt: skip
