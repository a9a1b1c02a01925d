"""Grids that learn: fake quantization with step and offset as parameters (LSQ+).

    q = clamp(round(x / s) + z, qmin, qmax),   x^ = s * (q - z)

Rounding passes gradients straight through, so with d = x / s inside the range

    dx^/dx = 1 inside, 0 outside;   dx^/ds = round(d) - d inside, q - z outside;   dx^/dz = 0 inside, -s outside

Bhalgat, Lee, Nagel, Blankevoort & Kwak 2020 (LSQ+), arXiv:2004.09576, after Esser et al. 2019 (LSQ), arXiv:1902.08153;
their offset beta is -z * s here, since the format keeps 0 on the grid. The step is learned as its logarithm to base 2,
which keeps it positive and lets a power of two be learned by rounding that: Jain, Gural, Wu & Dick 2019 (TQT),
arXiv:1903.08066. Their gradient scales are left out: Adam divides by the size of a gradient anyway.

Rounding is that of the requantize form trained for (docs/format.md, section 4): by multiplier ties go to even, by shift
they go up. Both round before z is added.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from orchestrator.compression.quantize.grid import QMAX, QMIN, Grid
from orchestrator.compression.recipe import Scheme


class LearnedGrid(nn.Module):
    """Of one feature map: affine int8, per tensor, with the clamp to [low, high] that the operator before it ends with.

    What the operator's clamp cuts off teaches the grid nothing; where it cuts off what is below, as relu does, the
    offset stays where it is, since all of the grid is in use already.
    """

    def __init__(
        self, start: Grid, scheme: Scheme, *, ties_up: bool, low: float = -math.inf, high: float = math.inf
    ) -> None:
        super().__init__()
        self.scheme, self.ties_up, self.low, self.high = scheme, ties_up, low, high
        self.log2_step = nn.Parameter(torch.tensor(start.scale, dtype=torch.float64).log2().to(torch.float32))
        self.zero_point = nn.Parameter(torch.tensor(float(start.zero_point)))

    def forward(self, x: Tensor) -> Tensor:
        step = step_of(self.log2_step, self.scheme)
        now = self.grid()
        bounds = float(now.bound(self.low) - now.zero_point), float(now.bound(self.high) - now.zero_point)
        zero_point = round_straight_through(self.zero_point.clamp(QMIN, QMAX))
        found: Tensor = _FakeQuantize.apply(  # type: ignore[no-untyped-call]
            x, step, zero_point, bounds, self.ties_up, self.low == -math.inf
        )
        return found

    @torch.no_grad()
    def grid(self) -> Grid:
        """As it stands now."""
        zero_point = int(torch.round(self.zero_point.clamp(QMIN, QMAX)).item())
        return Grid(float(step_of(self.log2_step, self.scheme)), zero_point)


class FixedGrid(nn.Module):
    """Of the network's input: what pixels can be is known and is not learned."""

    def __init__(self, grid: Grid) -> None:
        super().__init__()
        self.fixed = grid

    def forward(self, x: Tensor) -> Tensor:
        return self.fixed.dequantize(self.fixed.quantize(x))

    def grid(self) -> Grid:
        return self.fixed


class _FakeQuantize(torch.autograd.Function):
    """The module's equations in few passes each way: feature maps are large, and this is most of the extra work.

    With n = clamp(round(d)) and p the gradient that passes, dL/ds = sum(g * n) - sum(p * d): outside the range p is 0.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, step: Tensor, zero_point: Tensor, bounds: tuple[float, float], ties_up: bool, moves: bool
    ) -> Tensor:
        real = x / step
        clamped = (torch.floor(real + 0.5) if ties_up else torch.round(real)).clamp_(*bounds)
        ctx.save_for_backward(real, clamped, step)
        ctx.bounds, ctx.moves = bounds, moves
        return clamped * step

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        real, clamped, step = ctx.saved_tensors
        low, high = ctx.bounds
        passed = torch.ops.aten.hardtanh_backward(gradient, real, low - 0.5, high + 0.5)
        by_step = _dot(gradient, clamped) - _dot(passed, real)
        by_offset = -step * (gradient.sum() - passed.sum()) if ctx.moves else torch.zeros_like(step)
        return passed, by_step, by_offset, None, None, None


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """Sum of products, in one pass where both lie in memory in the same order."""
    for order in (torch.contiguous_format, torch.channels_last):
        if a.ndim == 4 and a.is_contiguous(memory_format=order) and b.is_contiguous(memory_format=order):
            first, second = (each if order is torch.contiguous_format else each.permute(0, 2, 3, 1) for each in (a, b))
            return torch.dot(first.reshape(-1), second.reshape(-1))
    return (a * b).sum()


def step_of(log2_step: Tensor, scheme: Scheme) -> Tensor:
    return torch.exp2(round_straight_through(log2_step) if scheme is Scheme.POWER_OF_TWO else log2_step)


def round_straight_through(x: Tensor) -> Tensor:
    """Ties to even; the gradient passes as if nothing had happened."""
    return x + (torch.round(x) - x).detach()


def quantize_rows(weight: Tensor, step: Tensor, qmin: int, qmax: int) -> Tensor:
    """Integers of weights [O, ...] by `step` [O], with gradients to both."""
    return round_straight_through(weight / per_row(step, weight)).clamp(qmin, qmax)


def per_row(values: Tensor, weight: Tensor) -> Tensor:
    return values.view((-1,) + (1,) * (weight.ndim - 1))
