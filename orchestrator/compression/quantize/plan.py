"""What each operator will do on the device, in integers, and a torch twin that does the same.

A plan holds exactly the numbers that lowering writes. `run` takes and gives grid points as integers in float64 (all
sums stay below 2^53, so they are exact) and follows docs/format.md to the bit; calibration therefore sees each layer's
real inputs, and a test holds the engine to this.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from orchestrator.compression.capture import ir
from orchestrator.compression.quantize.grid import QMIN, Grid

SHIFT_LEFT_CLAMP = 1 << 22
NORM_ONE = float(1 << 14)


@dataclass(frozen=True, eq=False)
class Requantize:
    """Turns accumulators into grid points: float32 `multipliers` or integer `shifts`, per channel or a single one."""

    multipliers: npt.NDArray[np.float32] | None
    shifts: npt.NDArray[np.int64] | None
    zero_point: int
    qmin: int
    qmax: int

    def permuted(self, order: npt.NDArray[np.int64]) -> Requantize:
        """For channels in another order; there is an entry for each."""
        multipliers = None if self.multipliers is None else self.multipliers[order]
        return replace(self, multipliers=multipliers, shifts=None if self.shifts is None else self.shifts[order])

    def run(self, accumulator: Tensor) -> Tensor:
        """`accumulator`: integers in float64, [N, C, ...]."""
        shape = (1, -1) + (1,) * (accumulator.ndim - 2)
        if self.multipliers is not None:
            multipliers = torch.from_numpy(self.multipliers).view(shape)
            real = accumulator.to(torch.float32) * multipliers
            real = real.clamp(self.qmin - self.zero_point, self.qmax - self.zero_point)
            return torch.round(real).to(torch.float64) + self.zero_point
        assert self.shifts is not None
        shifts = torch.from_numpy(self.shifts.astype(np.float64)).view(shape)
        half = torch.where(shifts > 0, torch.exp2(shifts - 1), torch.zeros_like(shifts))
        limited = accumulator.clamp(-SHIFT_LEFT_CLAMP, SHIFT_LEFT_CLAMP)
        source = torch.where(shifts < 0, limited, accumulator)
        shifted = torch.floor((source + half) * torch.exp2(-shifts))
        return (shifted + self.zero_point).clamp(self.qmin, self.qmax)


class Plan:
    """Base of all plans; `run` computes the operator on grid points."""

    def run(self, *inputs: Tensor) -> Tensor:
        raise NotImplementedError


@dataclass(frozen=True, eq=False)
class WeightedPlan(Plan):
    """Integer weights in torch's layout, bias in accumulator units, the weight scale of each output channel."""

    node: ir.Weighted
    input_grid: Grid
    weight_bits: int
    weight: npt.NDArray[np.int64]
    bias: npt.NDArray[np.int64]
    weight_scales: npt.NDArray[np.float64]
    requantize: Requantize

    def run(self, *inputs: Tensor) -> Tensor:
        weight = torch.from_numpy(self.weight.astype(np.float64))
        bias = torch.from_numpy(self.bias.astype(np.float64))
        return self.requantize.run(self.node.accumulate(inputs[0] - self.input_grid.zero_point, weight, bias))


@dataclass(frozen=True, eq=False)
class AddPlan(Plan):
    input_grids: tuple[Grid, Grid]
    multipliers: tuple[int, int]
    requantize: Requantize

    def run(self, *inputs: Tensor) -> Tensor:
        terms = [
            multiplier * (x - grid.zero_point)
            for multiplier, x, grid in zip(self.multipliers, inputs, self.input_grids, strict=True)
        ]
        return self.requantize.run(terms[0] + terms[1])


@dataclass(frozen=True, eq=False)
class ConcatPlan(Plan):
    input_grids: tuple[Grid, ...]
    requantize: tuple[Requantize, ...]

    def run(self, *inputs: Tensor) -> Tensor:
        parts = zip(self.requantize, inputs, self.input_grids, strict=True)
        moved = [form.run(x - grid.zero_point) for form, x, grid in parts]
        samples = max(len(x) for x in moved)  # a constant has one
        return torch.cat([x.expand(samples, *x.shape[1:]) for x in moved], dim=1)


@dataclass(frozen=True, eq=False)
class AveragePoolPlan(Plan):
    """`reciprocal` is 0 where requantizing is by multiplier."""

    node: ir.AveragePool
    input_grid: Grid
    reciprocal: int
    requantize: Requantize

    def run(self, *inputs: Tensor) -> Tensor:
        node = self.node
        padded = ir.pad(inputs[0] - self.input_grid.zero_point, node.padding)
        sums = functional.avg_pool2d(padded, node.kernel, node.stride, divisor_override=1)
        return self.requantize.run(sums * max(self.reciprocal, 1))


@dataclass(frozen=True, eq=False)
class MaxPoolPlan(Plan):
    node: ir.MaxPool

    def run(self, *inputs: Tensor) -> Tensor:
        padded = ir.pad(inputs[0], self.node.padding, QMIN)
        return functional.max_pool2d(padded, self.node.kernel, self.node.stride)


@dataclass(frozen=True, eq=False)
class FlattenPlan(Plan):
    def run(self, *inputs: Tensor) -> Tensor:
        return torch.flatten(inputs[0], 1)


@dataclass(frozen=True, eq=False)
class MatMulPlan(Plan):
    node: ir.MatMul
    input_grids: tuple[Grid, Grid]
    requantize: Requantize

    def run(self, *inputs: Tensor) -> Tensor:
        a, b = (x - grid.zero_point for x, grid in zip(inputs, self.input_grids, strict=True))
        return self.requantize.run(self.node.accumulate(a, b))


@dataclass(frozen=True, eq=False)
class LayerNormPlan(Plan):
    """`gain` and `bias` [C] in accumulator units, as docs/format.md has them."""

    input_grid: Grid
    gain: npt.NDArray[np.int64]
    bias: npt.NDArray[np.int64]
    epsilon: int
    requantize: Requantize

    def run(self, *inputs: Tensor) -> Tensor:
        x = inputs[0] - self.input_grid.zero_point
        shape = (1, -1) + (1,) * (x.ndim - 2)
        channels, total = x.shape[1], x.sum(dim=1, keepdim=True)
        variance = channels * (x * x).sum(dim=1, keepdim=True) - total * total
        inverse = NORM_ONE / torch.sqrt((variance + self.epsilon).to(torch.float32))
        normalised = torch.round((channels * x - total).to(torch.float32) * inverse).to(torch.float64)
        gain, bias = (torch.from_numpy(part.astype(np.float64)).view(shape) for part in (self.gain, self.bias))
        return self.requantize.run(normalised * gain + bias)


@dataclass(frozen=True, eq=False)
class MultiplyPlan(Plan):
    input_grids: tuple[Grid, Grid]
    requantize: Requantize

    def run(self, *inputs: Tensor) -> Tensor:
        a, b = (x - grid.zero_point for x, grid in zip(inputs, self.input_grids, strict=True))
        return self.requantize.run(a * b)


@dataclass(frozen=True, eq=False)
class ConstantPlan(Plan):
    """Grid points, [1, C, H, W] or [1, F]."""

    value: Tensor

    def run(self, *inputs: Tensor) -> Tensor:
        return self.value


@dataclass(frozen=True, eq=False)
class MovePlan(Plan):
    """A reshape or a permutation: grid points stay what they are."""

    node: ir.Reshape | ir.Permute

    def run(self, *inputs: Tensor) -> Tensor:
        return self.node.compute(*inputs)


@dataclass(frozen=True, eq=False)
class ClampPlan(Plan):
    qmin: int
    qmax: int

    def run(self, *inputs: Tensor) -> Tensor:
        return inputs[0].clamp(self.qmin, self.qmax)


@dataclass(frozen=True, eq=False)
class TablePlan(Plan):
    """out = table[q + 128]; int8 [256]."""

    table: npt.NDArray[np.int8]

    def run(self, *inputs: Tensor) -> Tensor:
        return torch.from_numpy(self.table.astype(np.float64))[(inputs[0] - QMIN).long()]


@dataclass(frozen=True, eq=False)
class SoftmaxPlan(Plan):
    """uint32 [256]: exponentials by max - q."""

    table: npt.NDArray[np.uint32]

    def run(self, *inputs: Tensor) -> Tensor:
        q = inputs[0].long()
        exponentials = torch.from_numpy(self.table.astype(np.int64))[q.amax(dim=1, keepdim=True) - q]
        total = exponentials.sum(dim=1, keepdim=True)
        return ((510 * exponentials + total) // (2 * total)).clamp(max=255).to(torch.float64) + QMIN
