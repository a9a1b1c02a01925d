"""Channel pruning to a budget of multiplications.

The channel that costs the least importance for each multiplication it saves goes first, wherever in the network it
is. In a few rounds, with importance measured anew in between, because what is left takes over from what went. The
result needs a little training (`training.distillation`), which is not done here.
"""

from __future__ import annotations

import copy
import math

import torch
from torch import nn

from orchestrator.compression.capture import FloatGraph, trace
from orchestrator.compression.capture.check import require_finite_module
from orchestrator.compression.data import Preprocessing, require_samples
from orchestrator.compression.errors import PruningError
from orchestrator.compression.prune.cost import Cost
from orchestrator.compression.prune.dependencies import Channels, find_channels
from orchestrator.compression.prune.importance import channel_importance
from orchestrator.compression.prune.surgery import remove_channels
from orchestrator.datasets.splits import Split

ROUNDS = 4
MIN_SHARE = 0.125  # of a feature map's channels always stays, so that no layer becomes a bottleneck


def prune_channels(
    model: nn.Module, split: Split, *, preprocessing: Preprocessing, macs_fraction: float, seed: int = 0
) -> nn.Module:
    """Return a copy of `model` with at most `macs_fraction` of its multiplications.

    Args:
        split: labelled samples on which importance is measured; a few hundred are used.

    Raises:
        PruningError: the fraction is out of range or cannot be reached, or the network states its widths in code.
        CaptureError, WeightError: the network cannot be captured, or holds NaN.
    """
    if not 0 < macs_fraction <= 1:
        raise PruningError(f"macs_fraction must be above 0 and at most 1, found {macs_fraction}")
    require_samples(split, what="pruning")
    require_finite_module(model)
    height, width, input_channels = split.sample_shape
    shape = (input_channels, height, width)
    pruned = copy.deepcopy(model)
    graph = trace(pruned, shape)
    floor = _floors(graph)
    budget = Cost.of(graph, find_channels(graph)).macs
    for done in range(1, ROUNDS + 1):
        target = math.floor(budget * macs_fraction ** (done / ROUNDS))
        channels = find_channels(graph)
        importance = channel_importance(pruned, channels, split, preprocessing=preprocessing, seed=seed + done)
        gone = _choose(graph, channels, importance, target, floor)
        remove_channels(pruned, channels, gone)
        graph = _trace_pruned(pruned, shape)
    return pruned


def _choose(
    graph: FloatGraph, channels: Channels, importance: list[float], target: int, floor: dict[str, int]
) -> set[int]:
    """The channels to remove until `target` MACs are left."""
    cost = Cost.of(graph, channels)
    left = {value: len(ids) for value, ids in channels.of_value.items()}
    maps_of: dict[int, dict[str, int]] = {}
    for value, ids in channels.of_value.items():
        for channel in ids.tolist():
            counts = maps_of.setdefault(channel, {})
            counts[value] = counts.get(value, 0) + 1
    candidates = {channel for channel in maps_of if channel not in channels.fixed}
    while cost.macs > target:
        savings = {channel: cost.saved_without(channel) for channel in candidates}
        allowed = [
            channel
            for channel in candidates
            if savings[channel] > 0 and all(left[v] - n >= floor[v] for v, n in maps_of[channel].items())
        ]
        if not allowed:
            raise PruningError(
                f"{cost.macs} multiplications are left, {target} are wanted, but layers keep {MIN_SHARE:.1%} of their "
                "channels; ask for a larger macs_fraction or start from a smaller network"
            )
        cheapest = min(allowed, key=lambda channel: (importance[channel] / savings[channel], channel))
        cost.remove(cheapest)
        candidates.remove(cheapest)
        for value, count in maps_of[cheapest].items():
            left[value] -= count
    return cost.gone


def _floors(graph: FloatGraph) -> dict[str, int]:
    """How many channels each feature map keeps at least; names are the same in every round."""
    return {value: max(math.ceil(shape[0] * MIN_SHARE), 1) for value, shape in graph.shapes.items()}


def _trace_pruned(model: nn.Module, shape: tuple[int, int, int]) -> FloatGraph:
    try:
        with torch.no_grad():
            return trace(model, shape)
    except Exception as error:
        raise PruningError(
            f"the network does not run with fewer channels: {error}. Widths must follow from the layers "
            "(flatten(x, 1) or view(n, -1), not view(n, 1568))"
        ) from error
