"""Multiplications and weights of the network as channels go, kept up to date channel by channel."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from orchestrator.compression.capture import ir
from orchestrator.compression.prune.dependencies import Channels


@dataclass(frozen=True)
class Size:
    """Multiplications of one inference, and weights that are stored; biases and scales left out."""

    macs: int = 0
    weights: int = 0

    def __add__(self, other: Size) -> Size:
        return Size(self.macs + other.macs, self.weights + other.weights)

    def __mul__(self, times: int) -> Size:
        return Size(self.macs * times, self.weights * times)

    def fraction(self, macs: float, weights: float) -> Size:
        """Rounded down."""
        return Size(math.floor(self.macs * macs), math.floor(self.weights * weights))

    def fits(self, budget: Size) -> bool:
        return self.macs <= budget.macs and self.weights <= budget.weights


@dataclass(eq=False)
class _Layer:
    """`per_pair` for each pair of output and input channel that is left; depthwise has one input."""

    per_pair: Size
    outputs: int
    inputs: int

    def pairs(self, *, fewer_outputs: int = 0, fewer_inputs: int = 0) -> int:
        return (self.outputs - fewer_outputs) * (self.inputs - fewer_inputs)


@dataclass(eq=False)
class _Share:
    """How often a channel stands among a layer's outputs and inputs (multipliers and concatenations repeat it)."""

    outputs: int = 0
    inputs: int = 0


@dataclass(eq=False)
class Cost:
    """What is left after the channels in `gone`."""

    gone: set[int] = field(default_factory=set)
    layers: list[_Layer] = field(default_factory=list)
    shares: dict[int, dict[int, _Share]] = field(default_factory=dict)  # channel -> layer -> share

    @classmethod
    def of(cls, graph: ir.FloatGraph, channels: Channels) -> Cost:
        cost = cls()
        for node in graph.nodes:
            if isinstance(node, ir.Weighted):
                cost._add_layer(graph, channels, node)
        return cost

    @property
    def size(self) -> Size:
        return sum((layer.per_pair * layer.pairs() for layer in self.layers), Size())

    def saved_without(self, channel: int) -> Size:
        """What removing one more channel saves."""
        saved = Size()
        for index, share in self.shares.get(channel, {}).items():
            layer = self.layers[index]
            fewer = layer.pairs() - layer.pairs(fewer_outputs=share.outputs, fewer_inputs=share.inputs)
            saved += layer.per_pair * fewer
        return saved

    def remove(self, channel: int) -> None:
        self.gone.add(channel)
        for index, share in self.shares.get(channel, {}).items():
            self.layers[index].outputs -= share.outputs
            self.layers[index].inputs -= share.inputs

    def _add_layer(self, graph: ir.FloatGraph, channels: Channels, node: ir.Weighted) -> None:
        outputs = channels.of_value[node.output].tolist()
        pixels = math.prod(graph.shapes[node.output][1:])
        index = len(self.layers)
        if isinstance(node, ir.Conv) and node.groups > 1:
            inputs = []
            per_pair = node.weight[0].numel()
            self.layers.append(_Layer(Size(per_pair * pixels, per_pair), len(outputs), 1))
        else:
            inputs = channels.of_value[node.inputs[0]].tolist()
            per_pair = math.prod(node.weight.shape[2:])
            self.layers.append(_Layer(Size(per_pair * pixels, per_pair), len(outputs), len(inputs)))
        for channel in outputs:
            self.shares.setdefault(channel, {}).setdefault(index, _Share()).outputs += 1
        for channel in inputs:
            self.shares.setdefault(channel, {}).setdefault(index, _Share()).inputs += 1
