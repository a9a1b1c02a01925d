"""The float graph: a user's network as the few operators a device knows, before any of them is quantized.

Feature maps are [C, H, W] or [F], the batch left out; weights are float64 in torch's layouts (O outputs, I inputs, KH x
KW kernel). float64 because folding and calibration should add nothing to the errors that quantization makes.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor
from torch.nn import functional

Pair = tuple[int, int]
Pads = tuple[int, int, int, int]  # top, bottom, left, right


@dataclass(kw_only=True, eq=False)
class Node:
    """One operator; `source` is the user's line. Inputs and output are names of feature maps."""

    name: str
    inputs: list[str]
    output: str
    source: str = ""

    def compute(self, *inputs: Tensor) -> Tensor:
        raise NotImplementedError


@dataclass(kw_only=True, eq=False)
class Clamped(Node):
    """An operator that can end with a clamp for nothing: relu is (0, inf), relu6 (0, 6)."""

    low: float = -math.inf
    high: float = math.inf

    def clamp(self, x: Tensor) -> Tensor:
        is_open = self.low == -math.inf and self.high == math.inf
        return x if is_open else x.clamp(self.low, self.high)


@dataclass(frozen=True, eq=False)
class Unfolded:
    """Weight and bias as they stood before `norm`, which follows them."""

    weight: Tensor
    bias: Tensor
    norm: BatchNorm


@dataclass(kw_only=True, eq=False)
class Weighted(Clamped):
    """A convolution or a linear layer; the names are the parameters' paths in the user's module, if they have one.

    `unfolded` is what it was before batch norm was folded in: training goes on from there.
    """

    weight: Tensor
    bias: Tensor
    weight_name: str = ""
    bias_name: str = ""
    unfolded: Unfolded | None = None

    def accumulate(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """The operator before its clamp, with other weights if so wished."""
        raise NotImplementedError

    def compute(self, *inputs: Tensor) -> Tensor:
        return self.clamp(self.accumulate(inputs[0], self.weight, self.bias))


@dataclass(kw_only=True, eq=False)
class Conv(Weighted):
    """Weight [O, I / groups, KH, KW]; pads are zeros."""

    stride: Pair
    padding: Pads
    groups: int

    @property
    def is_depthwise(self) -> bool:
        return self.groups > 1 and self.weight.shape[1] == 1

    def accumulate(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        top, bottom, left, right = self.padding
        if (top, left) == (bottom, right):  # spares a copy
            return functional.conv2d(x, weight, bias, self.stride, (top, left), groups=self.groups)
        return functional.conv2d(pad(x, self.padding), weight, bias, self.stride, groups=self.groups)


@dataclass(kw_only=True, eq=False)
class Linear(Weighted):
    """Weight [O, I] on a [F] feature map."""

    def accumulate(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return functional.linear(x, weight, bias)


@dataclass(kw_only=True, eq=False)
class BatchNorm(Node):
    """gamma * (x - mean) / sqrt(variance + eps) + beta per channel, until it is folded.

    `names` are those of weight, bias, mean and variance in the user's module. One that is `fixed` is a plain product
    and sum: it never had statistics, so training must not give it any.
    """

    gamma: Tensor
    beta: Tensor
    mean: Tensor
    variance: Tensor
    eps: float
    names: tuple[str, str, str, str] = ("", "", "", "")
    fixed: bool = False

    @property
    def scale(self) -> Tensor:
        return self.gamma / torch.sqrt(self.variance + self.eps)

    @property
    def shift(self) -> Tensor:
        return self.beta - self.mean * self.scale

    def compute(self, *inputs: Tensor) -> Tensor:
        shape = (1, -1) + (1,) * (inputs[0].ndim - 2)
        return inputs[0] * self.scale.view(shape) + self.shift.view(shape)


@dataclass(kw_only=True, eq=False)
class Add(Clamped):
    def compute(self, *inputs: Tensor) -> Tensor:
        return self.clamp(inputs[0] + inputs[1])


@dataclass(kw_only=True, eq=False)
class Concat(Node):
    """Along channels."""

    def compute(self, *inputs: Tensor) -> Tensor:
        samples = max(len(x) for x in inputs)  # a constant has one
        return torch.cat([x.expand(samples, *x.shape[1:]) for x in inputs], dim=1)


@dataclass(kw_only=True, eq=False)
class MaxPool(Node):
    kernel: Pair
    stride: Pair
    padding: Pads

    def compute(self, *inputs: Tensor) -> Tensor:
        return functional.max_pool2d(pad(inputs[0], self.padding, -math.inf), self.kernel, self.stride)


@dataclass(kw_only=True, eq=False)
class AveragePool(Clamped):
    """Padding counts; global pooling is a kernel as large as the feature map."""

    kernel: Pair
    stride: Pair
    padding: Pads

    def compute(self, *inputs: Tensor) -> Tensor:
        return self.clamp(functional.avg_pool2d(pad(inputs[0], self.padding), self.kernel, self.stride))


@dataclass(kw_only=True, eq=False)
class Flatten(Node):
    """[C, H, W] to [C * H * W], in that order; lowering turns it into the device's [H, W, C] order."""

    def compute(self, *inputs: Tensor) -> Tensor:
        return torch.flatten(inputs[0], 1)


@dataclass(kw_only=True, eq=False)
class Clamp(Clamped):
    def compute(self, *inputs: Tensor) -> Tensor:
        return self.clamp(inputs[0])


@dataclass(kw_only=True, eq=False)
class Elementwise(Node):
    """Any other function of one value; a 256-entry table on the device."""

    function: Callable[[Tensor], Tensor]

    def compute(self, *inputs: Tensor) -> Tensor:
        return self.function(inputs[0])


@dataclass(kw_only=True, eq=False)
class Scale(Elementwise):
    """Times a constant, until it goes into what is before it."""

    factor: float


@dataclass(kw_only=True, eq=False)
class Softmax(Node):
    """Over the channels."""

    def compute(self, *inputs: Tensor) -> Tensor:
        return torch.softmax(inputs[0], dim=1)


@dataclass(kw_only=True, eq=False)
class LayerNorm(Node):
    """Over the channels of each pixel, then a gain and a bias for each."""

    gain: Tensor
    bias: Tensor
    epsilon: float

    def compute(self, *inputs: Tensor) -> Tensor:
        x = inputs[0].movedim(1, -1)  # torch's own is many times faster over the last axis
        return functional.layer_norm(x, x.shape[-1:], self.gain, self.bias, self.epsilon).movedim(-1, 1)


@dataclass(kw_only=True, eq=False)
class MatMul(Clamped):
    """A product for each head, times `factor`; the layouts are those of docs/format.md, "Heads"."""

    heads: int
    a_stacked: bool
    b_stacked: bool
    b_transposed: bool
    output_stacked: bool
    factor: float
    size: Pair  # height and width of the output

    def inner(self, a: tuple[int, ...]) -> int:
        """How many products are summed, where the first input is `a`, [C, H, W]."""
        return a[0] if self.a_stacked else a[0] // self.heads

    def accumulate(self, a: Tensor, b: Tensor) -> Tensor:
        """The product itself, [N, C, H, W]."""
        a_NZRK, b_NZKS = self._by_head(a, self.a_stacked), self._by_head(b, self.b_stacked)
        product = a_NZRK @ (b_NZKS.mT if self.b_transposed else b_NZKS)
        if self.output_stacked:
            return product.permute(0, 3, 1, 2)
        side_by_side = product.transpose(2, 3).flatten(1, 2)
        return side_by_side.reshape(*side_by_side.shape[:2], *self.size)

    def compute(self, *inputs: Tensor) -> Tensor:
        return self.clamp(self.accumulate(*inputs) * self.factor)

    def _by_head(self, x: Tensor, is_stacked: bool) -> Tensor:
        """[N, C, H, W] to [N, heads, rows, columns]."""
        if is_stacked:
            return x.permute(0, 2, 3, 1)
        return x.reshape(len(x), self.heads, x.shape[1] // self.heads, -1).transpose(2, 3)


@dataclass(kw_only=True, eq=False)
class Multiply(Clamped):
    """The second has the first's shape or is [C, 1, 1]."""

    def compute(self, *inputs: Tensor) -> Tensor:
        return self.clamp(inputs[0] * inputs[1])


@dataclass(kw_only=True, eq=False)
class Constant(Node):
    """No input; `value` is [1, C, H, W] or [1, F]."""

    value: Tensor

    def compute(self, *inputs: Tensor) -> Tensor:
        return self.value


@dataclass(kw_only=True, eq=False)
class Reshape(Node):
    """Another shape of the same storage, in which channels come last; nothing moves on the device."""

    to: tuple[int, ...]  # [C, H, W] or [F]

    def compute(self, *inputs: Tensor) -> Tensor:
        x = inputs[0]
        storage = x.permute(0, 2, 3, 1).flatten(1) if x.ndim == 4 else x
        if len(self.to) == 1:
            return storage
        channels, height, width = self.to
        return storage.reshape(len(x), height, width, channels).permute(0, 3, 1, 2)


@dataclass(kw_only=True, eq=False)
class Permute(Node):
    """Output axis i of [H, W, C] is input axis axes[i]."""

    axes: tuple[int, int, int]

    def compute(self, *inputs: Tensor) -> Tensor:
        height, width, channels = (axis + 1 for axis in self.axes)
        return inputs[0].permute(0, 2, 3, 1).permute(0, height, width, channels).permute(0, 3, 1, 2)


@dataclass(kw_only=True, eq=False)
class Select(Node):
    """Some of the channels, until it goes into the layer before it or becomes one."""

    channels: Tensor  # int64

    def compute(self, *inputs: Tensor) -> Tensor:
        return inputs[0][:, self.channels]


@dataclass(kw_only=True, eq=False)
class Pad(Node):
    """A border around an image, until it goes into what reads it or becomes a convolution."""

    padding: Pads
    value: float  # 0, or minus infinity in front of a maximum

    def compute(self, *inputs: Tensor) -> Tensor:
        return pad(inputs[0], self.padding, self.value)


@dataclass(kw_only=True, eq=False)
class FloatGraph:
    """Nodes in an order in which every input is computed before it is read."""

    input: str
    output: str
    nodes: list[Node]
    shapes: dict[str, tuple[int, ...]] = field(repr=False)

    def readers(self, value: str) -> list[Node]:
        return [node for node in self.nodes if value in node.inputs]

    def producer(self, value: str) -> Node | None:
        return next((node for node in self.nodes if node.output == value), None)

    def in_float32(self) -> FloatGraph:
        """A copy with other weights, twice as fast and more."""
        return replace(self, nodes=[_in_float32(node) for node in self.nodes])

    def run(self, x: Tensor) -> Tensor:
        """The output for normalised [N, C, H, W] in float64."""
        return next(output for node, output in self.walk(x) if node.output == self.output)

    def walk(self, x: Tensor, dtype: torch.dtype = torch.float64) -> Iterator[tuple[Node, Tensor]]:
        """Yield every node with its output; feature maps that nobody reads any more are let go.

        Args:
            dtype: that of this graph's weights.
        """
        values = {self.input: x.to(dtype)}
        for node, finished in zip(self.nodes, last_reads(self), strict=True):
            values[node.output] = node.compute(*(values[name] for name in node.inputs))
            yield node, values[node.output]
            for name in finished:
                del values[name]


def _in_float32(node: Node) -> Node:
    single = copy.copy(node)
    for name, value in vars(node).items():
        if isinstance(value, Tensor) and value.dtype == torch.float64:
            setattr(single, name, value.to(torch.float32))
    return single


def last_reads(graph: FloatGraph) -> list[list[str]]:
    """For each node, the feature maps that no later node reads (its own output, if nobody does)."""
    last: dict[str, int] = {}
    for index, node in enumerate(graph.nodes):
        for name in (*node.inputs, node.output):
            last[name] = index
    finished: list[list[str]] = [[] for _ in graph.nodes]
    for name, index in last.items():
        finished[index].append(name)
    return finished


def multiply_accumulates(graph: FloatGraph) -> dict[str, int]:
    """Multiplications of each convolution, linear layer and product for one sample, by node name."""
    counts = {}
    for node in graph.nodes:
        outputs = math.prod(graph.shapes[node.output])
        if isinstance(node, Weighted):
            counts[node.name] = node.weight[0].numel() * outputs
        elif isinstance(node, MatMul):
            counts[node.name] = node.inner(graph.shapes[node.inputs[0]]) * outputs
    return counts


def operator_names(graph: FloatGraph) -> dict[str, str]:
    """By node: the user's module path where an operator has weights of its own, else torch's name for the operation."""
    names: dict[str, str] = {}
    for node in graph.nodes:
        path = node.weight_name.removesuffix(".weight") if isinstance(node, Weighted) else ""
        taken = {*names.values(), *(other.name for other in graph.nodes)}
        names[node.name] = path if path and path not in taken else node.name
    return names


def total_macs(graph: FloatGraph) -> int:
    return sum(multiply_accumulates(graph).values())


def pad(x: Tensor, pads: Pads, value: float = 0.0) -> Tensor:
    top, bottom, left, right = pads
    return functional.pad(x, (left, right, top, bottom), value=value) if any(pads) else x


def rename_reads(graph: FloatGraph, renamed: Mapping[str, str]) -> None:
    """Let everybody read `renamed[name]` instead of `name`."""
    for node in graph.nodes:
        node.inputs = [renamed.get(name, name) for name in node.inputs]
    graph.output = renamed.get(graph.output, graph.output)
