"""Layers that make up for channels that are gone."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from orchestrator.compression.capture import trace
from orchestrator.compression.data import Preprocessing
from orchestrator.compression.evaluation import evaluate_network, predict_logits
from orchestrator.compression.prune import channels as pruning
from orchestrator.compression.prune import prune_channels
from orchestrator.compression.prune.dependencies import find_channels, stays
from orchestrator.compression.prune.refit import Whole, refit
from orchestrator.compression.prune.surgery import remove_channels
from orchestrator.datasets import Splits

Trained = Callable[[str], nn.Module]
SHAPE = (1, 8, 8)


class Redundant(nn.Module):
    """Every second channel of the stem is a multiple of the one before it, so one of each two is enough."""

    def __init__(self, *, norm: bool) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 8, 3, padding=1)
        self.depthwise = nn.Conv2d(8, 16, 3, padding=1, groups=8)
        self.pointwise = nn.Conv2d(16, 12, 1, bias=not norm)
        self.norm = nn.BatchNorm2d(12) if norm else nn.Identity()
        self.head = nn.Linear(12, 10)
        with torch.no_grad():
            self.stem.weight[1::2] = 2 * self.stem.weight[::2]
            self.stem.bias[1::2] = 2 * self.stem.bias[::2]
            self.depthwise.weight[2::4], self.depthwise.weight[3::4] = (
                self.depthwise.weight[::4],
                self.depthwise.weight[1::4],
            )
            self.depthwise.bias[2::4], self.depthwise.bias[3::4] = (
                2 * self.depthwise.bias[::4],
                2 * self.depthwise.bias[1::4],
            )

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.depthwise(functional.relu(self.stem(x))))
        logits: Tensor = self.head(functional.relu(self.norm(self.pointwise(x))).mean(dim=(2, 3)))
        return logits


@pytest.mark.parametrize("norm", [False, True], ids=["bias", "batch norm"])
def test_channels_that_others_can_stand_in_for_are_not_missed(
    digits: Splits, preprocessing: Preprocessing, norm: bool
) -> None:
    torch.manual_seed(1)
    network = Redundant(norm=norm).eval()
    narrow = copy.deepcopy(network)
    before = trace(network, SHAPE)
    channels = find_channels(before)
    gone = set(channels.of_value[before.nodes[0].output][1::2].tolist())
    remove_channels(narrow, channels, gone)
    kept = [np.flatnonzero(stays(channels.of_value[node.output], gone)) for node in before.nodes]
    wanted = predict_logits(network, digits.choose.inputs, preprocessing)

    def error() -> float:
        found = predict_logits(narrow, digits.choose.inputs, preprocessing)
        return float((found - wanted).norm() / (wanted - wanted.mean(dim=0)).norm())

    assert error() > 0.2
    refit(narrow, trace(narrow, SHAPE), Whole.of(before, digits.train, preprocessing, seed=0), kept)
    assert narrow.pointwise.in_channels == 8
    assert error() < 0.05  # damping keeps it from being exact


def test_a_pruned_network_that_is_refitted_is_nearer_to_the_whole_one(
    trained: Trained, digits: Splits, preprocessing: Preprocessing, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = trained("residual")

    def accuracy() -> float:
        pruned = prune_channels(network, digits.train, preprocessing=preprocessing, macs_fraction=0.1, seed=1)
        return evaluate_network(pruned, digits.certify, preprocessing=preprocessing).accuracy

    refitted = accuracy()
    monkeypatch.setattr(pruning, "refit", lambda *_: None)
    assert refitted > accuracy() + 0.1
