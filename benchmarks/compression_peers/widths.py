"""Makes a network narrower group by group: channels that can only go together are one group. For latency; untrained."""

from __future__ import annotations

import copy
from collections.abc import Sequence

from torch import nn

from orchestrator.compression.capture import trace
from orchestrator.compression.prune.dependencies import Channels, find_channels
from orchestrator.compression.prune.surgery import remove_channels

Shape = tuple[int, int, int]


class Widths:
    """One network's groups of channels, analysed once; what must stay is in none of them."""

    def __init__(self, model: nn.Module, shape: Shape) -> None:
        self._model = model
        self._channels = find_channels(trace(model, shape))
        self._groups = _groups(self._channels)

    def __len__(self) -> int:
        return len(self._groups)

    def narrowed(self, shares: Sequence[float]) -> nn.Module:
        """A copy that keeps the first `shares[i]` of group i's channels, at least one."""
        narrower = copy.deepcopy(self._model)
        gone: set[int] = set()
        for ids, share in zip(self._groups, shares, strict=True):
            gone |= set(ids[max(round(share * len(ids)), 1) :])
        remove_channels(narrower, self._channels, gone)
        return narrower


def _groups(channels: Channels) -> list[list[int]]:
    """In the order in which the network computes them."""
    groups: list[set[int]] = []
    for of_map in channels.of_value.values():
        ids = set(of_map.tolist()) - channels.fixed
        touching = [group for group in groups if group & ids]
        if not touching and ids:
            groups.append(ids)
        elif touching:
            touching[0].update(ids, *touching[1:])
            groups = [group for group in groups if not any(group is other for other in touching[1:])]
    return [sorted(group) for group in groups]
