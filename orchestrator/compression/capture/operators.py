"""Which exported operations a device can run, and how each becomes a node of the float graph.

One small function per operation, in a table by PyTorch's name for it. A function checks every argument that its node
cannot express and refuses by name; nothing is dropped in silence. Operations that only look at a feature map in another
way are in `view_operators`, those that work on tokens too in `sequence_operators`, attention in `product_operators`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from orchestrator.compression.capture import ir
from orchestrator.compression.capture.call import Call, Value
from orchestrator.compression.capture.product_operators import PRODUCT_OPERATORS
from orchestrator.compression.capture.sequence_operators import SEQUENCE_OPERATORS, weights_of
from orchestrator.compression.capture.view_operators import VIEW_OPERATORS
from orchestrator.compression.capture.views import View

IDENTITIES = frozenset(
    f"aten.{name}"
    for name in (
        "dropout.default", "dropout_.default", "feature_dropout.default", "alpha_dropout.default", "contiguous.default",
        "clone.default", "alias.default", "detach.default", "detach_.default", "lift_fresh_copy.default",
    )
)  # fmt: skip

Operation = Callable[[Call], Value]


def _conv(call: Call) -> View:
    dilation = call["dilation"]
    call.require(set(dilation) == {1}, f"has dilation {dilation}; only 1 is supported")
    weight, bias = call.constant("weight"), call.constant("bias")
    assert weight is not None
    weights = weights_of(weight, bias)
    if weights["weight"].ndim == 3:  # over time: a convolution of height 1
        weights["weight"] = weights["weight"].unsqueeze(2)
    kernel_h, kernel_w = weights["weight"].shape[2:]
    padding, stride = call["padding"], _pair(call["stride"])
    if padding == "same":
        pads = (*_same(kernel_h), *_same(kernel_w))
    elif padding == "valid":
        pads = (0, 0, 0, 0)
    else:
        pads = _pads(padding, call)
    return call.emit_image(ir.Conv, [call.image()], **weights, stride=stride, padding=pads, groups=call["groups"])


def _pad(call: Call) -> View:
    value = float(call["value"] or 0.0)
    is_known = call.arguments.get("mode", "constant") == "constant" and value in (0.0, -math.inf)
    call.require(is_known, "pads with something else than zeros")
    amounts = [*map(int, call["pad"]), *[0] * 8]  # of the last dimension first, before and after
    call.require(min(amounts) >= 0, "cuts the borders off (negative padding)")
    source = call.image()
    rank = len(call.shape)
    left, right = amounts[:2]
    top, bottom = amounts[2:4] if rank == 4 else (0, 0)
    before, after, *of_samples = amounts[2 * (rank - 2) :]
    call.require(not any(of_samples), "adds samples")
    padding = (top, bottom, left, right)
    if not before and not after:
        return call.emit_image(ir.Pad, [source], padding=padding, value=value)
    call.require(value == 0.0, "adds channels that are not zero")
    # Channels of zeros: a pointwise convolution that makes the others of themselves.
    own = torch.eye(call.emitter.shapes[source][0], dtype=torch.float64)
    weight = functional.pad(own, (0, 0, before, after))[:, :, None, None]
    bias = torch.zeros(len(weight), dtype=torch.float64)
    return call.emit_image(ir.Conv, [source], weight=weight, bias=bias, stride=(1, 1), padding=padding, groups=1)


def _batch_norm(call: Call) -> View:
    call.require(not call.arguments.get("training"), "computes statistics of the batch; use running statistics")
    mean, variance = call.constant("running_mean"), call.constant("running_var")
    if mean is None or variance is None:
        call.refuse("has no running statistics (track_running_stats=False)")
    weight, bias = call.constant("weight"), call.constant("bias")
    view, _ = call.emitter.channels_last(call.input, 1)
    return call.emit_elementwise(
        ir.BatchNorm,
        view,
        gamma=weight.tensor if weight else torch.ones_like(mean.tensor),
        beta=bias.tensor if bias else torch.zeros_like(mean.tensor),
        mean=mean.tensor,
        variance=variance.tensor,
        eps=float(call["eps"]),
        names=(weight.name if weight else "", bias.name if bias else "", mean.name, variance.name),
    )


def _functional_batch_norm(call: Call) -> tuple[View, ...]:
    """After functionalization: returns batch statistics too, empty ones."""
    return (_batch_norm(call),)


def _max_pool(call: Call) -> View:
    call.require(set(call["dilation"]) <= {1}, f"has dilation {call['dilation']}; only 1 is supported")
    return call.emit_image(ir.MaxPool, [call.image()], **_window(call))


def _average_pool(call: Call) -> View:
    window = _window(call)
    counts = call["count_include_pad"] or not any(window["padding"])
    call.require(counts, "leaves padding out of the mean; use count_include_pad=True")
    call.require(call.arguments.get("divisor_override") is None, "has a divisor of its own")
    return call.emit_image(ir.AveragePool, [call.image()], **window)


def _adaptive_average_pool(call: Call) -> View:
    return _adaptive_pool(call, ir.AveragePool)


def _adaptive_max_pool(call: Call) -> tuple[View, ...]:
    return (_adaptive_pool(call, ir.MaxPool),)  # torch gives the places of the maxima too


def _adaptive_pool(call: Call, kind: type[ir.AveragePool] | type[ir.MaxPool]) -> View:
    source = call.image()
    _, height, width = call.emitter.shapes[source]
    out_h, out_w = call.shape[-2:] if len(call.shape) == 4 else (1, call.shape[-1])
    call.require(
        height % out_h == 0 and width % out_w == 0,
        f"cannot divide {height} x {width} into {out_h} x {out_w} equal windows",
    )
    kernel = (height // out_h, width // out_w)
    return call.emit_image(kind, [source], kernel=kernel, stride=kernel, padding=(0, 0, 0, 0))


def _clamp(call: Call) -> View:
    low, high = call["min"], call.arguments.get("max")
    bounds = {"low": -math.inf if low is None else low, "high": math.inf if high is None else high}
    return call.emit_elementwise(ir.Clamp, call.input, **bounds)


def _hardtanh(call: Call) -> View:
    return call.emit_elementwise(ir.Clamp, call.input, low=call["min_val"], high=call["max_val"])


def _fixed_clamp(low: float, high: float) -> Operation:
    return lambda call: call.emit_elementwise(ir.Clamp, call.input, low=low, high=high)


def _elementwise(call: Call) -> View:
    target: Any = call.node.target
    extra = dict(list(call.arguments.items())[1:])
    functional_name = target._schema.name.removesuffix("_")
    overload = getattr(getattr(torch.ops.aten, functional_name.removeprefix("aten::")), target._overloadname)
    return call.emit_elementwise(ir.Elementwise, call.input, function=partial(_apply, overload, extra))


def _apply(overload: Any, extra: dict[str, Any], x: Tensor) -> Tensor:
    result: Tensor = overload(x, **extra)
    return result


def _window(call: Call) -> dict[str, Any]:
    is_flat = len(call.shape) == 3
    kernel = _pair(call["kernel_size"], is_flat)
    stride = _pair(call["stride"], is_flat) if call["stride"] else kernel
    pads = _pads(call["padding"], call)
    before = (1, call.input.shape[-1]) if is_flat else call.input.shape[-2:]
    after = (1, call.shape[-1]) if is_flat else call.shape[-2:]
    floored = tuple((before[i] + 2 * pads[2 * i] - kernel[i]) // stride[i] + 1 for i in range(2))
    call.require(floored == after, "rounds its output size up (ceil_mode); only rounding down is supported")
    return {"kernel": kernel, "stride": stride, "padding": pads}


def _pair(value: Any, is_flat: bool = False) -> ir.Pair:
    values = [value] if isinstance(value, int) else list(value)
    return (1, values[0]) if is_flat else (values[0], values[-1])


def _pads(value: Any, call: Call) -> ir.Pads:
    vertical, horizontal = _pair(value)
    if len(call.shape) == 3:
        vertical = 0
    return (vertical, vertical, horizontal, horizontal)


def _same(kernel: int) -> ir.Pair:
    return ((kernel - 1) // 2, kernel - 1 - (kernel - 1) // 2)


_ELEMENTWISE = (
    "sigmoid", "silu", "gelu", "hardswish", "hardsigmoid", "tanh", "elu", "leaky_relu", "softplus", "mish", "selu",
    "celu", "exp", "sin", "cos", "erf", "abs", "neg", "square",
)  # fmt: skip

OPERATORS: dict[str, Operation] = {
    **VIEW_OPERATORS,
    **SEQUENCE_OPERATORS,
    **PRODUCT_OPERATORS,
    "aten.conv2d.default": _conv,
    "aten.conv2d.padding": _conv,
    "aten.conv1d.default": _conv,
    "aten.conv1d.padding": _conv,
    "aten.pad.default": _pad,
    "aten.constant_pad_nd.default": _pad,
    "aten.batch_norm.default": _batch_norm,
    "aten._native_batch_norm_legit_no_training.default": _functional_batch_norm,
    "aten.max_pool2d.default": _max_pool,
    "aten.max_pool1d.default": _max_pool,
    "aten.avg_pool2d.default": _average_pool,
    "aten.avg_pool1d.default": _average_pool,
    "aten.adaptive_avg_pool2d.default": _adaptive_average_pool,
    "aten.adaptive_avg_pool1d.default": _adaptive_average_pool,
    "aten.adaptive_max_pool2d.default": _adaptive_max_pool,
    "aten.adaptive_max_pool1d.default": _adaptive_max_pool,
    "aten.relu.default": _fixed_clamp(0.0, math.inf),
    "aten.relu_.default": _fixed_clamp(0.0, math.inf),
    "aten.relu6.default": _fixed_clamp(0.0, 6.0),
    "aten.relu6_.default": _fixed_clamp(0.0, 6.0),
    "aten.hardtanh.default": _hardtanh,
    "aten.hardtanh_.default": _hardtanh,
    "aten.clamp.default": _clamp,
    "aten.clamp_.default": _clamp,
    "aten.clamp_min.default": _clamp,
    **{f"aten.{name}{suffix}.default": _elementwise for name in _ELEMENTWISE for suffix in ("", "_")},
}

_PART = "it overwrites part of a feature map in place; compute the parts apart and concatenate them"

HINTS = {
    "aten.log_softmax.int": "return the logits instead; the class with the largest one is the same",
    "aten.group_norm.default": "use batch norm, which disappears into the layer before it, or layer norm over channels",
    "aten.instance_norm.default": "use batch norm, which disappears into the layer before it",
    "aten.rms_norm.default": "use layer norm",
    "aten.einsum.default": "write it as a matrix product (a @ b)",
    "aten.native_dropout.default": "it drops values at random in evaluation too; pass training=self.training",
    "aten._native_batch_norm_legit.no_stats": "it has no running statistics (track_running_stats=False)",
    "aten.slice_scatter.default": _PART,
    "aten.select_scatter.default": _PART,
    "aten.copy.default": _PART,
    "aten.index_put.default": _PART,
    "aten.reflection_pad2d.default": "pad with zeros",
    "aten.replication_pad2d.default": "pad with zeros",
    "aten.lstm.input": "recurrent layers have no operator yet",
    "aten.gru.input": "recurrent layers have no operator yet",
    "aten.conv_transpose1d.default": "transposed convolutions have no operator yet",
    "aten.conv_transpose2d.input": "transposed convolutions have no operator yet",
}
