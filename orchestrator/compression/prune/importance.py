"""How much the loss grows if a channel goes and what reads it makes up for that as well as it can.

A layer with weights W and inputs x reads channel c by the columns P of W. What the other inputs tell of x_P the other
weights take over; what they do not tell has the covariance S_P = ([H^-1]_PP)^-1, H being that of all inputs. With G as
in `curvature`, the second-order Taylor term is

    importance(c) = 1/2 sum over layers that read c of tr(G W_P S_P W_P^T)

Taking the sum over all readers is what makes it right for residual networks, where one channel runs through many
layers. Once c has gone,

    W <- W - W_P S_P [H^-1]_P:        H^-1 <- H^-1 - [H^-1]_:P S_P [H^-1]_P:

so that of two channels that tell the same only one costs nothing. The optimal brain surgeon (Hassibi & Stork 1993) over
channels: van der Ouderaa et al. 2023 (LLM Surgeon), arXiv:2312.17244, section 3.3. What stays is fitted anew in the end
(`refit`), to what every layer gave before.

Shape letters: O outputs, K inputs of a row of weights, C channels that may go, Q columns of each.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from orchestrator.compression.capture import FloatGraph, ir
from orchestrator.compression.prune.curvature import Curvature, mixing_layers
from orchestrator.compression.prune.dependencies import Channels, Ids
from orchestrator.compression.quantize.rounding import damped_inverse


class ChannelImportance:
    """Of each channel that is left."""

    def __init__(self, graph: FloatGraph, channels: Channels, curvature: Mapping[str, Curvature]) -> None:
        self._readers: dict[int, list[_Reader]] = {}
        for layer in mixing_layers(graph):
            ids = channels.of_value[layer.inputs[0]]
            reader = _Reader(layer, ids, curvature[layer.name], channels.fixed)
            for channel in reader.importance:
                self._readers.setdefault(channel, []).append(reader)

    def of(self, channel: int) -> float:
        return sum(reader.importance[channel] for reader in self._readers.get(channel, ()))

    def remove(self, channel: int) -> None:
        for reader in self._readers.pop(channel, ()):
            reader.remove(channel)


class _Reader:
    """A layer that reads channels; `importance` has those that are left, and may be asked for no others."""

    def __init__(self, layer: ir.Weighted, ids: Ids, curvature: Curvature, fixed: set[int]) -> None:
        self.weight_OK = layer.weight.flatten(1).clone()
        self.gradients_OO = curvature.gradients_OO
        self.inputs = _inputs(curvature.covariance)
        column_ids = np.repeat(ids, self.weight_OK.shape[1] // len(ids))
        self.columns = {c: torch.from_numpy(np.flatnonzero(column_ids == c)) for c in set(ids.tolist()) - fixed}
        self.importance = self._measured()

    def remove(self, channel: int) -> None:
        made_up_OK = self.inputs.made_up(self.weight_OK, self.columns.pop(channel))
        del self.importance[channel]
        if made_up_OK is not None:
            self.weight_OK -= made_up_OK
            self.importance = self._measured()

    def _measured(self) -> dict[int, float]:
        found: dict[int, float] = {}
        for count in {len(columns) for columns in self.columns.values()}:
            channels = [channel for channel, columns in self.columns.items() if len(columns) == count]
            columns_CQ = torch.stack([self.columns[channel] for channel in channels])
            weight_CQO = self.weight_OK.mT[columns_CQ]
            lost_CQO = self.inputs.untold(columns_CQ, weight_CQO)
            costs_C = (lost_CQO * (weight_CQO @ self.gradients_OO)).sum(dim=(1, 2)).clamp(min=0) / 2
            found |= zip(channels, costs_C.tolist(), strict=True)
        return found


def _inputs(covariance: Tensor) -> _JointInputs | _SeparateInputs:
    return _SeparateInputs(covariance) if covariance.ndim == 1 else _JointInputs(covariance)


class _JointInputs:
    """They tell of each other."""

    def __init__(self, covariance_KK: Tensor) -> None:
        self.inverse_KK = damped_inverse(covariance_KK)

    def untold(self, columns_CQ: Tensor, weight_CQO: Tensor) -> Tensor:
        """S_P W_P^T of each channel."""
        inverse_CQQ = self.inverse_KK[columns_CQ.unsqueeze(2), columns_CQ.unsqueeze(1)]
        untold_CQO: Tensor = torch.linalg.solve(inverse_CQQ, weight_CQO)
        return untold_CQO

    def made_up(self, weight_OK: Tensor, gone: Tensor) -> Tensor:
        """What the weights lose when columns are `gone`, which others do not tell of from now on."""
        pull_QK: Tensor = torch.linalg.solve(self.inverse_KK[gone][:, gone], self.inverse_KK[gone])
        self.inverse_KK -= self.inverse_KK[:, gone] @ pull_QK
        return weight_OK[:, gone] @ pull_QK


class _SeparateInputs:
    """Those of a layer so wide that `refit` leaves it as it is: nothing makes up for what is gone."""

    def __init__(self, variance_K: Tensor) -> None:
        self.variance_K = variance_K

    def untold(self, columns_CQ: Tensor, weight_CQO: Tensor) -> Tensor:
        return self.variance_K[columns_CQ].unsqueeze(2) * weight_CQO

    def made_up(self, weight_OK: Tensor, gone: Tensor) -> None:
        """The other weights stay, and with them what their channels matter."""
