from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from orchestrator.compression.capture import capture, ir, total_macs
from orchestrator.compression.errors import CaptureError, WeightError
from tests.unit.compression.networks import EveryOperator, Residual, small_network


def captured_difference(network: nn.Module, shape: tuple[int, int, int] = (1, 8, 8)) -> float:
    x = torch.randn(4, *shape)
    with torch.no_grad():
        return float((capture(network, shape).run(x) - network.eval()(x)).abs().max())


@pytest.mark.parametrize("make", [small_network, Residual, EveryOperator])
def test_the_captured_graph_computes_what_the_network_does(make: type[nn.Module]) -> None:
    torch.manual_seed(0)
    assert captured_difference(make()) < 1e-5


def test_batch_norm_and_activations_disappear_into_the_layers_before_them() -> None:
    graph = capture(Residual(), (1, 8, 8))
    kinds = [type(node) for node in graph.nodes]
    assert ir.BatchNorm not in kinds
    assert ir.Clamp not in kinds
    assert kinds.count(ir.Conv) == 5
    add = next(node for node in graph.nodes if isinstance(node, ir.Add))
    assert (add.low, add.high) == (0.0, float("inf"))


def test_a_batch_norm_without_a_layer_before_it_becomes_a_depthwise_convolution() -> None:
    network = nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 1))
    assert captured_difference(network, (3, 5, 5)) < 1e-5
    first = capture(network, (3, 5, 5)).nodes[0]
    assert isinstance(first, ir.Conv)
    assert first.is_depthwise


def test_a_result_that_two_layers_read_keeps_its_clamp_apart() -> None:
    class Forked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(1, 2, 3)

        def forward(self, x: Tensor) -> Tensor:
            x = self.conv(x)
            return functional.relu(x) + x

    assert captured_difference(Forked()) < 1e-6
    assert any(isinstance(node, ir.Clamp) for node in capture(Forked(), (1, 8, 8)).nodes)


def test_an_activation_in_place_changes_what_earlier_names_mean() -> None:
    class InPlace(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(1, 2, 3)
            self.relu = nn.ReLU(inplace=True)

        def forward(self, x: Tensor) -> Tensor:
            y = self.conv(x)
            z = self.relu(y)
            y = y + functional.silu(z)
            y += z
            return y

    assert captured_difference(InPlace()) < 1e-6


def test_weights_may_be_computed_and_unread_branches_do_not_matter() -> None:
    class Standardised(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(3, 1, 3, 3))

        def forward(self, x: Tensor) -> Tensor:
            weight = self.weight - self.weight.mean(dim=(1, 2, 3), keepdim=True)
            y = functional.conv2d(x, weight)
            functional.max_pool2d(y, 2)
            return functional.relu(y)

    assert captured_difference(Standardised()) < 1e-5
    assert len(capture(Standardised(), (1, 8, 8)).nodes) == 1


def test_clamps_on_clamps_fuse_also_where_their_ranges_do_not_meet() -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Hardtanh(-0.2, 0.1), nn.Hardtanh(0.3, 0.5))
    assert captured_difference(network) < 1e-6
    assert len(capture(network, (1, 8, 8)).nodes) == 1


def test_multiplications_are_counted() -> None:
    network = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.Flatten(), nn.Linear(256, 10))
    assert total_macs(capture(network, (1, 8, 8))) == 4 * 9 * 64 + 2560


class Accumulates(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.cumsum(x, dim=1)  # this line is named


class Dilated(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3, dilation=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


@pytest.mark.parametrize(
    ("network", "why", "code"),
    [
        (Accumulates(), r"aten\.cumsum\.default is not supported", "return torch.cumsum(x, dim=1)"),
        (Dilated(), "dilation", "self.conv(x)"),
    ],
)
def test_what_cannot_be_captured_is_named_with_the_users_own_line(network: nn.Module, why: str, code: str) -> None:
    with pytest.raises(CaptureError, match=why) as caught:
        capture(network, (1, 8, 8))
    assert Path(__file__).name in caught.value.source
    assert code in caught.value.source


@pytest.mark.parametrize(
    ("network", "why"),
    [
        (nn.Sequential(nn.Conv2d(1, 2, 3), nn.LogSoftmax(dim=1)), "return the logits"),
        (nn.Sequential(nn.Conv2d(1, 2, 2), nn.MaxPool2d(2, stride=2, ceil_mode=True)), "ceil_mode"),
        (nn.Sequential(nn.AvgPool2d(3, 1, 1, count_include_pad=False)), "count_include_pad"),
        (nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2, track_running_stats=False)), "statistics"),
        (nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(0)), "keep samples apart"),
        (nn.Sequential(nn.Conv2d(3, 2, 3)), "torch.export cannot capture"),
        (nn.Identity(), "does not depend|input itself"),
    ],
)  # fmt: skip
def test_unsupported_settings_are_refused_by_name(network: nn.Module, why: str) -> None:
    with pytest.raises(CaptureError, match=why):
        capture(network, (1, 8, 8))


def test_weights_that_are_not_finite_are_named() -> None:
    network = small_network()
    with torch.no_grad():
        network[3].weight[0, 0, 0, 0] = float("nan")
    with pytest.raises(WeightError, match=r"3\.weight holds 1 value"):
        capture(network, (1, 8, 8))


def test_a_dead_layer_is_named() -> None:
    network = small_network()
    nn.init.zeros_(network[3].weight)
    with pytest.raises(WeightError, match="every weight is zero"):
        capture(network, (1, 8, 8))


def test_capturing_leaves_the_network_as_it_was() -> None:
    network = Residual().train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    capture(network, (1, 8, 8))
    assert network.training
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
