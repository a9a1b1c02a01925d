"""AdaRound: learns for each weight whether it is rounded up or down, for layers whose rounding error stays large.

    minimise  mean over patches of (clamp(s q x + b) - clamp(w x* + b*))^2  +  lambda * sum(1 - |2 h(v) - 1|^beta)
    q = base + h(v),  h(v) = clamp(1.2 * sigmoid(v) - 0.1, 0, 1)

x* are the inputs as intended, x those that the rounded layers before really give; the fused activation is part of the
error, which compensated rounding cannot see. beta falls, so that every h ends at 0 or 1. Nagel, Amjad, van Baalen,
Louizos & Blankevoort 2020, arXiv:2004.10568. Unlike there, learning starts from compensated rounding (`rounding`),
whose integers may lie beyond the two nearest; a row keeps what was learned only where it leaves less error on patches
that were not learned from. The bias brings the mean back before the clamp, as it does in the end.

Shape letters: G groups, O output channels of a group, K inputs of a row, P patches.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from orchestrator.compression.capture import ir
from orchestrator.compression.quantize.statistics import patches_of
from orchestrator.compression.quantize.weights import IntegerWeights, weight_range

ERROR_THRESHOLD = 1e-3
"""Of the output's variance: below it a layer's rounding error is left as it is."""

_STEPS = 800
_BATCH = 512
_PATCHES = 16_384
_LEARNING_RATE = 0.02
_FREE_SHARE = 0.2  # of the steps, at the start: h is not pulled to either side yet
_BETA = (20.0, 2.0)
_LEANING = 0.7  # h of the side that compensated rounding chose, at the start


@torch.enable_grad()
def learn_rounding(
    node: ir.Weighted, start: IntegerWeights, source: Tensor, intended: Tensor, bits: int, *, seed: int = 0
) -> IntegerWeights:
    """`start` with rows rounded otherwise where that leaves less error.

    Args:
        source, intended: calibration inputs as they will be and as they should be, float64 [N, C, H, W] or [N, F].
    """
    problem = _Problem(node, start, source, intended, bits)
    learned = _learn(problem, seed)
    better = problem.error(learned) < problem.error(problem.start)
    integers = torch.where(better.unsqueeze(-1), learned, problem.start)
    weight = integers.reshape(node.weight.shape).to(torch.int64).numpy()
    return replace(start, weight=weight)


class _Problem:
    def __init__(self, node: ir.Weighted, start: IntegerWeights, source: Tensor, intended: Tensor, bits: int) -> None:
        groups = node.groups if isinstance(node, ir.Conv) else 1
        outputs = len(node.weight)
        shape = (groups, outputs // groups, -1)
        self.node = node
        self.qmin, self.qmax = weight_range(bits)
        self.scale_GO1 = torch.from_numpy(start.scales).to(torch.float32).view(groups, -1, 1)
        self.start = torch.from_numpy(start.weight).to(torch.float32).view(shape)
        float_GOK = node.weight.to(torch.float32).view(shape)
        x_GPK, wanted_GPK = (patches_of(node, x, _PATCHES).to(torch.float32) for x in (source, intended))
        before_GPO = wanted_GPK @ float_GOK.mT + node.bias.to(torch.float32).view(groups, 1, -1)
        self.mean_G1O = before_GPO.mean(dim=1, keepdim=True)
        self.wanted_GPO = node.clamp(before_GPO)
        self.x_GPK = x_GPK - x_GPK.mean(dim=1, keepdim=True)
        self.variance_GO = before_GPO.var(dim=1).clamp(min=1e-12)
        self.real_GOK = float_GOK / self.scale_GO1

    def squared_error(self, q_GOK: Tensor, patches: Tensor | slice) -> Tensor:
        """Of every row, as a share of its output's variance: [G, O]."""
        found = self.node.clamp(self.x_GPK[:, patches] @ (q_GOK * self.scale_GO1).mT + self.mean_G1O)
        return (found - self.wanted_GPO[:, patches]).square().mean(dim=1) / self.variance_GO

    @torch.no_grad()
    def error(self, q_GOK: Tensor) -> Tensor:
        """On the patches that nothing is learned from: every second one."""
        return self.squared_error(q_GOK, slice(1, None, 2))


def _learn(problem: _Problem, seed: int) -> Tensor:
    below = torch.floor(problem.real_GOK)
    base = torch.where(problem.start > below + 1, problem.start - 1, torch.minimum(below, problem.start))
    base = base.clamp(problem.qmin, problem.qmax - 1)
    leaning = torch.where(problem.start > base, _LEANING, 1 - _LEANING)
    v = torch.logit((leaning + 0.1) / 1.2).requires_grad_(True)
    row_inputs = v.shape[-1]
    pull_GO = problem.error(problem.start) / row_inputs
    optimizer = torch.optim.Adam([v], lr=_LEARNING_RATE)
    generator = torch.Generator().manual_seed(seed)
    count = (problem.x_GPK.shape[1] + 1) // 2
    for step in range(_STEPS):
        h = _rectified(v)
        patches = 2 * torch.randint(count, (min(_BATCH, count),), generator=generator)
        loss = problem.squared_error(base + h, patches).sum()
        done = (step / _STEPS - _FREE_SHARE) / (1 - _FREE_SHARE)
        if done >= 0:
            beta = _BETA[1] + (_BETA[0] - _BETA[1]) * (1 + math.cos(math.pi * done)) / 2
            loss = loss + ((1 - (2 * h - 1).abs() ** beta).sum(dim=-1) * pull_GO).sum()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return (base + (v.detach() > 0)).clamp(problem.qmin, problem.qmax)


def _rectified(v: Tensor) -> Tensor:
    return (1.2 * torch.sigmoid(v) - 0.1).clamp(0, 1)
