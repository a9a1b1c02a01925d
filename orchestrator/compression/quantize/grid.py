"""Grids for activations: which 256 reals a feature map may take, chosen so that rounding to them hurts least.

Affine int8: x is about scale * (q - zero_point), q in -128..127, and 0 is always on the grid because padding and relu
need it exactly. Scales are float32 values, since that is what the model stores. Under `Scheme.POWER_OF_TWO` a scale is
2^e, so x is about (q - zero_point) / 2^b with b = -e.

The range is searched, not taken from the extremes: a fixed percentile is known to ruin some networks, while the mean
squared error over the calibration samples weighs clipping against rounding (Banner et al. 2018, arXiv:1810.05723).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from orchestrator.compression.errors import WeightError
from orchestrator.compression.recipe import Scheme

QMIN, QMAX = -128, 127
_SEARCH_VALUES = 1 << 16  # values the error is measured on; more do not change the choice


@dataclass(frozen=True)
class Grid:
    """Per-tensor affine int8; `scale` is exact in float32."""

    scale: float
    zero_point: int

    @property
    def exponent(self) -> int:
        """e where scale = 2^e; meaningful for power-of-two scales only."""
        return round(math.log2(self.scale))

    @property
    def max_magnitude(self) -> int:
        """The largest |q - zero_point| over all of int8."""
        return max(QMAX - self.zero_point, self.zero_point - QMIN)

    def quantize(self, x: Tensor) -> Tensor:
        """Grid points, as integers in float64; ties to even."""
        return (torch.round(x / self.scale) + self.zero_point).clamp(QMIN, QMAX)

    def dequantize(self, q: Tensor) -> Tensor:
        return (q - self.zero_point) * self.scale

    def bound(self, value: float) -> int:
        """The grid point that a clamp at `value` becomes; infinities are the ends of int8."""
        if math.isinf(value):
            return QMIN if value < 0 else QMAX
        return min(max(round(value / self.scale) + self.zero_point, QMIN), QMAX)


SOFTMAX_GRID = Grid(1 / 256, QMIN)


def grid_for_range(low: float, high: float, scheme: Scheme) -> Grid:
    """The finest grid that holds all of [low, high] and 0."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = (high - low) / (QMAX - QMIN)
    scale = 2.0 ** math.ceil(math.log2(scale)) if scheme is Scheme.POWER_OF_TWO else float(np.float32(scale))
    return Grid(scale, min(max(round(QMIN - low / scale), QMIN), QMAX))


def search_grid(x: Tensor, scheme: Scheme, *, what: str) -> Grid:
    """The grid with the least mean squared error on `x` (any shape).

    Raises:
        WeightError: `x` is not finite, or never differs from zero.
    """
    return _least(x, list(_candidates(*_extremes(x, what), scheme)))[0]


def rival_grids(x: Tensor, scheme: Scheme, *, what: str) -> list[Grid]:
    """Grids for `x` that clip less and less, each once: by mean squared error first, the last holds everything.

    Rare values may be what matters. In between are those with the least mean of a higher power of the error.

    Raises:
        WeightError: as `search_grid`.
    """
    low, high = _extremes(x, what)
    candidates = list(_candidates(low, high, scheme))
    return list(dict.fromkeys([*_least(x, candidates), grid_for_range(low, high, scheme)]))


def all_grids(x: Tensor, scheme: Scheme, *, what: str) -> list[Grid]:
    """Every grid that is thought of for `x`, each once: `rival_grids` first.

    Raises:
        WeightError: as `search_grid`.
    """
    rivals = rival_grids(x, scheme, what=what)
    return list(dict.fromkeys([*rivals, *_candidates(*_extremes(x, what), scheme)]))


def _extremes(x: Tensor, what: str) -> tuple[float, float]:
    low, high = min(float(x.min()), 0.0), max(float(x.max()), 0.0)
    if not (math.isfinite(low) and math.isfinite(high)):
        raise WeightError(f"{what} is not finite on the calibration samples")
    if low == high:
        raise WeightError(
            f"{what} is zero for every calibration sample: the layer is dead and has no range to quantize"
        )
    return low, high


def _least(x: Tensor, candidates: list[Grid]) -> list[Grid]:
    """For p = 2, 3 and 4 the grid with the least sum of |error|^p; float32 has bits to spare for that."""
    values, unit = _sample(x).to(torch.float32), candidates[0].scale  # or powers might underflow
    sums = [_sums_of_powers((grid.dequantize(grid.quantize(values)) - values) / unit) for grid in candidates]
    return [candidates[each.index(min(each))] for each in zip(*sums, strict=True)]


def _sums_of_powers(error: Tensor) -> list[float]:
    squared = error * error
    return [float(squared.sum()), float(torch.dot(squared, error.abs())), float(torch.dot(squared, squared))]


def _candidates(low: float, high: float, scheme: Scheme) -> Iterator[Grid]:
    return (_shifting if scheme is Scheme.POWER_OF_TWO else _shrinking)(low, high)


def _shrinking(low: float, high: float) -> Iterator[Grid]:
    """Both ends drawn in together, then each on its own."""
    shares = [1.0 - 0.02 * step for step in range(36)]
    for share in shares:
        yield grid_for_range(low * share, high * share, Scheme.INTEGER)
    if low < 0 < high:
        for share in shares[1::2]:
            yield grid_for_range(low * share, high, Scheme.INTEGER)
            yield grid_for_range(low, high * share, Scheme.INTEGER)


def _shifting(low: float, high: float) -> Iterator[Grid]:
    """The power of two that holds everything, and two finer ones with every sensible zero point."""
    whole = grid_for_range(low, high, Scheme.POWER_OF_TWO)
    yield whole
    for exponent in (whole.exponent - 1, whole.exponent - 2):
        scale = 2.0**exponent
        keeps_low = min(max(round(QMIN - low / scale), QMIN), QMAX)
        keeps_high = min(max(round(QMAX - high / scale), QMIN), QMAX)
        ends = sorted((keeps_low, keeps_high))
        for zero_point in np.unique(np.linspace(ends[0], ends[1], 9).round().astype(int)):
            yield Grid(scale, int(zero_point))


def _sample(x: Tensor) -> Tensor:
    flat = x.flatten()
    if flat.numel() <= _SEARCH_VALUES:
        return flat
    stride = flat.numel() / _SEARCH_VALUES  # not a whole number as a rule, so that it meets every channel and column
    return flat[(torch.arange(_SEARCH_VALUES, dtype=torch.float64) * stride).long()]
