from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import nn

from orchestrator.compression.capture import capture, ir
from orchestrator.compression.data import Preprocessing, images_to_tensor
from orchestrator.compression.evaluation import evaluate, evaluate_network
from orchestrator.compression.pipeline import compress
from orchestrator.compression.quantize.equalize import MIN_SHARE, equalize, find_pairs
from orchestrator.compression.recipe import Recipe
from orchestrator.datasets import Splits

Trained = Callable[[str], nn.Module]
SHAPE = (1, 8, 8)


class Chain(nn.Module):
    """Everything that factors pass through, and relu6 and an addition, which they do not."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 6, 3, padding=1)
        self.depthwise = nn.Conv2d(6, 12, 3, padding=1, groups=6)
        self.pool = nn.MaxPool2d(2)
        self.point = nn.Conv2d(12, 8, 1)
        self.capped = nn.Conv2d(8, 8, 1)
        self.mean = nn.AvgPool2d(2)
        self.head = nn.Linear(32, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.stem(x))
        x = self.pool(torch.relu(self.depthwise(x)))
        x = nn.functional.relu6(self.point(x))
        x = torch.relu(self.capped(x)) + x
        return self.head(torch.flatten(self.mean(x), 1))


def chain() -> Chain:
    """One channel in each convolution is a hundredth of what the others are."""
    torch.manual_seed(4)
    network = Chain().eval()
    with torch.no_grad():
        for layer in (network.stem, network.depthwise, network.point, network.capped):
            layer.weight[0] /= 100
            layer.bias[0] = 0.01
    return network


def test_equalization_changes_weights_but_not_the_function(digits: Splits, preprocessing: Preprocessing) -> None:
    samples = images_to_tensor(digits.calibrate.inputs, preprocessing)
    graph = capture(chain(), SHAPE)
    wanted = graph.run(samples)
    before = [node.weight.clone() for node in graph.nodes if isinstance(node, ir.Weighted)]
    pairs = equalize(graph, samples)
    assert torch.allclose(graph.run(samples), wanted, rtol=1e-9, atol=1e-9)
    changed = [
        not torch.equal(old, node.weight)
        for old, node in zip(before, (n for n in graph.nodes if isinstance(n, ir.Weighted)), strict=True)
    ]
    assert changed == [True, True, True, False, False]
    assert len(pairs) == 2


def test_factors_stop_at_a_clamp_from_above_and_at_a_map_that_others_read() -> None:
    graph = capture(chain(), SHAPE)
    layers = [node for node in graph.nodes if isinstance(node, ir.Weighted)]
    found = [(layers.index(pair.first), layers.index(pair.second)) for pair in find_pairs(graph)]
    assert found == [(0, 1), (1, 2)]


def test_a_flattened_map_has_a_factor_for_each_channel_and_not_for_each_pixel(
    digits: Splits, preprocessing: Preprocessing
) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 10)).eval()
    with torch.no_grad():
        network[0].weight[1] /= 100
    samples = images_to_tensor(digits.calibrate.inputs, preprocessing)
    graph = capture(network, SHAPE)
    wanted = graph.run(samples)
    (pair,) = equalize(graph, samples)
    assert pair.repeats == 9
    assert torch.allclose(graph.run(samples), wanted, rtol=1e-9, atol=1e-9)


def test_every_channel_gets_its_share_of_the_grid_and_large_ones_are_left_alone(
    digits: Splits, preprocessing: Preprocessing
) -> None:
    samples = images_to_tensor(digits.calibrate.inputs, preprocessing)[:100]
    graph = capture(chain(), SHAPE)
    stem = next(node for node in graph.nodes if isinstance(node, ir.Weighted))

    def ranges() -> torch.Tensor:
        return next(output for node, output in graph.walk(samples) if node is stem).amax(dim=(0, 2, 3))

    before = ranges()
    equalize(graph, samples)
    assert float((ranges() / ranges().max()).min()) == pytest.approx(MIN_SHARE)
    large = before > MIN_SHARE * before.max()
    assert torch.equal(ranges()[large], before[large])


def test_a_dead_channel_stays_dead_and_finite(digits: Splits, preprocessing: Preprocessing) -> None:
    network = chain()
    with torch.no_grad():
        network.stem.weight[2], network.stem.bias[2] = 0, -1
        network.point.weight[:, 3] = 0
    graph = capture(network, SHAPE)
    samples = images_to_tensor(digits.calibrate.inputs, preprocessing)
    wanted = graph.run(samples)
    equalize(graph, samples)
    assert torch.allclose(graph.run(samples), wanted, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("bits", [8, 4])
def test_channels_of_very_different_size_are_repaired(
    trained: Trained, digits: Splits, preprocessing: Preprocessing, bits: int
) -> None:
    """A network whose channels differ by powers of two computes the same in float, and loses them in integers."""
    network = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 16, 3), nn.ReLU(), nn.Flatten(),
        nn.Linear(64, 10),
    )  # fmt: skip
    torch.manual_seed(0)
    from orchestrator.compression.training.classifier import train_classifier

    train_classifier(network, digits.train, preprocessing=preprocessing, epochs=12, batch_size=64, learning_rate=0.05)
    lopsided = copy.deepcopy(network)
    factor = torch.exp2(torch.arange(16) % 8)
    with torch.no_grad():
        lopsided[0].weight /= factor.view(-1, 1, 1, 1)
        lopsided[0].bias /= factor
        lopsided[3].weight *= factor.view(1, -1, 1, 1)
    fp32 = evaluate_network(network, digits.certify, preprocessing=preprocessing).accuracy
    repaired, broken = (
        evaluate(compress(lopsided, digits, Recipe(weight_bits=bits, equalize=on), name="d"), digits.certify).accuracy
        for on in (True, False)
    )
    assert repaired > fp32 - 0.02
    assert broken < repaired
