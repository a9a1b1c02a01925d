"""Which blocks of a row are needed least, and what the others must be once these are gone: the optimal brain surgeon.

A row of weights w with inputs x makes the squared output error d H d^T if it changes by d, H = E[x x^T]. Taking out the
block P costs, at best,

    w_P ([H^-1]_PP)^-1 w_P^T          with the others moved by     - w_P ([H^-1]_PP)^-1 [H^-1]_P:

after which H^-1 loses P:  H^-1 - [H^-1]_:P ([H^-1]_PP)^-1 [H^-1]_P:. The cheapest block goes first, one after
the other. Frantar & Alistarh 2022 (ExactOBS), arXiv:2208.11580, eq. 4 to 6; Hassibi & Stork 1993. The R outputs of
a block go together, so their costs add up and they share H^-1.

Whatever the order, the weights that remain are the least squares solution on what remains, so `refit` finds them at
once, also for inputs that have changed because earlier layers have.

Shape letters as in `layers`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from orchestrator.compression.prune.blocks.layers import COLUMNS
from orchestrator.compression.quantize.rounding import damped, damped_inverse

_INVERSES_BYTES = 1 << 27  # of the inverses that are worked on at once


def removal_costs(weight_BRK: Tensor, hessian_KK: Tensor, removable: int) -> tuple[Tensor, Tensor]:
    """In every row of blocks, the first `removable` blocks in the order in which they go.

    Returns:
        Their indices, int64 [B, removable], and the squared error that each adds, float64 [B, removable].
    """
    inverse_KK = damped_inverse(hessian_KK)
    chunk = max(_INVERSES_BYTES // (inverse_KK.numel() * 8), 1)
    parts = [_remove(part, inverse_KK, removable) for part in torch.split(weight_BRK, chunk)]
    return torch.cat([order for order, _ in parts]), torch.cat([cost for _, cost in parts])


def _remove(weight_BRK: Tensor, inverse_KK: Tensor, removable: int) -> tuple[Tensor, Tensor]:
    rows, outputs, row_inputs = weight_BRK.shape
    blocks = row_inputs // COLUMNS
    every = torch.arange(rows)
    weight = weight_BRK.reshape(rows, outputs, blocks, COLUMNS).clone()
    inverse = inverse_KK.expand(rows, -1, -1).reshape(rows, blocks, COLUMNS, blocks, COLUMNS).clone()
    gone = torch.zeros(rows, blocks, dtype=torch.bool)
    order = torch.empty(rows, removable, dtype=torch.int64)
    costs = torch.empty(rows, removable, dtype=torch.float64)
    identity = torch.eye(COLUMNS, dtype=torch.float64)
    for step in range(removable):
        own = torch.diagonal(inverse, dim1=1, dim2=3).permute(0, 3, 1, 2)  # [B, J, Q, Q]
        own = torch.where(gone.view(rows, blocks, 1, 1), identity, own)
        solved = torch.linalg.solve(own, weight.permute(0, 2, 3, 1))  # [B, J, Q, R]
        cost_BJ = (solved * weight.permute(0, 2, 3, 1)).sum(dim=(2, 3)).masked_fill(gone, torch.inf)
        cost, block = cost_BJ.min(dim=1)
        order[:, step], costs[:, step] = block, cost.clamp(min=0)
        columns = inverse[every, :, :, block, :].reshape(rows, row_inputs, COLUMNS)
        pivot = own[every, block]
        weight -= (columns @ solved[every, block]).view(rows, blocks, COLUMNS, outputs).permute(0, 3, 1, 2)
        update = columns @ torch.linalg.solve(pivot, columns.mT)
        inverse -= update.view(inverse.shape)
        gone[every, block] = True
        weight[every, :, block] = 0
    return order, costs


def refit(weight_BRK: Tensor, kept_BJ: Tensor, hessian_KK: Tensor, cross_KK: Tensor) -> Tensor:
    """The weights [B, R, K], 0 where no block is kept, whose outputs come nearest to those of `weight_BRK`.

    Args:
        hessian_KK: E[x' x'^T] of the inputs that the layer now gets.
        cross_KK: E[x x'^T] of those it got before, with the same samples.
    """
    hessian_KK = damped(hessian_KK.unsqueeze(0))[0]
    target_BRK = weight_BRK @ cross_KK
    fitted = torch.zeros_like(weight_BRK)
    for row, kept_J in enumerate(kept_BJ):
        kept = kept_J.repeat_interleave(COLUMNS).nonzero().squeeze(1)
        if len(kept):
            own = hessian_KK[kept][:, kept]
            fitted[row][:, kept] = torch.linalg.solve(own, target_BRK[row][:, kept].mT).mT
    return fitted
