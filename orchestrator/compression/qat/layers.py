"""One convolution or linear layer that trains with integer weights and, where it has one, live batch norm.

    live     y = norm(conv(x, s * q))                      norm by the statistics of the batch
    frozen   y = conv(x, g * s * q) + shift                g = gamma / sqrt(variance + eps), running statistics

q are integers, s the learned step of each output channel before folding; so folding multiplies scales and moves no
weight off its grid. With power-of-two scales g * s is what must be a power of two, and s = 2^e / g follows from it.
Channels whose gamma is negative are turned around at the start (weights, bias, mean and gamma change sign, the output
does not), because a scale is positive. Statistics are frozen for the last part of training, so that the network ends
with what will be folded: Krishnamoorthi 2018, arXiv:1806.08342, section 3.2.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from orchestrator.compression.qat.grids import per_row, quantize_rows, round_straight_through
from orchestrator.compression.quantize.plan import WeightedPlan
from orchestrator.compression.quantize.weights import weight_range
from orchestrator.compression.recipe import Scheme

_MOMENTUM = 0.1
_LEAST_FACTOR = 1e-4  # of folding: a channel that batch norm has silenced must still have a scale


class QuantizedLayer(nn.Module):
    """`start` gives bits and the first scales; the float weights it was made from are where training begins."""

    running_mean: Tensor
    running_variance: Tensor

    def __init__(self, start: WeightedPlan, scheme: Scheme) -> None:
        super().__init__()
        node = start.node
        self.node, self.scheme, self.bits = node, scheme, start.weight_bits
        self.qmin, self.qmax = weight_range(self.bits)
        norm = node.unfolded.norm if node.unfolded else None
        weight, bias = (node.unfolded.weight, node.unfolded.bias) if node.unfolded else (node.weight, node.bias)
        self.eps = norm.eps if norm else 0.0
        self.has_norm = norm is not None
        ones = torch.ones(len(weight), dtype=torch.float64)
        gamma = norm.gamma if norm else ones
        sign = torch.where(gamma < 0, -ones, ones)
        self.weight = nn.Parameter((weight * per_row(sign, weight)).to(torch.float32))
        self.bias = nn.Parameter((bias * sign).to(torch.float32))
        if norm is not None:
            self.gamma = nn.Parameter((gamma * sign).to(torch.float32))
            self.beta = nn.Parameter(norm.beta.to(torch.float32))
            self.register_buffer("running_mean", (norm.mean * sign).to(torch.float32))
            self.register_buffer("running_variance", norm.variance.to(torch.float32))
        scales = torch.from_numpy(start.weight_scales)
        self.log2_step = nn.Parameter((scales / self.factor().to(torch.float64)).log2().detach().to(torch.float32))

    def factor(self) -> Tensor:
        """What folding multiplies each channel by, [O]; from running statistics."""
        if not self.has_norm:
            return torch.ones(len(self.weight))
        return (self.gamma.abs() / torch.sqrt(self.running_variance + self.eps)).clamp(min=_LEAST_FACTOR)

    def step(self) -> Tensor:
        """Of the weights before folding, [O]."""
        if self.scheme is not Scheme.POWER_OF_TWO:
            return torch.exp2(self.log2_step)
        factor = self.factor().detach()
        return torch.exp2(round_straight_through(self.log2_step + torch.log2(factor))) / factor

    def scales(self) -> Tensor:
        """Of the folded weights, [O]."""
        factor = self.factor()
        if self.scheme is not Scheme.POWER_OF_TWO:
            return torch.exp2(self.log2_step) * factor
        return torch.exp2(round_straight_through(self.log2_step + torch.log2(factor.detach())))

    def integers(self) -> Tensor:
        return quantize_rows(self.weight, self.step(), self.qmin, self.qmax)

    def shift(self) -> Tensor:
        """The folded bias [O]."""
        return self.beta + (self.bias - self.running_mean) * self.factor() if self.has_norm else self.bias

    def forward(self, x: Tensor, input_step: float, is_live: bool) -> Tensor:
        """Before the operator's clamp, which is the grid's that follows."""
        integers = self.integers()
        if is_live and self.has_norm:
            found = self.accumulate(x, integers * per_row(self.step(), self.weight), self.bias)
            return functional.batch_norm(
                found, self.running_mean, self.running_variance, self.gamma.abs(), self.beta,
                training=True, momentum=_MOMENTUM, eps=self.eps,
            )  # fmt: skip
        scales = self.scales()
        unit = scales.detach() * input_step  # what one step of the accumulator is worth
        shift = self.shift()
        shift = shift + (torch.round(shift / unit) * unit - shift).detach()
        return self.accumulate(x, integers * per_row(scales, self.weight), shift)

    def accumulate(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """In torch's own order: oneDNN's weight gradients of 1 x 1 layers can crash in channels last."""
        return self.node.accumulate(x, weight, bias)

    @torch.no_grad()
    def folded(self) -> tuple[Tensor, Tensor, Tensor]:
        """Integers [O, ...], scales [O] and bias [O] as they are lowered, in float64."""
        integers, scales, shift = self.integers(), self.scales(), self.shift()
        return integers.to(torch.float64), scales.to(torch.float64), shift.to(torch.float64)
