"""What was learned, as the plans that are lowered: every grid, integer and scale as it is, nothing calibrated again."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from orchestrator.compression.capture import ir
from orchestrator.compression.errors import QuantizationError, TrainingError
from orchestrator.compression.qat.layers import QuantizedLayer
from orchestrator.compression.qat.network import QuantizedNetwork
from orchestrator.compression.quantize import requantize as derive
from orchestrator.compression.quantize.grid import SOFTMAX_GRID, Grid
from orchestrator.compression.quantize.operators import plan_operator
from orchestrator.compression.quantize.plan import Plan, WeightedPlan
from orchestrator.compression.quantize.sequential import QuantizedGraph
from orchestrator.compression.quantize.weights import quantize_bias
from orchestrator.compression.recipe import Scheme


def trained_graph(network: QuantizedNetwork) -> QuantizedGraph:
    """The quantized graph that `network` has become; its float graph holds the trained weights.

    Raises:
        TrainingError: training left something that is not finite.
        QuantizationError: what was learned leaves the format; a lower learning rate keeps it in.
    """
    for name, value in network.state_dict().items():
        if not bool(value.isfinite().all()):
            raise TrainingError(f"training left {name} not finite; lower the learning rate")
    start = network.start
    grids: dict[str, Grid] = {start.graph.input: network.grid_of(start.graph.input)}
    plans: dict[str, Plan] = {}
    nodes: list[ir.Node] = []
    for node in start.graph.nodes:
        sources = [grids[name] for name in node.inputs]
        output = SOFTMAX_GRID if isinstance(node, ir.Softmax) else network.grid_of(node.output)
        if isinstance(node, ir.Weighted):
            plan = _weighted(network.layer_of(node), sources[0], output, start.recipe.scheme)
            nodes.append(plan.node)
            plans[node.name] = plan
        else:
            learned = network.learned(node)
            nodes.append(learned)
            plans[node.name] = plan_operator(start.graph, learned, sources, output, start.recipe.scheme)
        grids[node.output] = output
    return QuantizedGraph(replace(start.graph, nodes=nodes), start.recipe, grids, plans)


def _weighted(layer: QuantizedLayer, source: Grid, output: Grid, scheme: Scheme) -> WeightedPlan:
    node = layer.node
    integers, scales, bias = layer.folded()
    weight = integers.numpy().astype(np.int64)
    shape = (-1,) + (1,) * (integers.ndim - 1)
    plan = WeightedPlan(
        node=replace(node, weight=integers * scales.view(shape), bias=bias, unfolded=None),
        input_grid=source,
        weight_bits=layer.bits,
        weight=weight,
        bias=quantize_bias(bias, scales.numpy(), source, what=node.name),
        weight_scales=scales.numpy().copy(),
        requantize=derive.requantize_from(
            scales.numpy() * source.scale, output, scheme, low=node.low, high=node.high, what=node.name
        ),
    )
    sums = np.abs(weight).reshape(len(weight), -1).sum(axis=1) * source.max_magnitude + np.abs(plan.bias)
    if sums.max() >= derive.ACCUMULATOR_LIMIT:
        raise QuantizationError(f"{node.name}: trained weights can overflow a 32-bit accumulator")
    return plan
