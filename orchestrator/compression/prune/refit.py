"""What stays after channels are gone makes up for them: every layer is fitted to what it gave before.

Layer by layer in the order of computing, the weights W' of a layer become those whose outputs on the inputs x' that it
now gets come nearest to the outputs that its kept channels had on the inputs x of before; y is their outputs then:

    W' = W + (E[y x'^T] - W E[x' x'^T]) E[x' x'^T]^-1

Least squares with channels as the unknowns: He et al. 2017, arXiv:1707.06168, section 3.1. Where a bias or a batch norm
follows, the means are its business and are taken out first. Batch norm gets the statistics with which its outputs
are distributed as they were: a least squares fit shrinks outputs, and this scales every channel back.

Shape letters: G groups, O outputs of a group, K inputs of a row, P patches.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from orchestrator.compression.capture import FloatGraph, ir
from orchestrator.compression.data import Preprocessing, images_to_tensor
from orchestrator.compression.prune.dependencies import Ids
from orchestrator.compression.quantize.rounding import damped
from orchestrator.compression.quantize.statistics import MAX_ROW_INPUTS, affordable, channel_means, patches_of
from orchestrator.datasets.splits import Split

CALIBRATION_COUNT = 256
_MAX_PATCHES = 1 << 15


@dataclass(frozen=True, eq=False)
class Whole:
    """The network that channels were taken from, and `samples`, normalised float64 [N, C, H, W], to compare on."""

    graph: FloatGraph
    samples: Tensor

    @classmethod
    def of(cls, graph: FloatGraph, split: Split, preprocessing: Preprocessing, seed: int) -> Whole:
        some = np.random.default_rng(seed).permutation(len(split))[:CALIBRATION_COUNT]
        samples = images_to_tensor(split.inputs[some], preprocessing)
        return cls(graph, affordable(graph, samples).to(torch.float64))


@torch.no_grad()
def refit(model: nn.Module, graph: FloatGraph, whole: Whole, kept: Sequence[Ids]) -> None:
    """Fit the weights of `model`, in place; `graph` is its trace, batch norm apart, and gets them too.

    Args:
        kept: for each operator, in order, the channels of its output that are left of those in `whole`.
    """
    uses = Counter(node.weight_name for node in graph.nodes if isinstance(node, ir.Weighted))
    normed = {node.inputs[0] for node in graph.nodes if isinstance(node, ir.BatchNorm)}
    before, now = {whole.graph.input: whole.samples}, {graph.input: whole.samples}
    steps = zip(whole.graph.nodes, graph.nodes, kept, strict=True)
    ends = zip(ir.last_reads(whole.graph), ir.last_reads(graph), strict=True)
    for (old, new, ids), (finished_before, finished_now) in zip(steps, ends, strict=True):
        before[old.output] = old.compute(*(before[name] for name in old.inputs))
        channels = torch.from_numpy(ids)
        if isinstance(old, ir.Weighted) and isinstance(new, ir.Weighted):
            if uses[new.weight_name] == 1 and new.weight_name:
                was, is_now, is_free = before[old.inputs[0]], now[new.inputs[0]], new.output in normed
                _fit(model, old, new, was, is_now, channels, has_free_mean=is_free or bool(new.bias_name))
        elif isinstance(new, ir.BatchNorm):
            renormalise(model, new, before[old.inputs[0]][:, channels], now[new.inputs[0]])
        now[new.output] = new.compute(*(now[name] for name in new.inputs))
        for name in finished_before:
            del before[name]
        for name in finished_now:
            del now[name]


def _fit(
    model: nn.Module,
    old: ir.Weighted,
    new: ir.Weighted,
    was: Tensor,
    is_now: Tensor,
    channels: Tensor,
    *,
    has_free_mean: bool,
) -> None:
    x_GPK = patches_of(new, is_now, _MAX_PATCHES)
    groups, patches, row_inputs = x_GPK.shape
    if row_inputs > MAX_ROW_INPUTS:
        return
    y_GPO = _outputs(old, was)[:, channels].view(patches, groups, -1).transpose(0, 1)
    if has_free_mean:
        x_GPK, y_GPO = (rows - rows.mean(dim=1, keepdim=True) for rows in (x_GPK, y_GPO))
    weight_GOK = new.weight.reshape(groups, -1, row_inputs)
    second_GKK = x_GPK.mT @ x_GPK / patches
    missing_GOK = y_GPO.mT @ x_GPK / patches - weight_GOK @ second_GKK
    change_GKO = torch.linalg.solve(damped(second_GKK), missing_GOK.mT)
    new.weight = (weight_GOK + change_GKO.mT).view_as(new.weight)
    parameter = model.get_parameter(new.weight_name)  # in the graph, linear layers over tokens are convolutions too
    parameter.copy_(new.weight.view_as(parameter))
    if new.bias_name:
        correct_bias(model, new, is_now, old.accumulate(was, old.weight, old.bias)[:, channels])


def _outputs(node: ir.Weighted, x: Tensor) -> Tensor:
    """[P, outputs of all groups], without the bias."""
    x_GPK = patches_of(node, x, _MAX_PATCHES)
    groups, patches, row_inputs = x_GPK.shape
    return (x_GPK @ node.weight.reshape(groups, -1, row_inputs).mT).transpose(0, 1).reshape(patches, -1)


def correct_bias(model: nn.Module, node: ir.Weighted, now: Tensor, wanted: Tensor) -> None:
    """Give the bias what makes the means of the outputs, before the clamp, those of `wanted`."""
    missing = wanted - node.accumulate(now, node.weight, node.bias)
    node.bias = node.bias + channel_means(missing)
    model.get_parameter(node.bias_name).copy_(node.bias)


def renormalise(model: nn.Module, node: ir.BatchNorm, before: Tensor, now: Tensor) -> None:
    """Give batch norm the statistics with which its output has the mean and variance that it had."""
    if not node.names[2] or not node.names[3]:
        return
    axes = [axis for axis in range(before.ndim) if axis != 1]
    ratio = ((now.var(dim=axes) + 1e-12) / (before.var(dim=axes) + 1e-12)).sqrt()
    node.mean = now.mean(dim=axes) - (before.mean(dim=axes) - node.mean) * ratio
    node.variance = ((node.variance + node.eps) * ratio**2 - node.eps).clamp(min=0)
    for name, values in zip(node.names[2:], (node.mean, node.variance), strict=True):
        model.get_buffer(name).copy_(values)
