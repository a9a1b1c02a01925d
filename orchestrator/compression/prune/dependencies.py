"""Which channels can only go together, read off the captured graph.

Every channel of every feature map gets an id. Operators that keep channels pass ids on, an addition or an elementwise
product makes the ids of its two sides one (a gate goes with what it gates), a depthwise convolution passes them through
its own weights, a concatenation lines them up, a flatten repeats each once per pixel. What uses an id along which
dimension of which parameter is then all that surgery needs; no layer type is special, and any network that can be
captured can be pruned.

Channels of the input, of the output and around grouped convolutions stay, and those that a norm, a softmax, a matrix
product or a reshape of channels reads: in a transformer the hidden layers of its perceptrons are what can go.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from orchestrator.compression.capture import ir

Ids = npt.NDArray[np.int64]
OUTPUT = "the output"


@dataclass(frozen=True, eq=False)
class Use:
    """Along `dim` of the parameter at this path in the module, entry i belongs to channel `ids[i]`."""

    parameter: str
    dim: int
    ids: Ids


@dataclass(eq=False)
class Channels:
    """Channels of a network. Ids are representatives: equal ids are one channel.

    Attributes:
        of_value: ids of each feature map, [C] (or [F]).
        uses: every parameter dimension that has channels.
        readers: the uses by which channels are read (columns of weights); without them a channel has no effect.
        depthwise: paths of weights whose convolution has one group for each of these input ids.
        fixed_by: ids that must stay, with the last operator that needs them.
    """

    of_value: dict[str, Ids] = field(default_factory=dict)
    uses: list[Use] = field(default_factory=list)
    readers: list[Use] = field(default_factory=list)
    depthwise: dict[str, Ids] = field(default_factory=dict)
    fixed_by: dict[int, str] = field(default_factory=dict)

    @property
    def fixed(self) -> set[int]:
        return set(self.fixed_by)


def stays(ids: Ids, gone: Collection[int]) -> npt.NDArray[np.bool_]:
    """Which of the channels are left, bool, once those with ids in `gone` are not."""
    return ~np.isin(ids, list(gone))


def find_channels(graph: ir.FloatGraph) -> Channels:
    """Analyse a traced graph, batch norm not folded."""
    return _Analysis(graph).run()


class _Analysis:
    def __init__(self, graph: ir.FloatGraph) -> None:
        self.graph = graph
        self.parent: list[int] = []
        self.found = Channels()
        self.fixed: list[tuple[Ids, str]] = []
        self.fixing = "the input"

    def run(self) -> Channels:
        graph = self.graph
        self.found.of_value[graph.input] = self.fix(self.fresh(graph.shapes[graph.input][0]))
        for node in graph.nodes:
            self.fixing = f"{node.name} (at {node.source})" if node.source else node.name
            self.found.of_value[node.output] = self.visit(node, [self.found.of_value[name] for name in node.inputs])
        self.fixing = OUTPUT
        self.fix(self.found.of_value[graph.output])
        self.tie_shared_parameters()
        return self.with_representatives()

    def visit(self, node: ir.Node, inputs: list[Ids]) -> Ids:
        match node:
            case ir.Conv() if node.groups > 1:
                return self.grouped(node, inputs[0])
            case ir.Weighted():
                if not node.weight_name:
                    self.fixing = f"the computed weight of {self.fixing}"
                outputs = self.fresh(node.weight.shape[0])
                self.use(node.weight_name, 1, inputs[0], reads=True)
                self.use(node.weight_name, 0, outputs)
                self.use(node.bias_name, 0, outputs)
                if not node.weight_name:
                    self.fix(outputs)
                return outputs
            case ir.BatchNorm():
                if node.fixed:  # constants of the user's, which keep their width
                    return self.fix(inputs[0])
                for name in filter(None, node.names):
                    self.use(name, 0, inputs[0])
                return inputs[0]
            case ir.Add() | ir.Multiply():
                for a, b in zip(*inputs, strict=True):
                    self.union(int(a), int(b))
                return inputs[0]
            case ir.Concat():
                return np.concatenate(inputs)
            case ir.Softmax():
                return self.fix(inputs[0])
            case ir.Reshape() if len(inputs[0]) == node.to[0]:
                return inputs[0]  # channels come last in storage: only the pixels are in another shape
            case ir.MatMul() | ir.LayerNorm() | ir.Constant() | ir.Reshape() | ir.Permute() | ir.Select():
                for ids in inputs:
                    self.fix(ids)
                return self.fix(self.fresh(self.graph.shapes[node.output][0]))
            case ir.Flatten():
                return np.repeat(inputs[0], math.prod(self.graph.shapes[node.inputs[0]][1:]))
        return inputs[0]

    def grouped(self, node: ir.Conv, inputs: Ids) -> Ids:
        outputs = node.weight.shape[0]
        if not node.is_depthwise or not node.weight_name:
            self.fix(inputs)
            return self.fix(self.fresh(outputs))
        ids = np.repeat(inputs, outputs // len(inputs))
        self.use(node.weight_name, 0, ids)
        self.use(node.bias_name, 0, ids)
        self.found.depthwise[node.weight_name] = inputs
        return ids

    def use(self, parameter: str, dim: int, ids: Ids, *, reads: bool = False) -> None:
        """Record a use; what a parameter that has no name reads (computed weights) cannot go."""
        if not parameter:
            if reads:
                self.fix(ids)
            return
        use = Use(parameter, dim, ids)
        self.found.uses.append(use)
        if reads:
            self.found.readers.append(use)

    def tie_shared_parameters(self) -> None:
        """A parameter used twice has one width: what it is used for must go together."""
        first: dict[tuple[str, int], Ids] = {}
        for use in self.found.uses:
            known = first.setdefault((use.parameter, use.dim), use.ids)
            for a, b in zip(known, use.ids, strict=True):
                self.union(int(a), int(b))

    def fresh(self, count: int) -> Ids:
        start = len(self.parent)
        self.parent.extend(range(start, start + count))
        return np.arange(start, start + count)

    def fix(self, ids: Ids) -> Ids:
        self.fixed.append((ids, self.fixing))
        return ids

    def find(self, channel: int) -> int:
        while self.parent[channel] != channel:
            self.parent[channel] = self.parent[self.parent[channel]]
            channel = self.parent[channel]
        return channel

    def union(self, a: int, b: int) -> None:
        self.parent[self.find(b)] = self.find(a)

    def with_representatives(self) -> Channels:
        def settle(ids: Ids) -> Ids:
            return np.array([self.find(int(channel)) for channel in ids], np.int64)

        found = self.found
        distinct = {(use.parameter, use.dim): Use(use.parameter, use.dim, settle(use.ids)) for use in found.uses}
        reading = {(use.parameter, use.dim) for use in found.readers}
        return Channels(
            of_value={name: settle(ids) for name, ids in found.of_value.items()},
            uses=list(distinct.values()),
            readers=[use for key, use in distinct.items() if key in reading],
            depthwise={name: settle(ids) for name, ids in found.depthwise.items()},
            fixed_by={channel: operator for ids, operator in self.fixed for channel in settle(ids).tolist()},
        )
