"""The network that trains: the captured graph with a grid on every feature map and integer weights in every layer.

Its forward pass computes in float32 what a device computes in integers; `plans` turns what was learned into the exact
plans that are lowered, without calibrating anything again.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor, nn

from orchestrator.compression.capture import ir
from orchestrator.compression.qat.grids import FixedGrid, LearnedGrid
from orchestrator.compression.qat.layers import QuantizedLayer
from orchestrator.compression.quantize.grid import Grid
from orchestrator.compression.quantize.operators import KEEPS_GRID
from orchestrator.compression.quantize.plan import WeightedPlan
from orchestrator.compression.quantize.sequential import QuantizedGraph
from orchestrator.compression.recipe import Scheme

# The others look up a table, which rounds to even.
_REQUANTIZES = (ir.Weighted, ir.Add, ir.Concat, ir.AveragePool, ir.MatMul, ir.LayerNorm, ir.Multiply)
# Fields that training moves, beside weights.
_LEARNS: dict[type[ir.Node], tuple[str, ...]] = {ir.LayerNorm: ("gain", "bias"), ir.Constant: ("value",)}


class QuantizedNetwork(nn.Module):
    """Takes normalised float32 [N, C, H, W]; `start` gives structure, bits and where every parameter begins.

    While it trains and `is_live`, batch norm uses the statistics of the batch; otherwise it is folded.
    """

    def __init__(self, start: QuantizedGraph) -> None:
        super().__init__()
        self.start, self.graph = start, start.graph
        self.is_live = True
        self.grids = nn.ModuleDict()
        self.layers = nn.ModuleDict()
        self.fields = nn.ParameterDict()
        scheme = start.recipe.scheme
        self.grids[_key(0)] = FixedGrid(start.grids[self.graph.input])
        self._grid_of = {self.graph.input: _key(0)}
        for index, node in enumerate(self.graph.nodes, start=1):
            if isinstance(node, ir.Weighted):
                plan = start.plans[node.name]
                assert isinstance(plan, WeightedPlan)
                self.layers[_key(index)] = QuantizedLayer(plan, scheme)
            for field in _LEARNS.get(type(node), ()):
                self.fields[f"{_key(index)}_{field}"] = getattr(node, field).to(torch.float32)
            if isinstance(node, KEEPS_GRID):
                self._grid_of[node.output] = self._grid_of[node.inputs[0]]
            elif not isinstance(node, ir.Softmax):
                ties_up = scheme is Scheme.POWER_OF_TWO and isinstance(node, _REQUANTIZES)
                low, high = (node.low, node.high) if isinstance(node, ir.Clamped) else (-math.inf, math.inf)
                self.grids[_key(index)] = LearnedGrid(
                    start.grids[node.output], scheme, ties_up=ties_up, low=low, high=high
                )
                self._grid_of[node.output] = _key(index)

    def forward(self, x: Tensor) -> Tensor:
        values: dict[str, Tensor] = {self.graph.input: self.grids[_key(0)](x)}
        is_live = self.training and self.is_live
        ends = zip(self.graph.nodes, ir.last_reads(self.graph), strict=True)
        for index, (node, finished) in enumerate(ends, start=1):
            inputs = [values[name] for name in node.inputs]
            if isinstance(node, ir.Weighted):
                found = self.layers[_key(index)](inputs[0], self.grid_of(node.inputs[0]).scale, is_live)
            elif isinstance(node, ir.Clamp):
                found = self._clamped(node, inputs[0])
            else:
                found = _open(self._with_fields(node, _key(index))).compute(*inputs)
            owns = self._grid_of.get(node.output) == _key(index)
            values[node.output] = self.grids[_key(index)](found) if owns else found
            for name in finished:
                if name != self.graph.output:
                    del values[name]
        return values[self.graph.output]

    def grid_of(self, value: str) -> Grid:
        """Of a feature map, as it stands now; two feature maps may share one."""
        module = self.grids[self._grid_of[value]]
        assert isinstance(module, FixedGrid | LearnedGrid)
        return module.grid()

    def learned(self, node: ir.Node) -> ir.Node:
        """`node`, which has no weights, with what training has made of its fields, in float64."""
        found = self._with_fields(node, self._key_of(node))
        return replace(found, **{name: getattr(found, name).detach().double() for name in _LEARNS.get(type(node), ())})

    def layer_of(self, node: ir.Weighted) -> QuantizedLayer:
        layer = self.layers[self._key_of(node)]
        assert isinstance(layer, QuantizedLayer)
        return layer

    def _key_of(self, node: ir.Node) -> str:
        return _key(self.graph.nodes.index(node) + 1)

    def _with_fields(self, node: ir.Node, key: str) -> ir.Node:
        return replace(node, **{field: self.fields[f"{key}_{field}"] for field in _LEARNS.get(type(node), ())})

    def _clamped(self, node: ir.Clamp, x: Tensor) -> Tensor:
        grid = self.grid_of(node.inputs[0])
        low, high = (float(grid.dequantize(torch.tensor(grid.bound(end)))) for end in (node.low, node.high))
        return x.clamp(low, high)


def _open(node: ir.Node) -> ir.Node:
    """Without its clamp."""
    return replace(node, low=-math.inf, high=math.inf) if isinstance(node, ir.Clamped) else node


def _key(index: int) -> str:
    return f"node{index}"
