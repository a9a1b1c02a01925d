"""Derives every integer that is not a weight from the grids: multipliers, shifts, reciprocals, clamps, tables."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch

from orchestrator.compression.capture import ir
from orchestrator.compression.errors import QuantizationError
from orchestrator.compression.quantize.grid import QMAX, QMIN, Grid
from orchestrator.compression.quantize.plan import (
    NORM_ONE,
    AddPlan,
    AveragePoolPlan,
    ClampPlan,
    ConcatPlan,
    ConstantPlan,
    LayerNormPlan,
    MatMulPlan,
    MultiplyPlan,
    Requantize,
    SoftmaxPlan,
    TablePlan,
)
from orchestrator.compression.recipe import Scheme

# docs/format.md, sections 3 and 4
ACCUMULATOR_LIMIT = 1 << 30
MULTIPLIER_MIN, MULTIPLIER_MAX = 2.0**-40, 2.0**8
SHIFT_MIN, SHIFT_MAX = -8, 30

_ADD_BITS = 20  # multipliers up to 2^20: two inputs of magnitude 255 stay below 2^30
NORM_EPSILON_MAX = 1 << 44
_GAIN_MAX = 127
_NORM_BIAS_LIMIT = ACCUMULATOR_LIMIT >> 1  # beside 127 * 2^21
_SOFTMAX_ONE = 1 << 31  # exp(0) in the softmax table


def requantize_from(
    input_scales: npt.NDArray[np.float64], output: Grid, scheme: Scheme, *, low: float, high: float, what: str
) -> Requantize:
    """The form that takes accumulators worth `input_scales` each ([channels] or [1]) to `output`, with a fused clamp.

    Raises:
        QuantizationError: the two scales are further apart than the format allows.
    """
    ratios = input_scales / output.scale
    qmin, qmax = output.bound(low), output.bound(high)
    if scheme is Scheme.POWER_OF_TWO:
        shifts = -np.round(np.log2(ratios)).astype(np.int64)
        if shifts.min() < SHIFT_MIN or shifts.max() > SHIFT_MAX:
            raise QuantizationError(f"{what}: shifts {shifts.min()}..{shifts.max()} leave {SHIFT_MIN}..{SHIFT_MAX}")
        return Requantize(None, shifts, output.zero_point, qmin, qmax)
    multipliers = ratios.astype(np.float32)
    if multipliers.min() < MULTIPLIER_MIN or multipliers.max() > MULTIPLIER_MAX:
        raise QuantizationError(f"{what}: multipliers {multipliers.min()}..{multipliers.max()} leave [2^-40, 2^8]")
    return Requantize(multipliers, None, output.zero_point, qmin, qmax)


def plan_add(node: ir.Add, inputs: list[Grid], output: Grid, scheme: Scheme) -> AddPlan:
    """Both inputs in units of the finer of the two scales (by shift) or of 2^-20 of the coarser one (by multiplier)."""
    a, b = inputs
    coarse = max(a.scale, b.scale)
    unit = (
        max(min(a.scale, b.scale), coarse * 2.0**-_ADD_BITS)
        if scheme is Scheme.POWER_OF_TWO
        else coarse * 2.0**-_ADD_BITS
    )
    multipliers = (round(a.scale / unit), round(b.scale / unit))
    form = requantize_from(np.array([unit]), output, scheme, low=node.low, high=node.high, what=node.name)
    return AddPlan((a, b), multipliers, form)


def plan_concat(node: ir.Concat, inputs: list[Grid], output: Grid, scheme: Scheme) -> ConcatPlan:
    forms = tuple(
        requantize_from(np.array([grid.scale]), output, scheme, low=-math.inf, high=math.inf, what=node.name)
        for grid in inputs
    )
    return ConcatPlan(tuple(inputs), forms)


def plan_average_pool(node: ir.AveragePool, source: Grid, output: Grid, scheme: Scheme) -> AveragePoolPlan:
    """By shift, 1 / n becomes an integer over 2^k with the largest k that the accumulator allows."""
    window = node.kernel[0] * node.kernel[1]
    if window * source.max_magnitude >= ACCUMULATOR_LIMIT:
        raise QuantizationError(f"{node.name}: a window of {window} values can overflow the accumulator")
    reciprocal, unit = 0, source.scale / window
    if scheme is Scheme.POWER_OF_TWO:
        bits = _reciprocal_bits(window, source.max_magnitude)
        reciprocal, unit = round(2**bits / window), source.scale * 2.0**-bits
        headroom = round(math.log2(output.scale / unit)) - SHIFT_MAX
        if headroom > 0:
            bits -= headroom
            reciprocal, unit = round(2**bits / window), source.scale * 2.0**-bits
    form = requantize_from(np.array([unit]), output, scheme, low=node.low, high=node.high, what=node.name)
    return AveragePoolPlan(node, source, reciprocal, form)


def plan_matmul(node: ir.MatMul, inputs: list[Grid], output: Grid, scheme: Scheme, inner: int) -> MatMulPlan:
    """`inner`: how many products are summed."""
    a, b = inputs
    if inner * a.max_magnitude * b.max_magnitude >= ACCUMULATOR_LIMIT:
        raise QuantizationError(f"{node.name}: a sum of {inner} products can overflow the accumulator")
    unit = a.scale * b.scale * node.factor
    if scheme is Scheme.POWER_OF_TWO and math.frexp(unit)[0] != 0.5:
        raise QuantizationError(
            f"{node.name}: its factor {node.factor:.6g} is no power of two, and no layer before it can take it in"
        )
    form = requantize_from(np.array([unit]), output, scheme, low=node.low, high=node.high, what=node.name)
    return MatMulPlan(node, (a, b), form)


def plan_multiply(node: ir.Multiply, inputs: list[Grid], output: Grid, scheme: Scheme) -> MultiplyPlan:
    a, b = inputs
    unit = np.array([a.scale * b.scale])
    form = requantize_from(unit, output, scheme, low=node.low, high=node.high, what=node.name)
    return MultiplyPlan((a, b), form)


def plan_layer_norm(node: ir.LayerNorm, source: Grid, output: Grid, scheme: Scheme) -> LayerNormPlan:
    """Each channel's unit is the finest in which its gain fits int8 and its bias half of the accumulator."""
    gain, bias = node.gain.numpy(), node.bias.numpy()
    finest = output.scale * 2.0 ** (-SHIFT_MAX if scheme is Scheme.POWER_OF_TWO else -38)
    unit = np.maximum(np.maximum(np.abs(gain) / (_GAIN_MAX * NORM_ONE), np.abs(bias) / (_NORM_BIAS_LIMIT - 1)), finest)
    if scheme is Scheme.POWER_OF_TWO:
        unit = np.exp2(np.ceil(np.log2(unit)))
    epsilon = round(len(gain) ** 2 * node.epsilon / source.scale**2)
    return LayerNormPlan(
        input_grid=source,
        gain=np.round(gain / (unit * NORM_ONE)).astype(np.int64),
        bias=np.round(bias / unit).astype(np.int64),
        epsilon=min(max(epsilon, 1), NORM_EPSILON_MAX),
        requantize=requantize_from(unit, output, scheme, low=-math.inf, high=math.inf, what=node.name),
    )


def plan_constant(node: ir.Constant, output: Grid) -> ConstantPlan:
    return ConstantPlan(output.quantize(node.value))


def plan_clamp(node: ir.Clamp, grid: Grid) -> ClampPlan:
    return ClampPlan(grid.bound(node.low), grid.bound(node.high))


def plan_table(node: ir.Elementwise, source: Grid, output: Grid) -> TablePlan:
    points = torch.arange(QMIN, QMAX + 1, dtype=torch.float64)
    values = node.compute(source.dequantize(points))
    if not bool(torch.isfinite(values).all()):
        raise QuantizationError(f"{node.name} is not finite over the whole range of its input")
    return TablePlan(output.quantize(values).numpy().astype(np.int8))


def plan_softmax(source: Grid) -> SoftmaxPlan:
    """exp(-scale * d) for d = max - q in 0..255, in units of 2^-31."""
    exponentials = np.exp(-source.scale * np.arange(256, dtype=np.float64))
    return SoftmaxPlan(np.round(exponentials * _SOFTMAX_ONE).astype(np.uint32))


def _reciprocal_bits(window: int, magnitude: int) -> int:
    bits = 24
    while bits > 0 and window * magnitude * max(round(2**bits / window), 1) >= ACCUMULATOR_LIMIT:
        bits -= 1
    return bits
