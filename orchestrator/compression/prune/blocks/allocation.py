"""How many blocks each layer gives up, so that the network as a whole loses least for what it saves.

Every block of every layer stands in one queue, by the harm its removal does for each unit of what it saves. The harm is
the squared error that it adds to its layer, times how much more the network's answers diverge for each unit of that
error; the latter grows with the error and is measured at a few points. What is saved is counted in blocks, in
multiplications, or in the microseconds that were measured. Within a row blocks go in the surgeon's order, so a block
that costs less than the one before it counts as much.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from orchestrator.compression.errors import PruningError
from orchestrator.compression.prune.blocks.layers import BlockLayer


@dataclass(frozen=True, eq=False)
class Offer:
    """What one layer can give up.

    Attributes:
        order, cost: [B, N] of `surgeon.removal_costs`.
        harms: squared errors of this layer, ascending, with the divergence measured at each.
        saves: of each block.
    """

    layer: BlockLayer
    order: Tensor
    cost: Tensor
    harms: tuple[tuple[float, float], ...]
    saves: float


def allocate(offers: Sequence[Offer], share: float) -> list[Tensor]:
    """The blocks that stay, bool [B, J] for each layer, once `share` of all that could be saved is.

    Raises:
        PruningError: every row keeps a block, so that much cannot be saved.
    """
    total = sum(offer.saves * offer.layer.blocks for offer in offers)
    price = torch.cat([_prices(offer) for offer in offers])
    saves = torch.cat([torch.full((offer.cost.numel(),), offer.saves, dtype=torch.float64) for offer in offers])
    queue = torch.argsort(price, stable=True)
    saved = torch.cumsum(saves[queue], dim=0)
    enough = int((saved < share * total - 1e-9).sum()) + 1
    if enough > len(queue):
        reachable = float(saved[-1]) / total if len(saved) else 0.0
        raise PruningError(f"{share:.0%} cannot be saved; rows keep some blocks, so at most {reachable:.0%} can")
    gone = torch.zeros(len(queue), dtype=torch.bool)
    gone[queue[:enough]] = True
    parts = torch.split(gone, [offer.cost.numel() for offer in offers])
    return [_kept(offer, part.view(offer.cost.shape)) for offer, part in zip(offers, parts, strict=True)]


def _prices(offer: Offer) -> Tensor:
    """Ascending within each row; equal prices go from left to right, because the sort is stable."""
    ascending = torch.cummax(offer.cost, dim=1).values.reshape(-1)
    queue = torch.argsort(ascending, stable=True)
    harm = torch.empty_like(ascending)
    harm[queue] = ascending[queue] * _slopes(offer.harms, torch.cumsum(ascending[queue], dim=0))
    return harm / offer.saves


def _slopes(harms: tuple[tuple[float, float], ...], errors: Tensor) -> Tensor:
    """Divergence for each unit of error at these errors; never falling, and beyond the last point as before it."""
    ends, slopes, last_error, last_harm, slope = [], [], 0.0, 0.0, 0.0
    for error, harm in harms:
        if error <= last_error:
            continue
        slope = max((harm - last_harm) / (error - last_error), slope, 1e-12)
        ends.append(error)
        slopes.append(slope)
        last_error, last_harm = error, harm
    if not ends:
        return torch.full_like(errors, 1e-12)  # blocks of zeros cost nothing
    segment = torch.bucketize(errors, torch.tensor(ends[:-1], dtype=errors.dtype))
    return torch.tensor(slopes, dtype=errors.dtype)[segment]


def _kept(offer: Offer, gone_BN: Tensor) -> Tensor:
    kept = torch.ones(offer.layer.rows_of_blocks, offer.layer.blocks_per_row, dtype=torch.bool)
    rows, steps = gone_BN.nonzero(as_tuple=True)
    kept[rows, offer.order[rows, steps]] = False
    return kept
