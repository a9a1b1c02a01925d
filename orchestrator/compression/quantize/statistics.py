"""What a layer's inputs look like to its weights: the Hessian of the output's squared error.

For a convolution every output position sees one patch of K = I / groups * KH * KW inputs; for a linear layer the whole
feature map is the patch. With D the error of a row of weights [K] and x a patch, the output's mean squared error, its
mean taken out, is D H D^T with H the covariance of the patches. The mean is left to the bias, which corrects it
exactly.

Where the inputs have drifted from what they should be, x + d, because earlier layers are rounded already, weights that
leave the output as it was intended are not the float ones but W + W E[d x^T] H^-1, the least squares solution; rounding
then aims at those. Li et al. 2025 (GPTAQ), arXiv:2504.02692, has the same correction for GPTQ.

Shape letters: G groups, K inputs of a row, P patches.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from orchestrator.compression.capture import ir

MAX_ROW_INPUTS = 4096  # a Hessian has the square of this; wider layers get their diagonal only
_MAX_VALUES = 1 << 25  # of the largest feature map over all samples, in float64, twice
_MAX_PATCHES = 1 << 15
_CHUNK_SAMPLES = 16


def affordable(graph: ir.FloatGraph, samples: Tensor) -> Tensor:
    """As many samples as keep the largest feature map within memory; at least one."""
    largest = max(math.prod(shape) for shape in graph.shapes.values())
    return samples[: max(_MAX_VALUES // largest, 1)]


@dataclass(frozen=True, eq=False)
class InputStatistics:
    """Of the inputs a layer really gets, every earlier layer in integers; wide layers have the diagonal only.

    `drift_GKK` is E[d x^T], where it was asked for.
    """

    diagonal_GK: Tensor  # noqa: N815 (shape letters)
    covariance_GKK: Tensor | None  # noqa: N815
    drift_GKK: Tensor | None = None  # noqa: N815


def input_statistics(node: ir.Weighted, x: Tensor, intended: Tensor | None = None) -> InputStatistics:
    """Statistics over calibration inputs of `node`, float64 [N, C, H, W] or [N, F].

    Args:
        intended: what the same inputs should have been.
    """
    x_GPK = _centred(patches_of(node, x, _MAX_PATCHES))
    patches, row_inputs = x_GPK.shape[1:]
    diagonal_GK = (x_GPK**2).mean(dim=1)
    if row_inputs > MAX_ROW_INPUTS:
        return InputStatistics(diagonal_GK, None)
    drift_GKK = None
    if intended is not None:
        drift_GKK = (_centred(patches_of(node, intended, _MAX_PATCHES)) - x_GPK).mT @ x_GPK / patches
    return InputStatistics(diagonal_GK, x_GPK.mT @ x_GPK / patches, drift_GKK)


def _centred(x_GPK: Tensor) -> Tensor:
    return x_GPK - x_GPK.mean(dim=1, keepdim=True)


def channel_means(x: Tensor) -> Tensor:
    """[C], over samples and positions."""
    return x.mean(dim=[axis for axis in range(x.ndim) if axis != 1])


def patches_of(node: ir.Weighted, x: Tensor, count: int) -> Tensor:
    """[G, P, K], about `count` of them, taken at an even stride over samples and positions."""
    if not isinstance(node, ir.Conv):
        return _thin(x, count).unsqueeze(0)
    kernel = tuple(node.weight.shape[2:])
    if kernel == node.stride == (1, 1) and not any(node.padding):
        patches = _thin(x.flatten(2).transpose(1, 2).flatten(0, 1), count)
    else:
        patches = _unfolded(node, x, kernel, count)
    return patches.view(len(patches), node.groups, -1).transpose(0, 1)


def _unfolded(node: ir.Conv, x: Tensor, kernel: tuple[int, ...], count: int) -> Tensor:
    """[P, C * KH * KW]."""
    chunks = []
    for samples in torch.split(x, _CHUNK_SAMPLES):  # all patches of all samples at once would not fit in memory
        columns = functional.unfold(ir.pad(samples, node.padding), kernel, stride=node.stride)  # [N, C * KH * KW, L]
        rows = columns.transpose(1, 2).reshape(-1, columns.shape[1])
        chunks.append(_thin(rows, max(count * len(samples) // len(x), 1)))
    return torch.cat(chunks)


def _thin(rows: Tensor, count: int) -> Tensor:
    if len(rows) <= count:
        return rows
    stride = len(rows) / count
    return rows[(torch.arange(count, dtype=torch.float64) * stride).long()]
