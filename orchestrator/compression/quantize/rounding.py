"""Puts rows of weights on integer grids: to the nearest point, or so that errors make each other good.

Compensated rounding minimises D H D^T (see `statistics`) over integers in two steps:

1. GPTQ: round column after column and spread each error over the columns still to come, by the Cholesky factor of H^-1.
   Frantar, Ashkboos, Hoefler & Alistarh 2022, arXiv:2210.17323; the idea is Hassibi & Stork's optimal brain surgeon.
   Columns with the largest H come first, while there is still something to make their error good with.
2. Coordinate descent: column after column, move each weight to the integer that is best given all others. Never worse
   than where it started. Behdin et al. 2023 (QuantEase), arXiv:2309.01885.

Shape letters: G groups, O output channels of a group, K inputs of a row. Rows are independent, so all go at once.
"""

from __future__ import annotations

import torch
from torch import Tensor

_DAMPING = 0.01  # share of the mean diagonal added to H, so that unused inputs do not make it singular
_DESCENT_PASSES = 3


def round_nearest(weight_GOK: Tensor, scale_GO: Tensor, qmin: int, qmax: int) -> Tensor:
    """Integers in float64 [G, O, K]."""
    return torch.round(weight_GOK / scale_GO.unsqueeze(-1)).clamp(qmin, qmax)


def round_compensated(
    weight_GOK: Tensor, scale_GO: Tensor, qmin: int, qmax: int, hessian_GKK: Tensor, free_GOK: Tensor | None = None
) -> Tensor:
    """Integers in float64 [G, O, K], 0 where not `free_GOK`, with a small error under the `damped` `hessian_GKK`."""
    free_GOK = torch.ones_like(weight_GOK, dtype=torch.bool) if free_GOK is None else free_GOK
    order_GK = torch.argsort(torch.diagonal(hessian_GKK, dim1=1, dim2=2), dim=1, descending=True)
    hessian_GKK = _permute(_permute(hessian_GKK, order_GK, 1), order_GK, 2)
    weight_GOK, free_GOK = _permute(weight_GOK, order_GK, 2), _permute(free_GOK, order_GK, 2)
    q_GOK = _gptq(weight_GOK, scale_GO, qmin, qmax, hessian_GKK, free_GOK)
    q_GOK = _descend(q_GOK, weight_GOK, scale_GO, qmin, qmax, hessian_GKK, free_GOK)
    return _permute(q_GOK, torch.argsort(order_GK, dim=1), 2)


def aimed_at(weight_GOK: Tensor, drift_GKK: Tensor, hessian_GKK: Tensor) -> Tensor:
    """The weights that make the intended outputs of inputs that have drifted, see `statistics`."""
    correction: Tensor = torch.linalg.solve(hessian_GKK, weight_GOK @ drift_GKK, left=False)
    return weight_GOK + correction


def damped(covariance_GKK: Tensor) -> Tensor:
    """`covariance_GKK` made safely positive definite."""
    diagonal = torch.diagonal(covariance_GKK, dim1=1, dim2=2)
    amount = _DAMPING * diagonal.mean(dim=1).clamp(min=1e-12)
    return covariance_GKK + amount.view(-1, 1, 1) * torch.eye(covariance_GKK.shape[1], dtype=covariance_GKK.dtype)


def damped_inverse(covariance_KK: Tensor) -> Tensor:
    """Of `damped`, for a single group."""
    return torch.cholesky_inverse(torch.linalg.cholesky(damped(covariance_KK.unsqueeze(0))[0]))


def squared_error(q_GOK: Tensor, weight_GOK: Tensor, scale_GO: Tensor, hessian_GKK: Tensor) -> Tensor:
    """D H D^T of every row: [G, O]."""
    difference = q_GOK * scale_GO.unsqueeze(-1) - weight_GOK
    return ((difference @ hessian_GKK) * difference).sum(dim=-1)


def _gptq(weight_GOK: Tensor, scale_GO: Tensor, qmin: int, qmax: int, hessian_GKK: Tensor, free_GOK: Tensor) -> Tensor:
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(hessian_GKK))
    upper_GKK = torch.linalg.cholesky(inverse, upper=True)
    left_GOK = weight_GOK.clone()
    q_GOK = torch.empty_like(weight_GOK)
    for k in range(weight_GOK.shape[2]):
        column = left_GOK[:, :, k]
        q_GOK[:, :, k] = torch.round(column / scale_GO).clamp(qmin, qmax) * free_GOK[:, :, k]
        error_GO = (column - q_GOK[:, :, k] * scale_GO) / upper_GKK[:, k, k].unsqueeze(1)
        left_GOK[:, :, k + 1 :] -= error_GO.unsqueeze(-1) * upper_GKK[:, k, k + 1 :].unsqueeze(1)
    return q_GOK


def _descend(
    q_GOK: Tensor,
    weight_GOK: Tensor,
    scale_GO: Tensor,
    qmin: int,
    qmax: int,
    hessian_GKK: Tensor,
    free_GOK: Tensor,
) -> Tensor:
    q_GOK = q_GOK.clone()
    slope_GOK = (q_GOK * scale_GO.unsqueeze(-1) - weight_GOK) @ hessian_GKK  # half the gradient of D H D^T
    diagonal_GK = torch.diagonal(hessian_GKK, dim1=1, dim2=2)
    for _ in range(_DESCENT_PASSES):
        moved = False
        for k in range(weight_GOK.shape[2]):
            best = q_GOK[:, :, k] - slope_GOK[:, :, k] / (scale_GO * diagonal_GK[:, k].unsqueeze(1))
            best = torch.round(best).clamp(qmin, qmax) * free_GOK[:, :, k]
            step_GO = best - q_GOK[:, :, k]
            if not bool(step_GO.any()):
                continue
            moved = True
            q_GOK[:, :, k] = best
            slope_GOK += (step_GO * scale_GO).unsqueeze(-1) * hessian_GKK[:, k, :].unsqueeze(1)
        if not moved:
            break
    return q_GOK


def _permute(x: Tensor, order_GK: Tensor, dim: int) -> Tensor:
    shape = [order_GK.shape[0], 1, 1]
    shape[dim] = order_GK.shape[1]
    return x.gather(dim, order_GK.view(shape).expand_as(x))
