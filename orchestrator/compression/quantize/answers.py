"""How far a network's answers move when something in its middle changes: what sensitivity and grids are judged by.

    divergence = mean over samples of KL(softmax(float network) || softmax(changed network))

The rest of the network runs in float32, twice as fast as in float64 and far more exact than what is measured.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

from orchestrator.compression.capture import ir

_LEAST_PROBABILITY = 1e-30


class Answers:
    """Of `graph` to normalised `samples` [N, C, H, W]; weights that change later are not seen."""

    def __init__(self, graph: ir.FloatGraph, samples: Tensor) -> None:
        self.graph = graph.in_float32()
        self.samples = samples.to(torch.float32)
        self._finished = ir.last_reads(self.graph)
        self._wanted = self._log_probabilities(0, {self.graph.input: self.samples})

    def divergence(self, start: int, values: Mapping[str, Tensor]) -> float:
        """Mean KL in nats where the feature maps before node `start` are `values`, float32."""
        found = self._log_probabilities(start, values)
        return float(functional.kl_div(found, self._wanted, reduction="batchmean", log_target=True).clamp(min=0.0))

    def compute(self, index: int, values: Mapping[str, Tensor]) -> Tensor:
        """What node `index` makes of `values`."""
        node = self.graph.nodes[index]
        return node.compute(*(values[name] for name in node.inputs)).to(torch.float32)

    def _log_probabilities(self, start: int, values: Mapping[str, Tensor]) -> Tensor:
        """Of the classes [N, classes]; a network may end with a softmax of its own."""
        values = dict(values)
        for index in range(start, len(self.graph.nodes)):
            values[self.graph.nodes[index].output] = self.compute(index, values)
            for name in self._finished[index]:
                if name != self.graph.output:
                    del values[name]
        output = values[self.graph.output].flatten(1)
        if isinstance(self.graph.producer(self.graph.output), ir.Softmax):
            return torch.log(output.clamp(min=_LEAST_PROBABILITY))
        return functional.log_softmax(output, dim=1)
