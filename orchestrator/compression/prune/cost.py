"""Multiplications of the network as channels go, kept up to date channel by channel."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from orchestrator.compression.capture import ir
from orchestrator.compression.prune.dependencies import Channels


@dataclass(eq=False)
class _Layer:
    """`per_pair` multiplications for each pair of output and input channel that is left; depthwise has one input."""

    per_pair: int
    outputs: int
    inputs: int

    def macs(self, *, fewer_outputs: int = 0, fewer_inputs: int = 0) -> int:
        return self.per_pair * (self.outputs - fewer_outputs) * (self.inputs - fewer_inputs)


@dataclass(eq=False)
class _Share:
    """How often a channel stands among a layer's outputs and inputs (multipliers and concatenations repeat it)."""

    outputs: int = 0
    inputs: int = 0


@dataclass(eq=False)
class Cost:
    """MACs of what is left after the channels in `gone`."""

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
    def macs(self) -> int:
        return sum(layer.macs() for layer in self.layers)

    def saved_without(self, channel: int) -> int:
        """MACs that removing one more channel saves."""
        return sum(
            self.layers[index].macs() - self.layers[index].macs(fewer_outputs=share.outputs, fewer_inputs=share.inputs)
            for index, share in self.shares.get(channel, {}).items()
        )

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
            self.layers.append(_Layer(node.weight[0].numel() * pixels, len(outputs), 1))
        else:
            inputs = channels.of_value[node.inputs[0]].tolist()
            self.layers.append(_Layer(math.prod(node.weight.shape[2:]) * pixels, len(outputs), len(inputs)))
        for channel in outputs:
            self.shares.setdefault(channel, {}).setdefault(index, _Share()).outputs += 1
        for channel in inputs:
            self.shares.setdefault(channel, {}).setdefault(index, _Share()).inputs += 1
