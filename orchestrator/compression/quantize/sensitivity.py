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
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from orchestrator.compression.capture import ir
from orchestrator.compression.progress import OnProgress
from orchestrator.compression.quantize.grid import Grid, search_grid
from orchestrator.compression.quantize.statistics import input_statistics
from orchestrator.compression.quantize.weights import quantize_weights
from orchestrator.compression.recipe import WEIGHT_BITS, Recipe

SENSITIVITY_SAMPLES = 256
_LEAST_PROBABILITY = 1e-30


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
    single = _in_float32(graph)
    values = {single.input: samples[:SENSITIVITY_SAMPLES].to(torch.float32)}
    wanted = _log_probabilities(single, _finish(single, 0, values))
    names = ir.operator_names(graph)
    measured = []
    for index, (node, finished) in enumerate(zip(single.nodes, ir.last_reads(single), strict=True)):
        values[node.output] = node.compute(*(values[name] for name in node.inputs))
        exact = graph.nodes[index]
        if isinstance(exact, ir.Weighted):
            trial = _Trial(exact, values[node.inputs[0]], values[node.output], recipe)
            divergence = {}
            for each in bits:
                changed = _finish(single, index + 1, {**values, node.output: trial.output(each).to(torch.float32)})
                divergence[each] = _divergence(wanted, _log_probabilities(single, changed))
            measured.append(
                LayerSensitivity(
                    operator=names[node.name],
                    rows=len(exact.weight),
                    row_weights=exact.weight[0].numel(),
                    divergence=divergence,
                    depthwise=isinstance(exact, ir.Conv) and exact.is_depthwise,
                )
            )
        for name in finished:
            del values[name]
        if on_progress:
            on_progress((index + 1) / len(graph.nodes), f"sensitivity of {names[node.name]}")
    return tuple(measured)


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


def _in_float32(graph: ir.FloatGraph) -> ir.FloatGraph:
    """Twice as fast, and far more exact than the errors that are measured."""
    nodes = [
        replace(node, weight=node.weight.to(torch.float32), bias=node.bias.to(torch.float32))
        if isinstance(node, ir.Weighted)
        else node
        for node in graph.nodes
    ]
    return replace(graph, nodes=nodes)


def _finish(graph: ir.FloatGraph, start: int, values: dict[str, Tensor]) -> Tensor:
    """The output where `values` are those before node `start`."""
    values = dict(values)
    finished = ir.last_reads(graph)
    for index in range(start, len(graph.nodes)):
        node = graph.nodes[index]
        values[node.output] = node.compute(*(values[name] for name in node.inputs))
        for name in finished[index]:
            if name != graph.output:
                del values[name]
    return values[graph.output]


def _log_probabilities(graph: ir.FloatGraph, output: Tensor) -> Tensor:
    """Of the classes [N, classes]; a network may end with a softmax of its own."""
    last = graph.producer(graph.output)
    if isinstance(last, ir.Softmax):
        return torch.log(output.flatten(1).clamp(min=_LEAST_PROBABILITY))
    return functional.log_softmax(output.flatten(1), dim=1)


def _divergence(wanted: Tensor, found: Tensor) -> float:
    return float(functional.kl_div(found, wanted, reduction="batchmean", log_target=True).clamp(min=0.0))
