"""Channel pruning to a budget of multiplications, and of weights where that is asked for.

The channel that costs the least importance for what it saves goes first, wherever in the network it is. Savings count
as shares of what still has to go, so that early layers, which have the multiplications, and late ones, which have the
weights, give in proportion to what is missing. In a few rounds, with importance measured anew in between, because what
is left takes over from what went. Then every layer is fitted to what it gave before (`refit`), which leaves a network
that answers nearly as the whole one did; a little training (`recovery`) does the rest.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import nn

from orchestrator.compression.capture import FloatGraph, ir, trace
from orchestrator.compression.capture.check import require_finite_module
from orchestrator.compression.data import Preprocessing, require_samples
from orchestrator.compression.errors import PruningError
from orchestrator.compression.prune.cost import Cost, Size
from orchestrator.compression.prune.curvature import Importance, measure_curvature
from orchestrator.compression.prune.dependencies import OUTPUT, Channels, find_channels, stays
from orchestrator.compression.prune.importance import ChannelImportance
from orchestrator.compression.prune.refit import Whole, refit
from orchestrator.compression.prune.surgery import remove_channels
from orchestrator.datasets.splits import Split

ROUNDS = 4  # a dozen left networks that training brought less far back
MIN_SHARE = 0.125  # of a feature map's channels always stays
EVEN_SHARE = 0.75  # of what it would keep if all gave alike stays where others can still give: bottlenecks learn badly


def prune_channels(
    model: nn.Module,
    split: Split,
    *,
    preprocessing: Preprocessing,
    macs_fraction: float,
    weights_fraction: float = 1.0,
    importance: Importance = Importance.LABELS,
    seed: int = 0,
) -> nn.Module:
    """Return a copy of `model` with at most these fractions of its multiplications and of its weights.

    Args:
        split: samples on which importance is measured and layers are fitted; a few hundred are used.
        importance: by the samples' labels, or without.

    Raises:
        PruningError: the fraction is out of range or cannot be reached, the network states its widths in code, or its
            answers overflow.
        DataError: there are no samples, or labels that the network has no output for.
        CaptureError, WeightError: the network cannot be captured, or holds NaN.
    """
    for name, fraction in (("macs_fraction", macs_fraction), ("weights_fraction", weights_fraction)):
        if not 0 < fraction <= 1:
            raise PruningError(f"{name} must be above 0 and at most 1, found {fraction}")
    require_samples(split, what="pruning")
    require_finite_module(model)
    height, width, input_channels = split.sample_shape
    shape = (input_channels, height, width)
    pruned = copy.deepcopy(model)
    graph = trace(pruned, shape)
    even = math.sqrt(min(macs_fraction, weights_fraction))  # both grow with the square of the width
    floors = [_floors(graph, max(EVEN_SHARE * even, MIN_SHARE)), _floors(graph, MIN_SHARE)]
    whole = Whole.of(graph, split, preprocessing, seed)
    size = Cost.of(graph, find_channels(graph)).size
    kept = [np.arange(graph.shapes[node.output][0]) for node in graph.nodes]
    for done in range(1, ROUNDS + 1):
        target = size.fraction(macs_fraction ** (done / ROUNDS), weights_fraction ** (done / ROUNDS))
        channels = find_channels(graph)
        curvature = measure_curvature(
            graph, split, preprocessing=preprocessing, seed=seed + done, importance=importance
        )
        gone = _choose(graph, channels, ChannelImportance(graph, channels, curvature), target, floors)
        remove_channels(pruned, channels, gone)
        kept = [ids[stays(channels.of_value[node.output], gone)] for node, ids in zip(graph.nodes, kept, strict=True)]
        graph = _trace_pruned(pruned, shape)
    refit(pruned, graph, whole, kept)
    return pruned


def _choose(
    graph: FloatGraph,
    channels: Channels,
    importance: ChannelImportance,
    target: Size,
    floors: Sequence[Mapping[str, int]],
) -> set[int]:
    """The channels to remove until what is left fits `target`; lower floors hold where higher ones leave nothing."""
    cost = Cost.of(graph, channels)
    left = {value: len(channels.of_value[value]) for value in floors[0]}
    maps_of: dict[int, dict[str, int]] = {}
    for value in left:
        for channel in channels.of_value[value].tolist():
            counts = maps_of.setdefault(channel, {})
            counts[value] = counts.get(value, 0) + 1
    candidates = {channel for channel in maps_of if channel not in channels.fixed_by}
    while not cost.size.fits(target):
        left_over = cost.size
        savings = {channel: _share_of_excess(cost.saved_without(channel), left_over, target) for channel in candidates}
        saving = [channel for channel in candidates if savings[channel] > 0]
        for floor in floors:
            allowed = [c for c in saving if all(left[v] - n >= floor[v] for v, n in maps_of[c].items())]
            if allowed:
                break
        else:
            reasons = [f"layers keep {MIN_SHARE:.1%} of their channels"] if any(savings.values()) else []
            reasons = reasons + _what_stays(graph, channels) or ["the input and the output keep theirs"]
            raise PruningError(
                f"{left_over.macs} multiplications and {left_over.weights} weights are left, {target.macs} and "
                f"{target.weights} are wanted, but {_first_few(reasons, '; ')}. Ask for a larger macs_fraction or "
                "weights_fraction, or start from a smaller network"
            )
        cheapest = min(allowed, key=lambda channel: (importance.of(channel) / savings[channel], channel))
        cost.remove(cheapest)
        importance.remove(cheapest)
        candidates.remove(cheapest)
        for value, count in maps_of[cheapest].items():
            left[value] -= count
    return cost.gone


def _what_stays(graph: FloatGraph, channels: Channels) -> list[str]:
    """Which operators need all channels of which layers; that the last one has its answers goes without saying."""
    names = ir.operator_names(graph)
    needed: dict[str, list[str]] = {}
    for node in graph.nodes:
        ids = channels.of_value[node.output].tolist() if isinstance(node, ir.Weighted) else []
        operator = next((channels.fixed_by[channel] for channel in ids if channel in channels.fixed_by), "")
        if operator:
            needed.setdefault(operator, []).append(names[node.name])
    if len(needed.get(OUTPUT, [])) == 1:
        del needed[OUTPUT]
    return [f"{operator} needs all channels of {_first_few(layers)}" for operator, layers in needed.items()]


def _first_few(things: list[str], separator: str = ", ", count: int = 3) -> str:
    more = len(things) - count
    return separator.join(things[:count] + ([f"and {more} more"] if more > 0 else []))


def _share_of_excess(saved: Size, left: Size, target: Size) -> float:
    """What a saving contributes to the budgets that do not hold yet."""
    share = 0.0
    if left.macs > target.macs:
        share += saved.macs / (left.macs - target.macs)
    if left.weights > target.weights:
        share += saved.weights / (left.weights - target.weights)
    return share


def _floors(graph: FloatGraph, share: float) -> dict[str, int]:
    """How many channels the output of each layer keeps at least; its name is the same in every round."""
    outputs = [node.output for node in graph.nodes if isinstance(node, ir.Weighted)]
    return {value: max(math.ceil(graph.shapes[value][0] * share), 1) for value in outputs}


def _trace_pruned(model: nn.Module, shape: tuple[int, int, int]) -> FloatGraph:
    try:
        with torch.no_grad():
            return trace(model, shape)
    except Exception as error:
        raise PruningError(
            f"the network does not run with fewer channels: {error}. Widths that its code states, in view(n, 1568) or "
            "groups=32, must follow from its layers, as in flatten(x, 1) or groups=x.shape[1]"
        ) from error
