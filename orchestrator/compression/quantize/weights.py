"""Integer weights and biases of one layer: a scale for each output channel, rounding, and the accumulator's proof.

8-bit weights are in [-127, 127], narrower ones use all of two's complement. The scale of a channel is searched among
fractions of its largest weight (powers of two only under `Scheme.POWER_OF_TWO`), by the error it leaves in the
channel's output after rounding. Shape letters as in `rounding`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from orchestrator.compression.capture import ir
from orchestrator.compression.errors import QuantizationError
from orchestrator.compression.quantize.grid import Grid
from orchestrator.compression.quantize.requantize import ACCUMULATOR_LIMIT, SHIFT_MAX
from orchestrator.compression.quantize.rounding import aimed_at, damped, round_compensated, round_nearest, squared_error
from orchestrator.compression.quantize.statistics import InputStatistics
from orchestrator.compression.recipe import Recipe, Scheme

_MAX_SEARCH_WEIGHTS = 1 << 21  # rounded at once, all scales together, in float64
_BIAS_LIMIT = ACCUMULATOR_LIMIT >> 1  # half of the accumulator for the bias, half for the products


@dataclass(frozen=True, eq=False)
class IntegerWeights:
    """`weight` int64 in torch's layout; a weight is worth `scales` of its output channel.

    `relative_error` is what rounding did to the output, as a share of its variance, over all channels.
    """

    weight: npt.NDArray[np.int64]
    scales: npt.NDArray[np.float64]
    relative_error: float = 0.0

    def dequantize(self) -> Tensor:
        shape = (-1,) + (1,) * (self.weight.ndim - 1)
        return torch.from_numpy(self.weight.astype(np.float64)) * torch.from_numpy(self.scales).view(shape)


def quantize_weights(
    node: ir.Weighted,
    statistics: InputStatistics,
    source: Grid,
    output: Grid,
    recipe: Recipe,
    bits: int,
    *,
    coarse: bool = False,
) -> IntegerWeights:
    """Choose scales and integers of `bits` for `node`; `coarse` tries a third of the scales, for estimates.

    Raises:
        QuantizationError: no scale fits the format between these two grids.
    """
    groups = node.groups if isinstance(node, ir.Conv) else 1
    outputs = node.weight.shape[0]
    weight_GOK = node.weight.reshape(groups, outputs // groups, -1)
    low, high = _scale_limits(node, source, output, recipe.scheme)
    low_GO, high_GO = low.view(groups, -1), high.view(groups, -1)
    qmin, qmax = weight_range(bits)
    search = _Search(weight_GOK, statistics, qmin, qmax, compensates=recipe.compensates(bits))
    shares = _shares(recipe.scheme, bits)[:: 3 if coarse else 1]
    search.try_scales([_snap(search.whole_GO * share, low_GO, high_GO, recipe.scheme) for share in shares])
    integers = _raise_until_it_fits(search, source, recipe.scheme, low_GO, high_GO)
    weight = integers.reshape(node.weight.shape).numpy().astype(np.int64)
    return IntegerWeights(weight, search.scale_GO.reshape(-1).numpy().copy(), search.relative_error())


def fits_accumulator(weight: npt.NDArray[np.int64], source: Grid) -> bool:
    """Whether the products of every row stay in their half of the accumulator, for any input."""
    sums = np.abs(weight).reshape(len(weight), -1).sum(axis=1)
    return bool(sums.max() * source.max_magnitude < _BIAS_LIMIT)


def quantize_bias(bias: Tensor, scales: npt.NDArray[np.float64], source: Grid, *, what: str) -> npt.NDArray[np.int64]:
    """`bias` [O] in units of the accumulator."""
    integers: npt.NDArray[np.float64] = np.round(bias.numpy() / (scales * source.scale))
    if np.abs(integers).max(initial=0.0) >= _BIAS_LIMIT:
        raise QuantizationError(f"{what}: a bias of {bias.abs().max():.3g} does not fit beside its weights")
    return integers.astype(np.int64)


class _Search:
    """Keeps, for every row, the best scale tried so far with its integers."""

    def __init__(
        self, weight_GOK: Tensor, statistics: InputStatistics, qmin: int, qmax: int, *, compensates: bool
    ) -> None:
        self.diagonal_GK = statistics.diagonal_GK
        self.hessian_GKK = None if statistics.covariance_GKK is None else damped(statistics.covariance_GKK)
        self.compensates = compensates
        self.free_GOK = weight_GOK != 0  # what pruning took out makes good no error of others
        if compensates and self.hessian_GKK is not None and statistics.drift_GKK is not None:
            weight_GOK = aimed_at(weight_GOK, statistics.drift_GKK, self.hessian_GKK)
        self.weight_GOK, self.qmin, self.qmax = weight_GOK * self.free_GOK, qmin, qmax
        self.whole_GO = weight_GOK.abs().amax(dim=-1) / ((qmax - qmin) / 2)
        self.error_GO = torch.full(weight_GOK.shape[:2], math.inf, dtype=torch.float64)
        self.scale_GO = torch.ones(weight_GOK.shape[:2], dtype=torch.float64)
        self.q_GOK = torch.zeros_like(weight_GOK)

    def try_scales(self, scales_GO: list[Tensor]) -> None:
        """Rows are independent, so the same rows at several scales are rounded as if they were more rows."""
        at_once = max(_MAX_SEARCH_WEIGHTS // self.weight_GOK.numel(), 1)
        for start in range(0, len(scales_GO), at_once):
            self._try_together(scales_GO[start : start + at_once])

    def relative_error(self) -> float:
        nothing = torch.zeros_like(self.weight_GOK)
        signal = self._error(nothing, self.weight_GOK, self.scale_GO).sum()
        return float(self._error(self.q_GOK, self.weight_GOK, self.scale_GO).sum() / signal.clamp(min=1e-300))

    def _try_together(self, scales_GO: list[Tensor]) -> None:
        groups, outputs, row = self.weight_GOK.shape
        weight = self.weight_GOK.repeat(1, len(scales_GO), 1)
        scale = torch.cat(scales_GO, dim=1)
        q = self._round(weight, scale)
        errors_GSO = self._error(q, weight, scale).view(groups, len(scales_GO), outputs)
        error_GO, best_GO = errors_GSO.min(dim=1)
        scale_GO = torch.stack(scales_GO, dim=1).gather(1, best_GO.unsqueeze(1)).squeeze(1)
        every = best_GO.view(groups, 1, outputs, 1).expand(-1, -1, -1, row)
        q_GOK = q.view(groups, len(scales_GO), outputs, row).gather(1, every).squeeze(1)
        better = error_GO < self.error_GO
        self.error_GO = torch.where(better, error_GO, self.error_GO)
        self.scale_GO = torch.where(better, scale_GO, self.scale_GO)
        self.q_GOK = torch.where(better.unsqueeze(-1), q_GOK, self.q_GOK)

    def _round(self, weight_GOK: Tensor, scale_GO: Tensor) -> Tensor:
        if self.compensates and self.hessian_GKK is not None:
            free_GOK = self.free_GOK.repeat(1, weight_GOK.shape[1] // self.free_GOK.shape[1], 1)
            return round_compensated(weight_GOK, scale_GO, self.qmin, self.qmax, self.hessian_GKK, free_GOK)
        return round_nearest(weight_GOK, scale_GO, self.qmin, self.qmax)

    def _error(self, q_GOK: Tensor, weight_GOK: Tensor, scale_GO: Tensor) -> Tensor:
        if self.hessian_GKK is not None:
            return squared_error(q_GOK, weight_GOK, scale_GO, self.hessian_GKK)
        difference = q_GOK * scale_GO.unsqueeze(-1) - weight_GOK  # too wide a row for its whole Hessian
        return (difference**2 * self.diagonal_GK.unsqueeze(1)).sum(dim=-1)


def _raise_until_it_fits(search: _Search, source: Grid, scheme: Scheme, low_GO: Tensor, high_GO: Tensor) -> Tensor:
    """Coarsen the scale of every row whose products could leave their half of the accumulator."""
    while True:
        too_large = search.q_GOK.abs().sum(dim=-1) * source.max_magnitude >= _BIAS_LIMIT
        if not bool(too_large.any()):
            return search.q_GOK
        coarser = torch.where(too_large, search.scale_GO * 2, search.scale_GO)
        if bool((coarser > high_GO).any()):
            raise QuantizationError(f"{int(too_large.sum())} channel(s) sum too many products for a 32-bit accumulator")
        search.scale_GO = _snap(coarser, low_GO, high_GO, scheme)
        rounded = round_nearest(search.weight_GOK, search.scale_GO, search.qmin, search.qmax)
        search.q_GOK = torch.where(too_large.unsqueeze(-1), rounded, search.q_GOK)


def _scale_limits(node: ir.Weighted, source: Grid, output: Grid, scheme: Scheme) -> tuple[Tensor, Tensor]:
    """The scales [O] between which requantize stays within the format and the bias in its half of the accumulator."""
    ratio = output.scale / source.scale
    finest = ratio * 2.0 ** (-SHIFT_MAX if scheme is Scheme.POWER_OF_TWO else -38)
    coarsest = ratio * 2.0 ** (8 if scheme is Scheme.POWER_OF_TWO else 7)
    for_bias = 4 * node.bias.abs() / (source.scale * _BIAS_LIMIT)  # 4: room for the bias to be corrected
    low = for_bias.clamp(min=finest)
    if scheme is Scheme.POWER_OF_TWO:
        low = torch.exp2(torch.ceil(torch.log2(low)))
    if bool((low > coarsest).any()):
        raise QuantizationError(f"{node.name}: no weight scale fits between {source} and {output}")
    return low, torch.full_like(low, coarsest)


def _snap(scale: Tensor, low: Tensor, high: Tensor, scheme: Scheme) -> Tensor:
    if scheme is Scheme.POWER_OF_TWO:  # rows of zeros have no largest weight: any scale does, so the finest allowed
        scale = torch.exp2(torch.ceil(torch.log2(scale.clamp(min=2.0**-120)) - 1e-9))
    return torch.minimum(torch.maximum(scale, low), high)


def _shares(scheme: Scheme, bits: int) -> list[float]:
    """Fractions of the scale at which a row's largest weight is just on the grid."""
    if scheme is Scheme.POWER_OF_TWO:
        return [1.0, 0.5, 0.25] if bits > 2 else [1.0, 0.5, 0.25, 0.125]
    if bits == 8:
        return [1.0 - 0.02 * step for step in range(21)]
    return [1.05 - 0.05 * step for step in range(15)]


def weight_range(bits: int) -> tuple[int, int]:
    """The smallest and the largest integer that a weight of `bits` may be."""
    return (-127, 127) if bits == 8 else (-(1 << bits - 1), (1 << bits - 1) - 1)
