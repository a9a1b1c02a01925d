"""What the readers of a feature map can tell apart; values beyond that need no place on its grid.

    relu(a + b) with b <= B:   every a <= -B gives 0, so the grid of a may end at -B

B is the largest b of the calibration samples, beyond which b's own grid ends too. Maps before a residual addition often
reach far below what the relu behind it lets through; without that part the rest of them gets a finer grid.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from orchestrator.compression.capture import ir

Range = tuple[float, float]
EVERYTHING: Range = (-math.inf, math.inf)


def heard_ranges(graph: ir.FloatGraph, samples: Tensor) -> dict[str, Range]:
    """By feature map, the ends beyond which no reader hears a difference; maps that are heard whole are not in it.

    Args:
        samples: normalised, [N, C, H, W].
    """
    bounded = [node for node in graph.nodes if isinstance(node, ir.Add) and (node.low, node.high) != EVERYTHING]
    if not bounded:
        return {}
    extremes = _extremes(graph, samples, {name for node in bounded for name in node.inputs})
    heard = {}
    for value in extremes:
        ends = [_heard_by(reader, value, extremes) for reader in graph.readers(value)]
        found = (min(low for low, _ in ends), max(high for _, high in ends))
        if found != EVERYTHING and value != graph.output:
            heard[value] = found
    return heard


def _heard_by(reader: ir.Node, value: str, extremes: dict[str, Range]) -> Range:
    others = [name for name in reader.inputs if name != value]
    if not isinstance(reader, ir.Add) or len(others) != 1 or others[0] not in extremes:
        return EVERYTHING
    least, most = extremes[others[0]]
    return min(reader.low - most, 0.0), max(reader.high - least, 0.0)


def _extremes(graph: ir.FloatGraph, samples: Tensor, wanted: set[str]) -> dict[str, Range]:
    found = {graph.input: (float(samples.min()), float(samples.max()))} if graph.input in wanted else {}
    for node, output in graph.in_float32().walk(samples, torch.float32):
        if node.output in wanted:
            found[node.output] = (float(output.min()), float(output.max()))
    return found
