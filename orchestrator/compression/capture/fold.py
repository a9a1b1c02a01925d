"""Rewrites of the float graph that change nothing but the number of operators.

Batch norm goes into the convolution or linear layer before it; where there is none (a pre-activation network), it
becomes a depthwise 1 x 1 convolution. Clamps go into the operator before them. Both only where nobody else reads what
lies between. What does not reach the output is dropped.
"""

from __future__ import annotations

import math

import torch

from orchestrator.compression.capture import ir
from orchestrator.compression.errors import CaptureError


def fold_batch_norms(graph: ir.FloatGraph) -> None:
    folded: dict[str, bool] = {}  # of two in a row neither can be trained on by itself
    for norm in [node for node in graph.nodes if isinstance(node, ir.BatchNorm)]:
        before = graph.producer(norm.inputs[0])
        is_private = len(graph.readers(norm.inputs[0])) == 1 and norm.inputs[0] != graph.output
        if isinstance(before, ir.Weighted) and is_private and (before.low, before.high) == (-math.inf, math.inf):
            is_first = not folded.get(before.name)
            before.unfolded = ir.Unfolded(before.weight, before.bias, norm) if is_first else None
            folded[before.name] = True
            shape = (-1,) + (1,) * (before.weight.ndim - 1)
            before.weight = before.weight * norm.scale.view(shape)
            before.bias = before.bias * norm.scale + norm.shift
            _bypass(graph, norm)
        elif len(graph.shapes[norm.output]) == 3:
            graph.nodes[graph.nodes.index(norm)] = _as_convolution(norm)
        else:
            raise CaptureError(
                "batch norm of a flat feature map must directly follow a linear layer",
                operation="aten.batch_norm.default",
                source=norm.source,
            )


def fuse_clamps(graph: ir.FloatGraph) -> None:
    """Let relu and its kin ride on the operator before them (a clamp on a clamp included)."""
    for clamp in [node for node in graph.nodes if isinstance(node, ir.Clamp)]:
        before = graph.producer(clamp.inputs[0])
        is_private = len(graph.readers(clamp.inputs[0])) == 1 and clamp.inputs[0] != graph.output
        if isinstance(before, ir.Clamped) and is_private:
            # clamp(clamp(x, a, b), c, d) is the clamp to [a, b] moved into [c, d], also where the ranges do not overlap
            low = min(max(before.low, clamp.low), clamp.high)
            high = max(min(before.high, clamp.high), clamp.low)
            before.low, before.high = low, high
            _bypass(graph, clamp)


def drop_unread(graph: ir.FloatGraph) -> None:
    needed = {graph.output}
    for node in reversed(graph.nodes):
        if node.output in needed:
            needed.update(node.inputs)
    graph.nodes = [node for node in graph.nodes if node.output in needed]


def _bypass(graph: ir.FloatGraph, node: ir.Node) -> None:
    graph.nodes.remove(node)
    ir.rename_reads(graph, {node.output: node.inputs[0]})


def _as_convolution(norm: ir.BatchNorm) -> ir.Conv:
    channels = len(norm.scale)
    return ir.Conv(
        name=norm.name,
        inputs=norm.inputs,
        output=norm.output,
        source=norm.source,
        weight=norm.scale.view(channels, 1, 1, 1),
        bias=torch.clone(norm.shift),
        stride=(1, 1),
        padding=(0, 0, 0, 0),
        groups=channels,
    )
