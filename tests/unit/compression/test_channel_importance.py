"""What a channel matters: how much worse the layers that read it do when the rest of their weights makes up for it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from orchestrator.compression.capture import FloatGraph, trace
from orchestrator.compression.data import Preprocessing
from orchestrator.compression.prune import curvature as curvature_module
from orchestrator.compression.prune.curvature import Curvature, Importance, measure_curvature, mixing_layers
from orchestrator.compression.prune.dependencies import find_channels
from orchestrator.compression.prune.importance import ChannelImportance
from orchestrator.compression.quantize.rounding import damped
from orchestrator.datasets import Splits

SHAPE = (1, 6, 6)
CHANNELS = 5


class Branches(nn.Module):
    """Five channels that a 3 x 3 and a 1 x 1 convolution read."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, CHANNELS, 3, padding=1)
        self.wide, self.narrow = nn.Conv2d(CHANNELS, 4, 3, padding=1), nn.Conv2d(CHANNELS, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        return (self.wide(x) + self.narrow(x)).mean(dim=(2, 3))


def semidefinite(size: int, generator: torch.Generator) -> Tensor:
    factor = torch.randn(size, size, generator=generator, dtype=torch.float64)
    return factor @ factor.T / size


def random_curvature(graph: FloatGraph, seed: int) -> dict[str, Curvature]:
    generator = torch.Generator().manual_seed(seed)
    return {
        node.name: Curvature(semidefinite(node.weight[0].numel(), generator), semidefinite(len(node.weight), generator))
        for node in mixing_layers(graph)
    }


def cost_after_the_best_refit(weight_OK: Tensor, gone: list[int], curvature: Curvature) -> float:
    """1/2 tr(G D H D^T) with the weights of columns that stay where least squares puts them."""
    covariance = damped(curvature.covariance.unsqueeze(0))[0]
    stay = [column for column in range(len(covariance)) if column not in gone]
    change = -weight_OK.clone()
    moved = torch.linalg.solve(covariance[stay][:, stay], covariance[stay][:, gone] @ weight_OK[:, gone].T).T
    change[:, stay] = moved
    return float((curvature.gradients_OO @ change @ covariance @ change.T).trace() / 2)


@given(seed=st.integers(0, 2**32 - 1), first=st.integers(0, CHANNELS - 1), second=st.integers(0, CHANNELS - 1))
@settings(max_examples=30, deadline=None)
def test_a_channel_costs_what_the_best_refit_of_all_that_read_it_leaves(seed: int, first: int, second: int) -> None:
    torch.manual_seed(0)
    graph = trace(Branches().eval(), SHAPE)
    channels = find_channels(graph)
    curvature = random_curvature(graph, seed)
    importance = ChannelImportance(graph, channels, curvature)
    ids = channels.of_value[graph.nodes[0].output].tolist()
    readers = graph.readers(graph.nodes[0].output)

    def without(*gone: int) -> float:
        costs = []
        for node in readers:
            per_channel = node.weight[0, 0].numel()
            columns = [channel * per_channel + i for channel in gone for i in range(per_channel)]
            costs.append(cost_after_the_best_refit(node.weight.flatten(1), columns, curvature[node.name]))
        return sum(costs)

    assert importance.of(ids[first]) == pytest.approx(without(first), rel=1e-6)
    importance.remove(ids[first])
    if second != first:
        assert without(first) + importance.of(ids[second]) == pytest.approx(without(first, second), rel=1e-6)


def test_of_two_channels_that_tell_the_same_one_costs_nothing(digits: Splits, preprocessing: Preprocessing) -> None:
    torch.manual_seed(1)
    network = nn.Sequential(
        nn.Conv2d(1, 6, 3), nn.ReLU(), nn.Conv2d(6, 10, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    ).eval()
    with torch.no_grad():
        for parameter in (network[0].weight, network[0].bias):
            parameter[4] = 2 * parameter[1]
    graph = trace(network, (1, 8, 8))
    channels = find_channels(graph)
    curvature = measure_curvature(
        graph, digits.train, preprocessing=preprocessing, seed=0, importance=Importance.ANSWERS
    )
    importance = ChannelImportance(graph, channels, curvature)
    ids = channels.of_value[graph.nodes[0].output].tolist()
    others = [importance.of(ids[channel]) for channel in (0, 2, 3, 5)]
    assert max(importance.of(ids[1]), importance.of(ids[4])) < 0.2 * np.median(others)  # not 0 because of the damping
    importance.remove(ids[1])
    assert importance.of(ids[4]) > 0.8 * np.median(others)


def test_nothing_makes_up_for_a_channel_in_a_layer_too_wide_to_be_fitted(
    digits: Splits, preprocessing: Preprocessing, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(2)
    network = nn.Sequential(nn.Conv2d(1, 6, 3), nn.ReLU(), nn.Conv2d(6, 10, 6), nn.Flatten()).eval()
    graph = trace(network, (1, 8, 8))
    channels = find_channels(graph)
    layer = mixing_layers(graph)[1]

    def measured() -> dict[str, Curvature]:
        return measure_curvature(graph, digits.train, preprocessing=preprocessing, seed=0, importance=Importance.LABELS)

    joint = measured()[layer.name]
    monkeypatch.setattr(curvature_module, "MAX_ROW_INPUTS", 100)
    apart = measured()
    variance = apart[layer.name].covariance
    assert torch.allclose(variance, joint.covariance.diagonal())

    importance = ChannelImportance(graph, channels, apart)
    ids = channels.of_value[graph.nodes[0].output].tolist()
    weight, columns = layer.weight.flatten(1)[:, 36:72], slice(36, 72)
    alone = ((joint.gradients_OO @ weight) * weight * variance[columns]).sum() / 2
    assert importance.of(ids[1]) == pytest.approx(float(alone))
    importance.remove(ids[0])
    assert importance.of(ids[1]) == pytest.approx(float(alone))
