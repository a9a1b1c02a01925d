"""Rewrites of the float graph that change nothing but the number of operators.

Batch norm goes into the convolution or linear layer before it; where there is none (a pre-activation network), it
becomes a depthwise 1 x 1 convolution, and of a flat feature map it goes into the linear layer after it. Clamps go into
the operator before them. All only where nobody else reads what lies between. A choice of channels becomes a choice of
rows of the layer before it, so that queries, keys and values that came from one layer have one each; a constant factor
goes into the layer that makes its input. A border goes into the convolutions or maxima that read it. What does not
reach the output is dropped.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from orchestrator.compression.capture import ir
from orchestrator.compression.errors import CaptureError


def fold_pads(graph: ir.FloatGraph) -> None:
    for node in [node for node in graph.nodes if isinstance(node, ir.Pad)]:
        readers = graph.readers(node.output)
        takers = [r for r in readers if isinstance(r, ir.Conv if node.value == 0 else ir.MaxPool)]
        if node.output != graph.output and len(takers) == len(readers):
            for taker in takers:
                top, bottom, left, right = map(sum, zip(taker.padding, node.padding, strict=True))
                taker.padding = (top, bottom, left, right)
            _bypass(graph, node)
        elif node.value == 0:
            _replace(graph, node, [_as_copy(node, channels=graph.shapes[node.output][0])])
        else:
            raise CaptureError("a border of minus infinity is for max pooling alone", source=node.source)


def fold_batch_norms(graph: ir.FloatGraph) -> None:
    folded: set[str] = set()  # of two in a row neither can be trained on by itself
    for norm in [node for node in graph.nodes if isinstance(node, ir.BatchNorm)]:
        before = graph.producer(norm.inputs[0])
        if isinstance(before, ir.Weighted) and _is_private(graph, norm.inputs[0]) and _is_open(before):
            goes_on_learning = not norm.fixed and before.name not in folded
            before.unfolded = ir.Unfolded(before.weight, before.bias, norm) if goes_on_learning else None
            folded.add(before.name)
            shape = (-1,) + (1,) * (before.weight.ndim - 1)
            before.weight = before.weight * norm.scale.view(shape)
            before.bias = before.bias * norm.scale + norm.shift
            _bypass(graph, norm)
        elif len(graph.shapes[norm.output]) == 3:
            _replace(graph, norm, [_as_convolution(norm)])
        elif _is_private(graph, norm.output) and isinstance(after := graph.readers(norm.output)[0], ir.Linear):
            after.bias = after.bias + after.weight @ norm.shift
            after.weight = after.weight * norm.scale
            _bypass(graph, norm)
        else:
            _replace(graph, norm, _as_product_and_sum(graph, norm))


def fold_selections(graph: ir.FloatGraph) -> None:
    """A layer for each part of what one layer made; where there is none, a pointwise convolution picks channels."""
    for selection in [node for node in graph.nodes if isinstance(node, ir.Select)]:
        before = graph.producer(selection.inputs[0])
        if isinstance(before, ir.Linear) or (isinstance(before, ir.Conv) and before.groups == 1):
            new = _part_of(before, selection)
        else:
            new = _picking(graph, selection)
        graph.nodes[graph.nodes.index(selection)] = new


def fold_factors(graph: ir.FloatGraph) -> None:
    """Times a constant, and the scale of attention scores, become part of the layer before or of the product itself."""
    for scale in [node for node in graph.nodes if isinstance(node, ir.Scale)]:
        before = graph.producer(scale.inputs[0])
        if not _is_private(graph, scale.inputs[0]):
            continue
        if isinstance(before, ir.Weighted) and _is_open(before) and scale.factor != 0:
            _multiply(before, scale.factor)
            _bypass(graph, scale)
        elif isinstance(before, ir.MatMul) and scale.factor > 0:
            before.factor *= scale.factor
            _bypass(graph, scale)
    for product in [node for node in graph.nodes if isinstance(node, ir.MatMul)]:
        before = graph.producer(product.inputs[0])
        if isinstance(before, ir.Weighted) and _is_open(before) and _is_private(graph, product.inputs[0]):
            _multiply(before, product.factor)
            product.factor = 1.0


def fuse_clamps(graph: ir.FloatGraph) -> None:
    """Let relu and its kin ride on the operator before them (a clamp on a clamp included)."""
    for clamp in [node for node in graph.nodes if isinstance(node, ir.Clamp)]:
        before = graph.producer(clamp.inputs[0])
        if isinstance(before, ir.Clamped) and _is_private(graph, clamp.inputs[0]):
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


def _multiply(layer: ir.Weighted, factor: float) -> None:
    if factor != 1:
        layer.weight, layer.bias, layer.unfolded = layer.weight * factor, layer.bias * factor, None


def _is_private(graph: ir.FloatGraph, value: str) -> bool:
    """Whether one operator alone reads a feature map, once."""
    return sum(node.inputs.count(value) for node in graph.nodes) == 1 and value != graph.output


def _is_open(node: ir.Clamped) -> bool:
    return (node.low, node.high) == (-math.inf, math.inf)


def _part_of(layer: ir.Weighted, selection: ir.Select) -> ir.Weighted:
    return replace(
        layer,
        name=selection.name,
        output=selection.output,
        source=selection.source,
        weight=layer.weight[selection.channels],
        bias=layer.bias[selection.channels],
        unfolded=None,
        weight_name="",  # part of a parameter has no path in the user's module
        bias_name="",
    )


def _picking(graph: ir.FloatGraph, selection: ir.Select) -> ir.Weighted:
    place: dict[str, Any] = {key: getattr(selection, key) for key in ("name", "inputs", "output", "source")}
    channels_in = graph.shapes[selection.inputs[0]][0]
    weight = torch.eye(channels_in, dtype=torch.float64)[selection.channels]
    bias = torch.zeros(len(weight), dtype=torch.float64)
    if len(graph.shapes[selection.output]) == 1:
        return ir.Linear(**place, weight=weight, bias=bias)
    window: dict[str, Any] = {"stride": (1, 1), "padding": (0, 0, 0, 0), "groups": 1}
    return ir.Conv(**place, weight=weight[:, :, None, None], bias=bias, **window)


def _bypass(graph: ir.FloatGraph, node: ir.Node) -> None:
    graph.nodes.remove(node)
    ir.rename_reads(graph, {node.output: node.inputs[0]})


def _replace(graph: ir.FloatGraph, node: ir.Node, new: Sequence[ir.Node]) -> None:
    index = graph.nodes.index(node)
    graph.nodes[index : index + 1] = new


def _as_product_and_sum(graph: ir.FloatGraph, norm: ir.BatchNorm) -> list[ir.Node]:
    """Of a flat feature map, with constants."""
    scale, scaled, shift = (f"{norm.name}.{what}" for what in ("scale", "scaled", "shift"))
    graph.shapes |= dict.fromkeys((scale, scaled, shift), graph.shapes[norm.output])
    place: dict[str, Any] = {"source": norm.source}
    return [
        ir.Constant(name=scale, inputs=[], output=scale, value=norm.scale[None], **place),
        ir.Multiply(name=scaled, inputs=[*norm.inputs, scale], output=scaled, **place),
        ir.Constant(name=shift, inputs=[], output=shift, value=norm.shift[None], **place),
        ir.Add(name=norm.name, inputs=[scaled, shift], output=norm.output, **place),
    ]


def _as_convolution(norm: ir.BatchNorm) -> ir.Conv:
    return _depthwise(norm, norm.scale, torch.clone(norm.shift))


def _as_copy(node: ir.Pad, *, channels: int) -> ir.Conv:
    ones = torch.ones(channels, dtype=torch.float64)
    return _depthwise(node, ones, torch.zeros_like(ones), padding=node.padding)


def _depthwise(node: ir.Node, scale: Tensor, shift: Tensor, padding: ir.Pads = (0, 0, 0, 0)) -> ir.Conv:
    """1 x 1, in the place of `node`."""
    return ir.Conv(
        name=node.name,
        inputs=node.inputs,
        output=node.output,
        source=node.source,
        weight=scale.view(-1, 1, 1, 1),
        bias=shift,
        stride=(1, 1),
        padding=padding,
        groups=len(scale),
    )
