"""Cross-layer equalization: channels that are small beside others are made larger, at no change of the function.

Between a layer and the one that reads it, channel i may be divided by any s_i > 0 when the reader's weights for it are
multiplied by s_i; relu, pooling and flatten let positive factors through. One grid serves all channels of a feature
map, so a channel that only reaches a hundredth of the range keeps two of its eight bits:

    s_i = min(1, max |x_i| / (MIN_SHARE * max |x|))

gives every channel at least MIN_SHARE of the range. Maxima are over the calibration samples. Nagel et al. 2019
(arXiv:1906.04721), eq. 11, make the ranges of both layers' weights equal instead. That is for weights of one scale per
layer; with one per output channel the first layer's rows are free, and shrinking columns of the reader's rows further
than the grid needs only costs 4-bit weights accuracy (0.2 points on a depthwise network).

A map that others read too, or that ends in a clamp such as relu6, is left as it is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from orchestrator.compression.capture import ir

MIN_SHARE = 1 / 8  # five of eight bits
_LARGEST_FACTOR = 2.0**8  # beyond it a channel is noise or dead
_SAMPLES = 128


@dataclass(frozen=True, eq=False)
class Pair:
    """Two layers of which only the second reads the first; `repeats` of its columns for each channel (a flatten)."""

    first: ir.Weighted
    second: ir.Weighted
    repeats: int

    @property
    def is_depthwise(self) -> bool:
        return isinstance(self.second, ir.Conv) and self.second.groups > 1


@torch.no_grad()
def equalize(graph: ir.FloatGraph, samples: Tensor) -> list[Pair]:
    """Rescale the weights in `graph` in place; returns the pairs that were equalized.

    Args:
        samples: normalised [N, C, H, W]; the first hundred or so are run.
    """
    pairs = find_pairs(graph)
    ranges = {pair.first.output: torch.zeros(len(pair.first.bias), dtype=torch.float64) for pair in pairs}
    for node, output in graph.walk(samples[:_SAMPLES]):
        if node.output in ranges:
            ranges[node.output] = output.abs().transpose(0, 1).flatten(1).amax(dim=1)
    for pair in pairs:
        _apply(pair, _factors(ranges[pair.first.output]))
    return pairs


def find_pairs(graph: ir.FloatGraph) -> list[Pair]:
    """Every pair of layers between which channels can be rescaled."""
    pairs = []
    for node in graph.nodes:
        if isinstance(node, ir.Weighted) and _lets_through(node):
            found = _sole_reader(graph, node)
            if found is not None:
                pairs.append(found)
    return pairs


def _sole_reader(graph: ir.FloatGraph, first: ir.Weighted) -> Pair | None:
    value, repeats = first.output, 1
    while value != graph.output:
        readers = graph.readers(value)
        if len(readers) != 1:
            return None
        match readers[0]:
            case ir.Conv() as conv if conv.groups in (1, len(first.bias)):
                return Pair(first, conv, repeats)
            case ir.Linear() as linear:
                return Pair(first, linear, repeats)
            case ir.Flatten():
                repeats = math.prod(graph.shapes[value][1:])
            case ir.MaxPool():
                pass
            case ir.AveragePool() as pool if _lets_through(pool):
                pass
            case _:
                return None
        value = readers[0].output
    return None


def _lets_through(node: ir.Clamped) -> bool:
    """Whether the clamp commutes with positive factors."""
    return node.low in (-math.inf, 0.0) and node.high == math.inf


def _factors(range_C: Tensor) -> Tensor:
    """s [C]; 1 for channels that are large enough, and for those that are dead."""
    factor_C = range_C / (MIN_SHARE * range_C.max()).clamp(min=torch.finfo(torch.float64).tiny)
    return torch.where(range_C > 0, factor_C.clamp(1 / _LARGEST_FACTOR, 1.0), torch.ones_like(factor_C))


def _apply(pair: Pair, factor_C: Tensor) -> None:
    first, second = pair.first, pair.second
    first.weight = first.weight / factor_C.view(-1, *[1] * (first.weight.ndim - 1))
    first.bias = first.bias / factor_C
    if pair.is_depthwise:
        per_output = factor_C.repeat_interleave(len(second.bias) // len(factor_C))
        second.weight = second.weight * per_output.view(-1, *[1] * (second.weight.ndim - 1))
    else:
        second.weight = (_columns(pair, second.weight) * factor_C.view(1, -1, 1)).reshape(second.weight.shape)


def _columns(pair: Pair, weight: Tensor) -> Tensor:
    """[O, C, columns of a channel]: kernel positions of a convolution, pixels of a flattened map."""
    return weight.reshape(len(weight), len(pair.first.bias), -1)
