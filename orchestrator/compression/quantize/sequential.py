"""The walk over the graph that calibrates, quantizes and corrects, operator by operator."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from orchestrator.compression.capture import ir
from orchestrator.compression.errors import DataError, RecipeError, WeightError
from orchestrator.compression.progress import OnProgress
from orchestrator.compression.quantize import requantize as derive
from orchestrator.compression.quantize.adaround import ERROR_THRESHOLD, learn_rounding
from orchestrator.compression.quantize.choice import GridChoice
from orchestrator.compression.quantize.equalize import equalize
from orchestrator.compression.quantize.grid import (
    SOFTMAX_GRID,
    Grid,
    all_grids,
    grid_for_range,
    rival_grids,
    search_grid,
)
from orchestrator.compression.quantize.heard import EVERYTHING, heard_ranges
from orchestrator.compression.quantize.mixed import choose_bits
from orchestrator.compression.quantize.operators import KEEPS_GRID, plan_operator
from orchestrator.compression.quantize.plan import Plan, WeightedPlan
from orchestrator.compression.quantize.refusal import hopeless_layers, refusal
from orchestrator.compression.quantize.sensitivity import measure_sensitivity
from orchestrator.compression.quantize.statistics import affordable, channel_means, input_statistics
from orchestrator.compression.quantize.weights import fits_accumulator, quantize_bias, quantize_weights
from orchestrator.compression.recipe import Effort, Recipe, Scheme

_SENSITIVITY_SHARE = 0.7  # of the time, where bits are chosen first


@dataclass(frozen=True, eq=False)
class QuantizedGraph:
    """The recorded quantized parameters, from which a model is lowered bit for bit anywhere."""

    graph: ir.FloatGraph
    recipe: Recipe
    grids: dict[str, Grid] = field(repr=False)
    plans: dict[str, Plan] = field(repr=False)

    def run(self, x: Tensor) -> Tensor:
        """Simulate the device: normalised [N, C, H, W] to the output's grid points, as integers in float64."""
        values = {self.graph.input: self.grids[self.graph.input].quantize(x.to(torch.float64))}
        for node, finished in zip(self.graph.nodes, ir.last_reads(self.graph), strict=True):
            values[node.output] = self.plans[node.name].run(*(values[name] for name in node.inputs))
            if node.output == self.graph.output:
                result = values[node.output]
            for name in finished:
                del values[name]
        return result


@torch.no_grad()
def quantize(
    graph: ir.FloatGraph,
    samples: Tensor,
    recipe: Recipe,
    *,
    input_range: tuple[float, float] | None = None,
    on_progress: OnProgress | None = None,
) -> QuantizedGraph:
    """Quantize `graph` by `recipe`, calibrated on normalised `samples` [N, C, H, W]; labels are not needed.

    Equalization changes the weights in `graph`.

    Args:
        input_range: what the input can be at all; the samples' range where it is not known.

    Raises:
        DataError: there are no samples, they are not finite, or they are all the same.
        RecipeError: it gives bits to a layer that is not there.
        WeightError: a layer is dead on all samples.
        InfeasibleError: the recipe would ruin this network; it names the nearest plan that does not.
        QuantizationError: the recipe cannot work on this network.
    """
    if len(samples) == 0:
        raise DataError("quantization needs calibration samples; a few hundred are enough")
    if not bool(torch.isfinite(samples).all()):
        raise DataError("calibration samples are not finite")
    if len(samples) > 1 and bool((samples == samples[0]).all()):
        raise DataError(f"all {len(samples)} calibration samples are the same, which says nothing about others")
    _require_known_layers(graph, recipe)
    samples = affordable(graph, samples[: recipe.calibration_count])
    hopeless = hopeless_layers(graph, recipe)
    if hopeless:
        raise refusal(recipe, hopeless, measure_sensitivity(graph, samples, recipe))
    if recipe.equalize and recipe.training is None:  # training learns scales of its own
        equalize(graph, samples)
    begun = 0.0
    if recipe.is_mixed and not recipe.layer_bits:
        begun = _SENSITIVITY_SHARE
        recipe = choose_bits(graph, samples, recipe, on_progress=part_of(on_progress, 0.0, begun))
    report = part_of(on_progress, begun, 1.0)
    walk = _Walk(graph, recipe, samples, input_range)
    for index, node in enumerate(graph.nodes):
        walk.step(node)
        if report:
            report((index + 1) / len(graph.nodes), f"quantizing {node.name}")
    return QuantizedGraph(graph, recipe, walk.grids, walk.plans)


class _Walk:
    def __init__(
        self, graph: ir.FloatGraph, recipe: Recipe, samples: Tensor, input_range: tuple[float, float] | None
    ) -> None:
        self.graph, self.recipe = graph, recipe
        self.intended = {graph.input: samples.to(torch.float64)}
        low, high = input_range or (float(samples.min()), float(samples.max()))
        if low == high == 0:
            raise DataError("every calibration sample is zero everywhere")
        self.grids = {graph.input: grid_for_range(low, high, recipe.scheme)}
        self.real = {graph.input: self.grids[graph.input].quantize(self.intended[graph.input])}
        self.plans: dict[str, Plan] = {}
        self.heard = heard_ranges(graph, samples)
        self.finished = dict(zip((node.name for node in graph.nodes), ir.last_reads(graph), strict=True))
        self.names = ir.operator_names(graph)
        chooses = recipe.scheme is Scheme.INTEGER and recipe.training is None
        self.choice = GridChoice(graph, samples) if chooses else None

    def step(self, node: ir.Node) -> None:
        intended = node.compute(*(self.intended[name] for name in node.inputs))
        if isinstance(node, ir.Weighted) and _varies(self.intended[node.inputs[0]]) and not _varies(intended):
            raise WeightError(
                f"the output of {node.name} never changes over the calibration samples, so nothing behind it can "
                "depend on the input"
            )
        grid, plan = self.plan(node, intended)
        self.intended[node.output] = intended
        self.grids[node.output], self.plans[node.name] = grid, plan
        self.real[node.output] = plan.run(*(self.real[name] for name in node.inputs))
        for name in self.finished[node.name]:
            del self.intended[name], self.real[name]

    def plan(self, node: ir.Node, intended: Tensor) -> tuple[Grid, Plan]:
        """The output's grid and what the operator does; `intended` is its output in float."""
        sources, scheme = [self.grids[name] for name in node.inputs], self.recipe.scheme
        if isinstance(node, KEEPS_GRID):
            output = sources[0]
        elif isinstance(node, ir.Softmax):
            output = SOFTMAX_GRID
        else:
            output = self.choose_grid(node, intended)
        if isinstance(node, ir.Weighted):
            return output, self.plan_weighted(node, sources[0], output)
        return output, plan_operator(self.graph, node, sources, output, scheme)

    def choose_grid(self, node: ir.Node, intended: Tensor) -> Grid:
        """For what `node` computes. Powers of two leave little choice as scales, and trained grids move anyway."""
        what = f"the output of {node.name}"
        values = intended.clamp(*self.heard.get(node.output, EVERYTHING))
        if self.choice is None:
            return search_grid(values, self.recipe.scheme, what=what)
        propose = all_grids if self.choice.is_free_after(node) else rival_grids
        return self.choice.best(node, propose(values, self.recipe.scheme, what=what), self.real, self.grids)

    def plan_weighted(self, node: ir.Weighted, source: Grid, output: Grid) -> WeightedPlan:
        intended_input = self.intended[node.inputs[0]]
        real_input = source.dequantize(self.real[node.inputs[0]])
        bits = self.recipe.bits_of(self.names[node.name])
        statistics = input_statistics(node, real_input, intended_input if self.recipe.compensates(bits) else None)
        integers = quantize_weights(node, statistics, source, output, self.recipe, bits)
        if self.recipe.effort is Effort.HIGH and integers.relative_error > ERROR_THRESHOLD:
            learned = learn_rounding(node, integers, real_input, intended_input, bits)
            learned = replace(learned, weight=learned.weight * (node.weight != 0).numpy())  # pruned weights stay 0
            integers = learned if fits_accumulator(learned.weight, source) else integers
        bias = node.bias
        if self.recipe.correct_bias:
            wanted = channel_means(node.accumulate(intended_input, node.weight, node.bias))
            bias = wanted - channel_means(node.accumulate(real_input, integers.dequantize(), None))
        return WeightedPlan(
            node=node,
            input_grid=source,
            weight_bits=bits,
            weight=integers.weight,
            bias=quantize_bias(bias, integers.scales, source, what=node.name),
            weight_scales=integers.scales,
            requantize=derive.requantize_from(
                integers.scales * source.scale, output, self.recipe.scheme, low=node.low, high=node.high, what=node.name
            ),
        )


def part_of(report: OnProgress | None, start: float, end: float) -> OnProgress | None:
    """`report` for work that is only a part of the whole."""
    return None if report is None else lambda done, words: report(start + (end - start) * done, words)


def _require_known_layers(graph: ir.FloatGraph, recipe: Recipe) -> None:
    layers = [ir.operator_names(graph)[node.name] for node in graph.nodes if isinstance(node, ir.Weighted)]
    unknown = [name for name, _ in recipe.layer_bits if name not in layers]
    if unknown:
        raise RecipeError(f"layer_bits name {', '.join(unknown)}; layers with weights are {', '.join(layers)}")


def _varies(x: Tensor) -> bool:
    """Whether any channel has two different values, over samples and positions."""
    axes = [axis for axis in range(x.ndim) if axis != 1]
    return bool((x.amax(dim=axes) != x.amin(dim=axes)).any())
