"""Which of several grids a feature map gets: the one after which the network answers most like itself.

Where many values of a map are one value, as behind the plain background of an image, rounding moves them all by the
same amount. That is an offset and no noise: the layers behind take it for a signal, and the squared error of the map
does not tell. So the grids that are best by several norms of the error compete, and each is judged by what the rest of
the network, in float, answers after it. The maps before are those that the integer layers really gave, so a later
choice can make good what an earlier one left. Needs no labels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from orchestrator.compression.capture import ir
from orchestrator.compression.quantize.answers import Answers
from orchestrator.compression.quantize.grid import Grid

_SAMPLES = (16, 128)  # at least, at most
_MACS = 2e11  # that all choices together may take: seconds


class GridChoice:
    def __init__(self, graph: ir.FloatGraph, samples: Tensor) -> None:
        cost = max(ir.total_macs(graph), 1) * len(graph.nodes) * 2  # some four grids, half of the network behind each
        least, most = _SAMPLES
        self._answers = Answers(graph, samples[: min(max(int(_MACS / cost), least), most)])
        self._graph = graph
        self._index = {node.name: index for index, node in enumerate(graph.nodes)}

    def is_free_after(self, node: ir.Node) -> bool:
        """Whether nothing multiplies behind `node`, so that any number of grids can be tried."""
        return not any(
            isinstance(each, ir.Weighted | ir.MatMul) for each in self._graph.nodes[self._index[node.name] + 1 :]
        )

    def best(
        self, node: ir.Node, candidates: Sequence[Grid], real: Mapping[str, Tensor], grids: Mapping[str, Grid]
    ) -> Grid:
        """Of `candidates` for what `node` computes, the first of equals.

        Args:
            real: grid points of all maps that are there now, [N, ...] each.
            grids: of those maps.
        """
        if len(candidates) == 1:
            return candidates[0]
        count, index = len(self._answers.samples), self._index[node.name]
        before = {name: grids[name].dequantize(q[:count]).to(torch.float32) for name, q in real.items()}
        output = self._answers.compute(index, before)

        def divergence(grid: Grid) -> float:
            on_grid = grid.dequantize(grid.quantize(output.to(torch.float64))).to(torch.float32)
            return self._answers.divergence(index + 1, {**before, node.output: on_grid})

        return min(candidates, key=divergence)
