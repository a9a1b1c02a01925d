"""Which plan an operator without weights gets, once the grids around it are known."""

from __future__ import annotations

from orchestrator.compression.capture import ir
from orchestrator.compression.errors import QuantizationError
from orchestrator.compression.quantize import requantize as derive
from orchestrator.compression.quantize.grid import Grid
from orchestrator.compression.quantize.plan import FlattenPlan, MaxPoolPlan, MovePlan, Plan
from orchestrator.compression.recipe import Scheme

KEEPS_GRID = (ir.MaxPool, ir.Flatten, ir.Reshape, ir.Permute, ir.Clamp)
"""Operators whose output is on the grid of their input."""


def plan_operator(graph: ir.FloatGraph, node: ir.Node, sources: list[Grid], output: Grid, scheme: Scheme) -> Plan:
    """What `node` of `graph` does from `sources` to `output`.

    Raises:
        QuantizationError: no device has such an operator, or the numbers leave the format.
    """
    match node:
        case ir.MaxPool():
            return MaxPoolPlan(node)
        case ir.Flatten():
            return FlattenPlan()
        case ir.Reshape() | ir.Permute():
            return MovePlan(node)
        case ir.Clamp():
            return derive.plan_clamp(node, sources[0])
        case ir.Softmax():
            return derive.plan_softmax(sources[0])
        case ir.Add():
            return derive.plan_add(node, sources, output, scheme)
        case ir.Concat():
            return derive.plan_concat(node, sources, output, scheme)
        case ir.AveragePool():
            return derive.plan_average_pool(node, sources[0], output, scheme)
        case ir.Elementwise():
            return derive.plan_table(node, sources[0], output)
        case ir.MatMul():
            return derive.plan_matmul(node, sources, output, scheme, node.inner(graph.shapes[node.inputs[0]]))
        case ir.LayerNorm():
            return derive.plan_layer_norm(node, sources[0], output, scheme)
        case ir.Multiply():
            return derive.plan_multiply(node, sources, output, scheme)
        case ir.Constant():
            return derive.plan_constant(node, output)
    raise QuantizationError(f"{node.name}: a {type(node).__name__} cannot be quantized")
