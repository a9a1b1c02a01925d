from __future__ import annotations

import copy
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from orchestrator.compression.capture import capture, total_macs, trace
from orchestrator.compression.checkpoint import load_checkpoint, read_tensors, save_checkpoint
from orchestrator.compression.data import Preprocessing, images_to_tensor
from orchestrator.compression.errors import DataError, PruningError, WeightError
from orchestrator.compression.evaluation import evaluate, evaluate_network
from orchestrator.compression.pipeline import compress
from orchestrator.compression.prune import Importance, Pruning, prune_channels
from orchestrator.compression.prune.curvature import measure_curvature
from orchestrator.compression.prune.dependencies import find_channels
from orchestrator.compression.prune.importance import ChannelImportance
from orchestrator.compression.prune.surgery import remove_channels, take_widths
from orchestrator.compression.recipe import Recipe
from orchestrator.compression.training.distillation import distill
from orchestrator.compression.training.learning import Learning
from orchestrator.datasets import Split, Splits
from tests.unit.compression.networks import SqueezeExcite, small_network
from tests.unit.compression.sequence_networks import NETWORKS

Trained = Callable[[str], nn.Module]
SHAPE = (1, 8, 8)


class HandWrittenSwish(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 16, 3, padding=1), nn.Conv2d(16, 16, 3, padding=1)
        self.head = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        for convolution in (self.first, self.second):
            x = convolution(x)
            x = x * torch.sigmoid(x)
        logits: Tensor = self.head(x.mean(dim=(2, 3)))
        return logits


class OverTime(nn.Module):
    """Rows as time; depthwise, then pointwise."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv1d(8, 16, 3, padding=1)
        self.norm = nn.BatchNorm1d(16)
        self.depthwise = nn.Conv1d(16, 32, 3, padding=1, groups=16)
        self.pointwise = nn.Conv1d(32, 24, 1)
        self.head = nn.Linear(24, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.depthwise(functional.relu(self.norm(self.first(x.squeeze(1))))))
        logits: Tensor = self.head(functional.relu(self.pointwise(x)).mean(dim=2))
        return logits


@pytest.mark.parametrize("fraction", [0.8, 0.5, 0.2])
def test_residual_concat_and_depthwise_layers_get_narrower_together(
    trained: Trained, digits: Splits, preprocessing: Preprocessing, fraction: float
) -> None:
    network = trained("residual")
    pruned = prune_channels(network, digits.train, preprocessing=preprocessing, macs_fraction=fraction, seed=1)
    assert total_macs(capture(pruned, SHAPE)) <= fraction * total_macs(capture(network, SHAPE))
    width = pruned.stem.out_channels
    assert width < 12
    assert pruned.inner.out_channels == pruned.inner.in_channels == width  # the addition ties them
    assert pruned.depthwise.groups == pruned.depthwise.out_channels == pruned.pointwise.in_channels == width
    assert pruned.stem_norm.num_features == width
    assert pruned.head.in_features == 16 * (pruned.pointwise.out_channels + pruned.branch.out_channels)
    assert network.stem.out_channels == 12  # the original is untouched


def test_a_pruned_network_comes_back_from_its_checkpoint(
    trained: Trained, digits: Splits, preprocessing: Preprocessing
) -> None:
    network = trained("residual")
    pruned = prune_channels(network, digits.train, preprocessing=preprocessing, macs_fraction=0.4, seed=1)
    checkpoint = save_checkpoint(pruned)
    again = copy.deepcopy(network)
    take_widths(again, read_tensors(checkpoint))
    load_checkpoint(again, checkpoint)
    assert again.depthwise.groups == again.depthwise.out_channels == pruned.stem.out_channels
    x = images_to_tensor(digits.choose.inputs[:20], preprocessing)
    assert torch.equal(again.eval()(x), pruned.eval()(x))
    with pytest.raises(PruningError, match="other parameters"):
        take_widths(small_network(), read_tensors(checkpoint))


def test_importance_of_the_answers_reads_no_labels_and_finds_what_labels_find(
    trained: Trained, digits: Splits, preprocessing: Preprocessing
) -> None:
    def narrower(split: Split, importance: Importance) -> nn.Module:
        return prune_channels(
            trained("residual"), split, preprocessing=preprocessing, macs_fraction=0.6, importance=importance, seed=1
        )

    unlabelled = Split(digits.train.inputs, np.zeros_like(digits.train.labels))
    blind, seeing = narrower(unlabelled, Importance.ANSWERS), narrower(digits.train, Importance.ANSWERS)
    assert blind.state_dict().keys() == seeing.state_dict().keys()
    assert all(torch.equal(seeing.state_dict()[name], tensor) for name, tensor in blind.state_dict().items())

    def accuracy(network: nn.Module) -> float:
        return evaluate_network(network, digits.choose, preprocessing=preprocessing).accuracy

    assert accuracy(blind) > accuracy(narrower(digits.train, Importance.LABELS)) - 0.1


def test_a_pruned_network_learns_back_what_it_lost(
    trained: Trained, digits: Splits, preprocessing: Preprocessing
) -> None:
    network = trained("residual")
    before = evaluate_network(network, digits.choose, preprocessing=preprocessing).accuracy
    pruned = prune_channels(network, digits.train, preprocessing=preprocessing, macs_fraction=0.4, seed=1)
    distill(pruned, network, digits.train, Learning(epochs=3, batch_size=64), preprocessing=preprocessing)
    assert evaluate_network(pruned, digits.choose, preprocessing=preprocessing).accuracy > before - 0.03


@pytest.mark.parametrize("fractions", [(0.5, 1.0), (1.0, 0.4), (0.6, 0.3)])
def test_multiplications_and_weights_have_budgets_of_their_own(
    trained: Trained, digits: Splits, preprocessing: Preprocessing, fractions: tuple[float, float]
) -> None:
    network = trained("residual")
    macs_fraction, weights_fraction = fractions
    pruned = prune_channels(
        network,
        digits.train,
        preprocessing=preprocessing,
        macs_fraction=macs_fraction,
        weights_fraction=weights_fraction,
    )

    def weights(of: nn.Module) -> int:
        return sum(parameter.numel() for parameter in of.parameters() if parameter.ndim > 1)

    macs = total_macs(capture(pruned, SHAPE)) / total_macs(capture(network, SHAPE)) / macs_fraction
    left = weights(pruned) / weights(network) / weights_fraction
    assert 0.75 < max(macs, left) <= 1  # no more goes than must: a channel of twelve is a large step


def test_pruning_and_four_bits_are_one_command(trained: Trained, digits: Splits, preprocessing: Preprocessing) -> None:
    network = trained("residual")
    before = evaluate_network(network, digits.choose, preprocessing=preprocessing).accuracy
    whole = compress(network, digits, Recipe(weight_bits=4), name="digits")
    pruning = Pruning(macs_fraction=0.5, learning=Learning(epochs=5, seed=1), seed=1)
    halved = compress(network, digits, Recipe(weight_bits=4), name="digits", prune=pruning)
    assert halved.size_bytes < 0.8 * whole.size_bytes
    assert evaluate(halved, digits.choose).accuracy > before - 0.05


def test_a_channel_that_nobody_uses_goes_without_changing_anything(
    trained: Trained, digits: Splits, preprocessing: Preprocessing
) -> None:
    network = trained("residual")
    with torch.no_grad():  # channel 3 of the residual stream: zero wherever it is read
        network.inner.weight[:, 3] = 0
        network.branch.weight[:, 3] = 0
        network.pointwise.weight[:, 3] = 0
    graph = trace(network, SHAPE)
    channels = find_channels(graph)
    curvature = measure_curvature(
        graph, digits.train, preprocessing=preprocessing, seed=0, importance=Importance.LABELS
    )
    importance = ChannelImportance(graph, channels, curvature)
    stream = channels.of_value[graph.nodes[0].output]
    assert importance.of(stream[3]) == 0.0
    assert min(importance.of(channel) for channel in stream if channel != stream[3]) > 0
    x = images_to_tensor(digits.choose.inputs[:20], preprocessing)
    with torch.no_grad():
        before = network.eval()(x)
        remove_channels(network, channels, {int(stream[3])})
        assert torch.allclose(network(x), before, atol=1e-5)
    assert network.stem.out_channels == 11


def test_a_layer_that_seems_useless_is_no_bottleneck_while_others_can_give(
    digits: Splits, preprocessing: Preprocessing
) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.ReLU(), nn.Conv2d(16, 10, 4))
    network.append(nn.Flatten())
    with torch.no_grad():
        network[4].weight[:, 3:] = 0  # all but three channels of the layer before are of no use
    pruned = prune_channels(network, digits.train, preprocessing=preprocessing, macs_fraction=0.3)
    assert pruned[2].out_channels == math.ceil(16 * 0.75 * math.sqrt(0.3))
    assert pruned[0].out_channels < 16


def test_grouped_convolutions_inputs_and_outputs_keep_their_width() -> None:
    network = nn.Sequential(nn.Conv2d(1, 8, 3), nn.Conv2d(8, 8, 3, groups=2), nn.Conv2d(8, 6, 1), nn.Conv2d(6, 10, 1))
    channels = find_channels(trace(network, SHAPE))
    names = [node.output for node in trace(network, SHAPE).nodes]
    for name in (names[0], names[1], names[3]):
        assert set(channels.of_value[name].tolist()) <= channels.fixed
    assert not set(channels.of_value[names[2]].tolist()) & channels.fixed


@pytest.mark.parametrize("linear", [False, True])
def test_a_gate_loses_the_channels_of_what_it_gates(linear: bool) -> None:
    torch.manual_seed(0)
    network, gone = SqueezeExcite(linear=linear).eval(), [2, 5, 11]
    graph = trace(network, SHAPE)
    channels = find_channels(graph)
    gated = channels.of_value[graph.nodes[0].output]
    zeroed, x = copy.deepcopy(network), torch.randn(5, *SHAPE)
    with torch.no_grad():
        for parameter in (zeroed.depthwise.weight, zeroed.depthwise.bias):
            parameter[gone] = 0
        remove_channels(network, channels, {int(gated[channel]) for channel in gone})
        assert torch.allclose(network(x), zeroed(x), atol=1e-6)
    widths = (network.expand.out_channels, network.depthwise.groups, len(network.excite.weight))
    assert widths == (13, 13, 13)
    assert network.squeeze.weight.shape[1] == network.project.in_channels == 13


@pytest.mark.parametrize(
    "make", [lambda: SqueezeExcite(linear=False), lambda: SqueezeExcite(linear=True), HandWrittenSwish, OverTime]
)
def test_products_and_convolutions_over_time_are_pruned_to_their_budget(
    digits: Splits, preprocessing: Preprocessing, make: Callable[[], nn.Module]
) -> None:
    torch.manual_seed(0)
    network = make().eval()
    pruned = prune_channels(network, digits.train, preprocessing=preprocessing, macs_fraction=0.3)
    before = total_macs(capture(network, SHAPE))
    assert 0.2 * before < total_macs(capture(pruned, SHAPE)) <= 0.3 * before
    again = make()
    take_widths(again, read_tensors(save_checkpoint(pruned)))
    x = images_to_tensor(digits.choose.inputs[:20], preprocessing)
    assert torch.equal(again.eval()(x), pruned.eval()(x))
    for layer, narrow in zip(pruned.modules(), again.modules(), strict=True):
        if isinstance(layer, nn.Conv1d | nn.Conv2d):
            assert layer.weight.shape[:2] == (layer.out_channels, layer.in_channels // layer.groups)
            assert (layer.in_channels, layer.groups) == (narrow.in_channels, narrow.groups)


def test_a_softmax_keeps_all_that_it_sums_over() -> None:
    network = nn.Sequential(nn.Conv2d(1, 8, 3), nn.Softmax(dim=1), nn.Conv2d(8, 6, 1), nn.Flatten(), nn.Linear(216, 10))
    channels = find_channels(trace(network, SHAPE))
    names = [node.output for node in trace(network, SHAPE).nodes]
    assert set(channels.of_value[names[0]].tolist()) <= channels.fixed
    assert not set(channels.of_value[names[2]].tolist()) & channels.fixed


def test_a_layer_used_twice_ties_both_of_its_uses_together() -> None:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Conv2d(1, 6, 3, padding=1)
            self.again = nn.Conv2d(6, 6, 3, padding=1)
            self.head = nn.Linear(6, 10)

        def forward(self, x: Tensor) -> Tensor:
            x = functional.relu(self.first(x))
            x = functional.relu(self.again(functional.relu(self.again(x))))
            logits: Tensor = self.head(x.mean(dim=(2, 3)))
            return logits

    network = Shared()
    channels = find_channels(trace(network, SHAPE))
    ids = channels.of_value[trace(network, SHAPE).nodes[0].output]
    remove_channels(network, channels, {int(ids[0]), int(ids[4])})
    assert network.again.weight.shape == (4, 4, 3, 3)
    assert network(torch.zeros(2, *SHAPE)).shape == (2, 10)


def test_impossible_budgets_and_hard_coded_widths_are_refused(digits: Splits, preprocessing: Preprocessing) -> None:
    class HardCoded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(1, 8, 3, padding=1)
            self.head = nn.Linear(512, 10)

        def forward(self, x: Tensor) -> Tensor:
            logits: Tensor = self.head(self.conv(x).view(-1, 512))
            return logits

    with pytest.raises(PruningError, match="macs_fraction must be"):
        prune_channels(small_network(), digits.train, preprocessing=preprocessing, macs_fraction=0.0)
    with pytest.raises(PruningError, match="layers keep"):
        prune_channels(small_network(), digits.train, preprocessing=preprocessing, macs_fraction=1e-4)
    lone = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    with pytest.raises(PruningError, match="but the input and the output keep theirs"):
        prune_channels(lone, digits.train, preprocessing=preprocessing, macs_fraction=0.5)
    with pytest.raises(PruningError, match="does not run with fewer channels"):
        prune_channels(HardCoded(), digits.train, preprocessing=preprocessing, macs_fraction=0.5)
    broken = small_network()
    nn.init.constant_(broken[0].weight, float("inf"))
    with pytest.raises(WeightError, match="not finite"):
        prune_channels(broken, digits.train, preprocessing=preprocessing, macs_fraction=0.5)


def test_a_budget_out_of_reach_says_which_operators_keep_which_layers(
    digits: Splits, preprocessing: Preprocessing
) -> None:
    with pytest.raises(PruningError, match=r"bmm_1 \(at .*\) needs all channels of first, second\.") as caught:
        prune_channels(NETWORKS["temporal"](), digits.train, preprocessing=preprocessing, macs_fraction=0.5)
    assert "layers keep" not in str(caught.value)
    with pytest.raises(PruningError, match=r"layers keep 12\.5%.*layer_norm.*all channels of embed, .* 2 more"):
        prune_channels(NETWORKS["transformer"](), digits.train, preprocessing=preprocessing, macs_fraction=0.1)


@pytest.mark.parametrize("label", [-100, -1, 10])
def test_labels_that_the_network_has_no_output_for_are_refused(
    digits: Splits, preprocessing: Preprocessing, label: int
) -> None:
    split = Split(digits.train.inputs, np.full_like(digits.train.labels, label))
    with pytest.raises(DataError, match=f"label {label} is none of the 10 classes|found {label}"):
        prune_channels(small_network(), split, preprocessing=preprocessing, macs_fraction=0.5)
    prune_channels(
        small_network(), split, preprocessing=preprocessing, macs_fraction=0.5, importance=Importance.ANSWERS
    )


def test_an_importance_that_is_not_finite_is_refused(digits: Splits, preprocessing: Preprocessing) -> None:
    network = small_network()
    with torch.no_grad():
        for index in (3, 6):
            network[index].weight.fill_(1e38)
    with pytest.raises(PruningError, match="importance of channels is not finite"):
        prune_channels(network, digits.train, preprocessing=preprocessing, macs_fraction=0.5)
