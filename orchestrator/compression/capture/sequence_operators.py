"""Operations that work alike on images, tokens and flat feature maps: linear layers, sums, elementwise products, norms,
means, concatenations.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from orchestrator.compression.capture import ir
from orchestrator.compression.capture.call import Call, ConstantValue, Value
from orchestrator.compression.capture.views import Shape, View, contiguous, is_run, run_of, to_storage


def _linear(call: Call) -> View:
    weight = call.constant("weight")
    assert weight is not None
    return linear_over(call, call.input, weights_of(weight, call.constant("bias")))


def linear_over(call: Call, view: View, weights: dict[str, Any]) -> View:
    """Over the last dimension: of every pixel a pointwise convolution, of a flat feature map a linear layer."""
    outputs = weights["weight"].shape[0]
    if len(view.dims) == 2 and call.emitter.has_samples_first(view):
        name = call.emit(ir.Linear, [call.emitter.flat(view)], (outputs,), **weights)
        return call.emitter.standard(name)
    last = len(view.dims) - 1
    view, source = call.emitter.channels_last(view, last)
    _, *pixels = call.emitter.shapes[source]
    weights["weight"] = weights["weight"][:, :, None, None]
    fields = {"stride": (1, 1), "padding": (0, 0, 0, 0), "groups": 1}
    name = call.emit(ir.Conv, [source], (outputs, *pixels), **weights, **fields)
    return view.with_channels(name, last, outputs)


def weights_of(weight: ConstantValue, bias: ConstantValue | None) -> dict[str, Any]:
    """The fields of a layer that has these parameters."""
    return {
        "weight": weight.tensor.clone(),
        "bias": bias.tensor.clone() if bias else torch.zeros(len(weight.tensor), dtype=torch.float64),
        "weight_name": weight.name,
        "bias_name": bias.name if bias else "",
    }


def _add(call: Call) -> View:
    call.require(call["alpha"] == 1, f"scales its second operand by {call['alpha']}")
    return _combine(call, ir.Add)


def _subtract(call: Call) -> View:
    return _difference(call, call["self"], call["other"])


def _subtract_from(call: Call) -> View:
    return _difference(call, call["other"], call["self"])


def _difference(call: Call, first: Any, second: Any) -> View:
    """A sum with the negative of what is taken away."""
    call.require(call["alpha"] == 1, f"scales what it subtracts by {call['alpha']}")
    constant = call.constant_of(second)
    if constant is not None:
        return _with_constant(call, ir.Add, call.view(first), -constant)
    negated = _with_number(call, ir.Multiply, call.view(second), -1.0)
    constant = call.constant_of(first)
    if constant is not None:
        return _with_constant(call, ir.Add, negated, constant)
    return _of_two(call, ir.Add, call.view(first), negated)


def _multiply(call: Call) -> View:
    return _combine(call, ir.Multiply)


def _divide(call: Call) -> View:
    divisor = call.constant_of(call["other"])
    if divisor is None:
        call.refuse("divides by a feature map")
    return _with_constant(call, ir.Multiply, call.input, 1 / divisor)


def _combine(call: Call, kind: type[ir.Add] | type[ir.Multiply]) -> View:
    first, second = call["self"], call["other"]
    for operand, other in ((first, second), (second, first)):
        constant = call.constant_of(other)
        if constant is not None:
            return _with_constant(call, kind, call.view(operand), constant)
    return _of_two(call, kind, call.view(first), call.view(second))


def _of_two(call: Call, kind: type[ir.Add] | type[ir.Multiply], a: View, b: View) -> View:
    if a.shape != b.shape:
        return _for_each_channel(call, kind, a, b)
    if a.dims == b.dims:
        shape = call.emitter.shapes[a.name]
        return a.renamed(call.emit(kind, [a.name, call.emitter.as_shape(b.name, shape)], shape))
    axes = range(1, len(a.dims))
    shape = (a.shape[-1], 1, math.prod(a.shape[1:-1]))
    name = call.emit(kind, [call.emitter.arrange(view, axes, shape) for view in (a, b)], shape)
    return contiguous(name, a.shape)


def _for_each_channel(call: Call, kind: type[ir.Add] | type[ir.Multiply], a: View, b: View) -> View:
    """A feature map times one value for each of its channels."""
    if math.prod(a.shape) < math.prod(b.shape):
        a, b = b, a
    channels, *_ = shape = call.emitter.shapes[a.name]
    axes = [axis for axis, dim in enumerate(a.dims) if dim == ((channels, 1),)]
    fits = (
        kind is ir.Multiply
        and len(axes) == 1
        and all(size == 1 for axis, size in enumerate(b.shape) if axis not in (0, axes[0]))
        and b.shape[axes[0]] == channels
        and len(a.dims) == len(b.dims)
    )
    call.require(fits, f"broadcasts {a.shape[1:]} with {b.shape[1:]}; shapes must be equal")
    gate = call.emitter.arrange(b, [axes[0]], (channels, 1, 1))
    return a.renamed(call.emit(ir.Multiply, [a.name, gate], shape))


def _with_constant(call: Call, kind: type[ir.Add] | type[ir.Multiply], view: View, constant: Tensor) -> View:
    call.require(bool(torch.isfinite(constant).all()), "has a constant that is not finite; masks have no operator yet")
    call.require(call.shape == view.shape, f"repeats a feature map of shape {view.shape[1:]} to fit a constant")
    if constant.numel() == 1:
        return _with_number(call, kind, view, float(constant))
    values = constant.expand(call.shape)
    channels, *pixels = shape = call.emitter.shapes[view.name]
    axes = [axis for axis, dim in enumerate(view.dims) if dim == ((channels, 1),)]
    each = constant.flatten()
    if len(axes) == 1 and pixels and len(each) == channels and bool((values.movedim(axes[0], -1) == each).all()):
        scale, shift = (torch.ones_like(each), each) if kind is ir.Add else (each, torch.zeros_like(each))
        zeros, ones = torch.zeros_like(each), torch.ones_like(each)
        return call.emit_elementwise(
            ir.BatchNorm, view, gamma=scale, beta=shift, mean=zeros, variance=ones, eps=0.0, fixed=True
        )
    call.require(call.emitter.has_samples_first(view), "does not keep samples apart")
    call.require(bool((values == values[:1]).all()), "has a constant that differs between samples")
    stored = to_storage(view, values[0])
    name = call.emitter.fresh(f"{call.node.name}.constant")
    value = stored.reshape(1, *pixels, channels).permute(0, 3, 1, 2) if pixels else stored.reshape(1, channels)
    call.emitter.add(ir.Constant(name=name, inputs=[], output=name, value=value), shape)
    return view.renamed(call.emit(kind, [view.name, name], shape))


def _with_number(call: Call, kind: type[ir.Add] | type[ir.Multiply], view: View, number: float) -> View:
    if kind is ir.Add:
        return call.emit_elementwise(ir.Elementwise, view, function=partial(torch.add, other=number))
    function = partial(torch.mul, other=number)
    return call.emit_elementwise(ir.Scale, view, factor=number, function=function)


def _layer_norm(call: Call) -> View:
    sizes = call["normalized_shape"]
    call.require(len(sizes) == 1, f"normalises over the last {len(sizes)} dimensions; only over the last one")
    weight, bias = call.constant("weight"), call.constant("bias")
    ones = torch.ones(sizes, dtype=torch.float64)
    fields = {
        "gain": weight.tensor.clone() if weight else ones,
        "bias": bias.tensor.clone() if bias else torch.zeros_like(ones),
        "epsilon": float(call["eps"]),
    }
    return over_last(call, call.input, len(call.input.dims) - 1, ir.LayerNorm, fields)


def _softmax(call: Call) -> View:
    return over_last(call, call.input, call.axis(), ir.Softmax, {})


def over_last(call: Call, view: View, axis: int, kind: Callable[..., ir.Node], fields: dict[str, Any]) -> View:
    call.require(axis != 0, "mixes samples")
    if len(view.dims) == 2 and call.emitter.has_samples_first(view):
        name = call.emitter.flat(view)
        return call.emitter.standard(call.emit(kind, [name], call.emitter.shapes[name], **fields))
    view, _ = call.emitter.channels_last(view, axis)
    return call.emit_elementwise(kind, view, **fields)


def _mean(call: Call) -> View:
    view = call.input
    rank = len(view.dims)
    reduced = view.by_storage({axis % rank for axis in call["dim"] or range(rank)})
    call.require(0 not in reduced, "averages over samples")
    kept = [axis for axis in range(1, rank) if axis not in reduced]
    channels, pixels = (math.prod(view.shape[axis] for axis in axes) for axes in (kept, reduced))
    shape = call.emitter.shapes[view.name]
    size = shape[1:] if len(shape) == 3 and shape[0] == channels else (1, pixels)
    source = call.emitter.arrange(view, [*reduced, *kept], (channels, *size))
    window = {"kernel": size, "stride": size, "padding": (0, 0, 0, 0)}
    return contiguous(call.emit(ir.AveragePool, [source], (channels, 1, 1), **window), call.shape)


def _concat(call: Call) -> View:
    """Along channels; or along whatever is stored slowest, as a class token before the others."""
    operands = call["tensors"]
    rank = len(call.shape)
    axis = call["dim"] % rank
    call.require(axis != 0, "concatenates samples")
    first = next(value for operand in operands if isinstance(value := call.values[operand], View))
    others = [other for other in first.by_storage(range(1, rank)) if other != axis]
    if rank == 2:
        flat = [call.emitter.flat(_as_view(call, operand, [1])) for operand in operands]
        return call.emitter.standard(call.emit(ir.Concat, flat, (call.shape[1],)))
    if is_run(run_of(first, [*others, axis])):
        order, pixels = [*others, axis], math.prod(call.shape[other] for other in others)
        shape = call.emitter.shapes[first.name]
        size = shape[1:] if len(shape) == 3 and math.prod(shape[1:]) == pixels else (1, pixels)
        views = [_as_view(call, operand, order) for operand in operands]
        inputs = [call.emitter.arrange(view, order, (view.shape[axis], *size)) for view in views]
        name = call.emit(ir.Concat, inputs, (call.shape[axis], *size))
    else:
        order = [axis, *others]
        last = call.shape[order[-1]]
        views = [_as_view(call, operand, order) for operand in operands]
        flat = [_flat_in_order(call, view, order) for view in views]
        features = math.prod(call.shape[1:])
        joined = call.emit(ir.Concat, flat, (features,))
        name = call.emit(ir.Reshape, [joined], (last, 1, features // last), to=(last, 1, features // last))
    return in_order(name, call.shape, order)


def _flat_in_order(call: Call, view: View, order: list[int]) -> str:
    features = math.prod(view.shape[1:])
    return call.emitter.arrange(view, order, (features,))


def _as_view(call: Call, operand: Any, order: list[int]) -> View:
    """An operand as a view; a constant becomes a feature map that is stored in this order."""
    value = call.values[operand]
    if isinstance(value, View):
        return value
    constant = call.constant_of(operand)
    assert constant is not None
    call.require(bool((constant == constant[:1]).all()), "has a constant that differs between samples")
    stored = constant[0].permute([axis - 1 for axis in order]).reshape(1, -1)
    name = call.emitter.fresh(f"{call.node.name}.constant")
    call.emitter.add(ir.Constant(name=name, inputs=[], output=name, value=stored), (stored.shape[1],))
    return in_order(name, tuple(constant.shape), order)


def in_order(name: str, shape: Shape, order: list[int]) -> View:
    """A tensor of this shape whose storage has its dimensions in `order`, after the batch."""
    ordered = contiguous(name, [shape[0], *(shape[axis] for axis in order)])
    dims = [ordered.dims[0]] * len(shape)
    for position, axis in enumerate(order):
        dims[axis] = ordered.dims[position + 1]
    return View(name, tuple(dims))


SEQUENCE_OPERATORS: dict[str, Callable[[Call], Value]] = {
    "aten.linear.default": _linear,
    "aten.add.Tensor": _add,
    "aten.add_.Tensor": _add,
    "aten.sub.Tensor": _subtract,
    "aten.sub_.Tensor": _subtract,
    "aten.rsub.Scalar": _subtract_from,
    "aten.mul.Tensor": _multiply,
    "aten.mul_.Tensor": _multiply,
    "aten.div.Tensor": _divide,
    "aten.div_.Tensor": _divide,
    "aten.cat.default": _concat,
    "aten.concat.default": _concat,
    "aten.mean.dim": _mean,
    "aten.softmax.int": _softmax,
    "aten.layer_norm.default": _layer_norm,
}
