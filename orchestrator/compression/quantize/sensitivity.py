"""How much each layer's weights at each number of bits would change the network's answers; needs no labels.

One layer at a time is rounded to b bits, as quantization would do it (scales searched, errors compensated, bias
corrected), everything else stays float, and the answers are compared with the float network's own:

    sensitivity[layer][b] = mean over samples of KL(softmax(float) || softmax(layer at b bits))

Small errors of different layers add up, since KL is quadratic in them and they are nearly uncorrelated, which is what
lets `allocation` share a budget out layer by layer. The idea is HAWQ's, measured in place of estimated from a Hessian:
Dong, Yao, Gholami, Mahoney & Keutzer 2019, arXiv:1905.03696; Yao et al. 2021 (HAWQ-V3), arXiv:2011.10680.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from orchestrator.compression.capture import ir
from orchestrator.compression.progress import OnProgress
from orchestrator.compression.quantize.answers import Answers
from orchestrator.compression.quantize.grid import Grid, search_grid
from orchestrator.compression.quantize.statistics import input_statistics
from orchestrator.compression.quantize.weights import quantize_weights
from orchestrator.compression.recipe import WEIGHT_BITS, Recipe

SENSITIVITY_SAMPLES = 256


@dataclass(frozen=True)
class LayerSensitivity:
    """One layer's measurements.

    Attributes:
        operator: its name (the user's module path).
        rows, row_weights: output channels, and weights of each.
        divergence: bits to mean KL in nats.
        depthwise: whether it is a depthwise convolution.
    """

    operator: str
    rows: int
    row_weights: int
    divergence: dict[int, float]
    depthwise: bool

    @property
    def weights(self) -> int:
        return self.rows * self.row_weights

    def packed_bytes(self, bits: int) -> int:
        """Of its weights in a model: each row starts at a byte."""
        return self.rows * ((self.row_weights * bits + 7) // 8)


@torch.no_grad()
def measure_sensitivity(
    graph: ir.FloatGraph,
    samples: Tensor,
    recipe: Recipe,
    *,
    bits: Sequence[int] = WEIGHT_BITS,
    on_progress: OnProgress | None = None,
) -> tuple[LayerSensitivity, ...]:
    """Measure every convolution and linear layer of `graph` on normalised `samples` [N, C, H, W].

    Args:
        recipe: what rounding, scheme and bias correction are to be; its bits do not matter.
    """
    answers = Answers(graph, samples[:SENSITIVITY_SAMPLES])
    values = {graph.input: answers.samples}
    names = ir.operator_names(graph)
    measured = []
    for index, (node, finished) in enumerate(zip(graph.nodes, ir.last_reads(graph), strict=True)):
        values[node.output] = answers.compute(index, values)
        if isinstance(node, ir.Weighted):
            trial = _Trial(node, values[node.inputs[0]], values[node.output], recipe)
            divergence = {
                each: answers.divergence(index + 1, {**values, node.output: trial.output(each).to(torch.float32)})
                for each in bits
            }
            measured.append(
                LayerSensitivity(
                    operator=names[node.name],
                    rows=len(node.weight),
                    row_weights=node.weight[0].numel(),
                    divergence=divergence,
                    depthwise=is_depthwise_filter(node),
                )
            )
        for name in finished:
            del values[name]
        if on_progress:
            on_progress((index + 1) / len(graph.nodes), f"sensitivity of {names[node.name]}")
    return tuple(measured)


def is_depthwise_filter(node: ir.Weighted) -> bool:
    """Whether every row is one channel's filter; a row of a single weight is exact at any bits and does not count."""
    return isinstance(node, ir.Conv) and node.is_depthwise and node.weight[0].numel() > 1


class _Trial:
    """One layer with its weights rounded, on its float inputs."""

    def __init__(self, node: ir.Weighted, source: Tensor, output: Tensor, recipe: Recipe) -> None:
        self.node, self.recipe = node, recipe
        self.source = source.to(torch.float64)
        self.statistics = input_statistics(node, self.source)
        self.grids: tuple[Grid, Grid] = (
            search_grid(source, recipe.scheme, what=f"the input of {node.name}"),
            search_grid(output, recipe.scheme, what=f"the output of {node.name}"),
        )

    def output(self, bits: int) -> Tensor:
        node = self.node
        rounded = quantize_weights(node, self.statistics, *self.grids, self.recipe, bits, coarse=True).dequantize()
        error = node.accumulate(self.source, rounded - node.weight, None)
        if self.recipe.correct_bias:
            error = error - error.mean(dim=[axis for axis in range(error.ndim) if axis != 1], keepdim=True)
        return node.clamp(node.accumulate(self.source, node.weight, node.bias) + error)
