"""Which exported operations a device can run, and how each becomes a node of the float graph.

One small function per operation, in a table by PyTorch's name for it. A function checks every argument that its node
cannot express and refuses by name; nothing is dropped in silence.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NoReturn

import torch
from torch import Tensor, fx

from orchestrator.compression.capture import ir
from orchestrator.compression.capture.source import refuse

IDENTITIES = frozenset(
    f"aten.{name}"
    for name in (
        "dropout.default", "dropout_.default", "feature_dropout.default", "alpha_dropout.default", "contiguous.default",
        "clone.default", "alias.default", "detach.default", "detach_.default", "lift_fresh_copy.default",
    )
)  # fmt: skip


@dataclass(frozen=True)
class ConstantValue:
    """A tensor known before any input is; `name` is its path in the user's module, empty where it was computed."""

    tensor: Tensor
    name: str


class Call:
    """One exported operation with its arguments by name, defaults filled in."""

    def __init__(
        self,
        node: fx.Node,
        values: Mapping[fx.Node, ConstantValue | str],
        shapes: dict[str, tuple[int, ...]],
        shape: tuple[int, ...],
    ) -> None:
        self.node, self.values, self.shapes, self.shape = node, values, shapes, shape
        target: Any = node.target
        self.arguments: dict[str, Any] = {}
        for position, argument in enumerate(target._schema.arguments):
            if position < len(node.args):
                self.arguments[argument.name] = node.args[position]
            else:
                self.arguments[argument.name] = node.kwargs.get(argument.name, argument.default_value)

    def __getitem__(self, name: str) -> Any:
        return self.arguments[name]

    def refuse(self, why: str) -> NoReturn:
        raise refuse(self.node, why)

    def feature_map(self, operand: Any) -> str:
        value = self.values.get(operand) if isinstance(operand, fx.Node) else None
        if not isinstance(value, str):
            self.refuse("mixes a feature map with a constant; only feature maps can be combined")
        return value

    def input_shape(self) -> tuple[int, ...]:
        return self.shapes[self.feature_map(self.node.args[0])]

    def constant(self, name: str) -> ConstantValue | None:
        operand = self[name]
        if operand is None:
            return None
        value = self.values[operand]
        if not isinstance(value, ConstantValue):
            self.refuse(f"has a {name} that depends on the input")
        return value

    def base(self, *operands: Any) -> dict[str, Any]:
        """What every node has; the first argument is the feature map unless others are given."""
        inputs = [self.feature_map(operand) for operand in operands or (self.node.args[0],)]
        return {"name": self.node.name, "inputs": inputs, "output": self.node.name}

    def require(self, condition: bool, why: str) -> None:
        if not condition:
            self.refuse(why)


Operation = Callable[[Call], ir.Node | list[ir.Node] | str]  # a name: nothing to do for this shape


def _conv2d(call: Call) -> ir.Node:
    call.require(_pair(call["dilation"]) == (1, 1), f"has dilation {call['dilation']}; only 1 is supported")
    weight, bias = call.constant("weight"), call.constant("bias")
    assert weight is not None
    kernel_h, kernel_w = weight.tensor.shape[2:]
    padding = call["padding"]
    if padding == "same":
        pads = (*_same(kernel_h), *_same(kernel_w))
    elif padding == "valid":
        pads = (0, 0, 0, 0)
    else:
        pads = _pads(padding)
    return ir.Conv(
        **call.base(),
        **_weights(weight, bias),
        stride=_pair(call["stride"]),
        padding=pads,
        groups=call["groups"],
    )


def _linear(call: Call) -> ir.Node:
    call.require(len(call.input_shape()) == 1, "is applied to a feature map that is not flat; flatten it first")
    weight = call.constant("weight")
    assert weight is not None
    return ir.Linear(**call.base(), **_weights(weight, call.constant("bias")))


def _batch_norm(call: Call) -> ir.Node:
    call.require(not call["training"], "computes statistics of the batch; use running statistics")
    mean, variance = call.constant("running_mean"), call.constant("running_var")
    if mean is None or variance is None:
        call.refuse("has no running statistics (track_running_stats=False)")
    weight, bias = call.constant("weight"), call.constant("bias")
    return ir.BatchNorm(
        **call.base(),
        gamma=weight.tensor if weight else torch.ones_like(mean.tensor),
        beta=bias.tensor if bias else torch.zeros_like(mean.tensor),
        mean=mean.tensor,
        variance=variance.tensor,
        eps=float(call["eps"]),
        names=(weight.name if weight else "", bias.name if bias else "", mean.name, variance.name),
    )


def _add(call: Call) -> ir.Node:
    base = call.base(call["self"], call["other"])
    call.require(call["alpha"] == 1, f"scales its second operand by {call['alpha']}")
    shapes = [call.shapes[name] for name in base["inputs"]]
    call.require(shapes[0] == shapes[1], f"broadcasts {shapes[0]} with {shapes[1]}; shapes must be equal")
    return ir.Add(**base)


def _concat(call: Call) -> ir.Node:
    base = call.base(*call["tensors"])
    rank = len(call.shape) + 1
    call.require(call["dim"] % rank == 1, f"concatenates along dimension {call['dim']}; only channels are supported")
    return ir.Concat(**base)


def _max_pool(call: Call) -> ir.Node:
    call.require(_pair(call["dilation"]) == (1, 1), f"has dilation {call['dilation']}; only 1 is supported")
    return ir.MaxPool(**call.base(), **_window(call))


def _average_pool(call: Call) -> ir.Node:
    window = _window(call)
    counts = call["count_include_pad"] or not any(window["padding"])
    call.require(counts, "leaves padding out of the mean; use count_include_pad=True")
    call.require(call["divisor_override"] is None, "has a divisor of its own")
    return ir.AveragePool(**call.base(), **window)


def _adaptive_average_pool(call: Call) -> ir.Node:
    height, width = call.input_shape()[-2:]
    out_h, out_w = call.shape[-2:]
    call.require(
        height % out_h == 0 and width % out_w == 0,
        f"cannot divide {height} x {width} into {out_h} x {out_w} equal windows",
    )
    kernel = (height // out_h, width // out_w)
    return ir.AveragePool(**call.base(), kernel=kernel, stride=kernel, padding=(0, 0, 0, 0))


def _mean(call: Call) -> ir.Node | list[ir.Node]:
    rank = len(call.input_shape()) + 1
    axes = sorted(axis % rank for axis in call["dim"] or [])
    call.require(rank == 4 and axes == [2, 3], f"averages over {call['dim']}; only over height and width together")
    channels, *kernel = call.input_shape()
    window: dict[str, Any] = {"kernel": tuple(kernel), "stride": tuple(kernel), "padding": (0, 0, 0, 0)}
    base = call.base()
    if call["keepdim"]:
        return ir.AveragePool(**base, **window)
    pooled = f"{base['name']}.pooled"
    call.shapes[pooled] = (channels, 1, 1)
    flatten = ir.Flatten(name=base["name"], inputs=[pooled], output=base["output"])
    return [ir.AveragePool(name=pooled, inputs=base["inputs"], output=pooled, **window), flatten]


def _reshape(call: Call) -> ir.Node | str:
    before = call.input_shape()
    if call.shape == before:
        return call.feature_map(call.node.args[0])
    call.require(
        len(before) == 3 and call.shape == (math.prod(before),),
        f"turns {list(before)} into {list(call.shape)}; only flattening to one dimension is supported",
    )
    return ir.Flatten(**call.base())


def _clamp(call: Call) -> ir.Node:
    low, high = call["min"], call["max"]
    return ir.Clamp(**call.base(), low=-math.inf if low is None else low, high=math.inf if high is None else high)


def _hardtanh(call: Call) -> ir.Node:
    return ir.Clamp(**call.base(), low=call["min_val"], high=call["max_val"])


def _fixed_clamp(low: float, high: float) -> Operation:
    return lambda call: ir.Clamp(**call.base(), low=low, high=high)


def _elementwise(call: Call) -> ir.Node:
    target: Any = call.node.target
    extra = dict(list(call.arguments.items())[1:])
    functional_name = target._schema.name.removesuffix("_")
    overload = getattr(getattr(torch.ops.aten, functional_name.removeprefix("aten::")), target._overloadname)
    return ir.Elementwise(**call.base(), function=partial(_apply, overload, extra))


def _softmax(call: Call) -> ir.Node:
    call.require(len(call.shape) == 1 and call["dim"] in (1, -1), "is not over the classes of a flat output")
    return ir.Softmax(**call.base())


def _apply(overload: Any, extra: dict[str, Any], x: Tensor) -> Tensor:
    result: Tensor = overload(x, **extra)
    return result


def _weights(weight: ConstantValue, bias: ConstantValue | None) -> dict[str, Any]:
    outputs = weight.tensor.shape[0]
    return {
        "weight": weight.tensor.clone(),
        "bias": bias.tensor.clone() if bias else torch.zeros(outputs, dtype=torch.float64),
        "weight_name": weight.name,
        "bias_name": bias.name if bias else "",
    }


def _window(call: Call) -> dict[str, Any]:
    kernel = _pair(call["kernel_size"])
    stride = _pair(call["stride"]) if call["stride"] else kernel
    pads = _pads(call["padding"])
    before, after = call.input_shape()[-2:], call.shape[-2:]
    floored = tuple((before[i] + 2 * pads[2 * i] - kernel[i]) // stride[i] + 1 for i in range(2))
    call.require(floored == after, "rounds its output size up (ceil_mode); only rounding down is supported")
    return {"kernel": kernel, "stride": stride, "padding": pads}


def _pair(value: Any) -> ir.Pair:
    values = [value] if isinstance(value, int) else list(value)
    return (values[0], values[-1])


def _pads(value: Any) -> ir.Pads:
    vertical, horizontal = _pair(value)
    return (vertical, vertical, horizontal, horizontal)


def _same(kernel: int) -> ir.Pair:
    return ((kernel - 1) // 2, kernel - 1 - (kernel - 1) // 2)


_ELEMENTWISE = (
    "sigmoid", "silu", "gelu", "hardswish", "hardsigmoid", "tanh", "elu", "leaky_relu", "softplus", "mish", "selu",
    "celu", "exp", "sin", "cos", "erf", "abs", "neg", "square",
)  # fmt: skip

OPERATORS: dict[str, Operation] = {
    "aten.conv2d.default": _conv2d,
    "aten.conv2d.padding": _conv2d,
    "aten.linear.default": _linear,
    "aten.batch_norm.default": _batch_norm,
    "aten.add.Tensor": _add,
    "aten.add_.Tensor": _add,
    "aten.cat.default": _concat,
    "aten.concat.default": _concat,
    "aten.max_pool2d.default": _max_pool,
    "aten.avg_pool2d.default": _average_pool,
    "aten.adaptive_avg_pool2d.default": _adaptive_average_pool,
    "aten.mean.dim": _mean,
    "aten.flatten.using_ints": _reshape,
    "aten.view.default": _reshape,
    "aten.reshape.default": _reshape,
    "aten._unsafe_view.default": _reshape,
    "aten.squeeze.default": _reshape,
    "aten.squeeze.dim": _reshape,
    "aten.squeeze.dims": _reshape,
    "aten.relu.default": _fixed_clamp(0.0, math.inf),
    "aten.relu_.default": _fixed_clamp(0.0, math.inf),
    "aten.relu6.default": _fixed_clamp(0.0, 6.0),
    "aten.relu6_.default": _fixed_clamp(0.0, 6.0),
    "aten.hardtanh.default": _hardtanh,
    "aten.hardtanh_.default": _hardtanh,
    "aten.clamp.default": _clamp,
    "aten.clamp_.default": _clamp,
    "aten.clamp_min.default": lambda call: ir.Clamp(**call.base(), low=call["min"]),
    "aten.softmax.int": _softmax,
    **{f"aten.{name}{suffix}.default": _elementwise for name in _ELEMENTWISE for suffix in ("", "_")},
}

HINTS = {
    "aten.log_softmax.int": "return the logits instead; the class with the largest one is the same",
    "aten.mul.Tensor": "products of feature maps (attention, squeeze-and-excitation) have no operator yet",
    "aten.layer_norm.default": "use batch norm, which disappears into the layer before it",
    "aten.group_norm.default": "use batch norm, which disappears into the layer before it",
    "aten.instance_norm.default": "use batch norm, which disappears into the layer before it",
    "aten.pad.default": "give the padding to the convolution",
}
