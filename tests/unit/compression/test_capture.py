from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from orchestrator.compression.capture import capture, ir, total_macs
from orchestrator.compression.capture.operators import OPERATORS
from orchestrator.compression.errors import CaptureError, WeightError
from tests.unit.compression.networks import EveryOperator, PlainShortcut, Residual, small_network


def captured_difference(network: nn.Module, shape: tuple[int, int, int] = (1, 8, 8)) -> float:
    x = torch.randn(4, *shape)
    with torch.no_grad():
        return float((capture(network, shape).run(x) - network.eval()(x)).abs().max())


@pytest.mark.parametrize("make", [small_network, Residual, EveryOperator, PlainShortcut])
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


class Overwriting(nn.Module):
    """Another reading of what a convolution made, then relu in place, then both."""

    def __init__(self, read: Callable[[Tensor], Tensor], *, relu: Callable[[Tensor], Tensor] = torch.relu_) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4)
        self.read, self.relu = read, relu

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.conv(x))
        before = self.read(y)
        self.relu(y)
        return torch.cat([y, before], dim=1)


@pytest.mark.parametrize(
    "read",
    [
        lambda y: y,
        lambda y: y.clone(),
        lambda y: y.contiguous(),
        lambda y: y.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2),
        lambda y: y.flatten(2).unflatten(2, (6, 6)),
        lambda y: y[:, :2],
        lambda y: y.clone()[:, :2],
        lambda y: y.transpose(2, 3),
        lambda y: y.transpose(2, 3).reshape(-1, 4, 36).unflatten(2, (6, 6)),
    ],
)
def test_what_is_changed_in_place_changes_in_its_views_and_not_in_its_copies(read: Callable[[Tensor], Tensor]) -> None:
    torch.manual_seed(0)
    assert captured_difference(Overwriting(read)) < 1e-6


def test_changing_part_of_a_feature_map_in_place_is_refused() -> None:
    network = Overwriting(torch.clone, relu=lambda y: torch.relu_(y[:, :2]))
    with pytest.raises(CaptureError, match="overwrites part of a feature map in place"):
        capture(network, (1, 8, 8))


def test_a_network_may_overwrite_its_input_but_no_buffer() -> None:
    class Subtracts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(1, 2, 3)

        def forward(self, x: Tensor) -> Tensor:
            x -= 0.5
            return self.conv(x)

    class Counts(Subtracts):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("calls", torch.zeros(()))

        def forward(self, x: Tensor) -> Tensor:
            self.calls += 1
            return self.conv(x)

    network, x = Subtracts(), torch.randn(4, 1, 8, 8)
    with torch.no_grad():
        assert torch.allclose(capture(network, (1, 8, 8)).run(x), network(x.clone()).double(), atol=1e-6)
    with pytest.raises(CaptureError, match="changes its buffer calls"):
        capture(Counts(), (1, 8, 8))


def test_a_graph_that_computes_something_else_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(OPERATORS, "aten.relu.default", OPERATORS["aten.relu6.default"])
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU())
    capture(network, (1, 8, 8))
    with torch.no_grad():
        network[0].weight *= 100
    with pytest.raises(CaptureError, match="does not compute what Sequential does"):
        capture(network, (1, 8, 8))


class Standardising(nn.Module):
    """Normalises its images itself, and takes one feature map from another."""

    def __init__(self, mean: float | Tensor, deviation: float | Tensor) -> None:
        super().__init__()
        self.conv, self.other = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 3)
        self.mean, self.deviation = mean, deviation

    def forward(self, x: Tensor) -> Tensor:
        x = (x - self.mean) / self.deviation
        return (1 - torch.sigmoid(self.conv(x))) - functional.relu(self.other(x))


@pytest.mark.parametrize("mean", [0.4, torch.tensor([0.4, 0.5, 0.6]).view(1, 3, 1, 1)])
def test_differences_are_sums_with_the_negative(mean: float | Tensor) -> None:
    assert captured_difference(Standardising(mean, mean), (3, 8, 8)) < 1e-5


def test_a_negated_layer_disappears_into_its_weights() -> None:
    class Difference(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Conv2d(1, 2, 3), nn.Conv2d(1, 2, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.first(x) - self.second(x)

    assert captured_difference(Difference()) < 1e-6
    assert [type(node) for node in capture(Difference(), (1, 8, 8)).nodes] == [ir.Conv, ir.Conv, ir.Add]


def test_adaptive_max_pooling_is_a_window() -> None:
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.AdaptiveMaxPool2d(2), nn.Flatten(), nn.Linear(16, 3))
    assert captured_difference(network) < 1e-6


def test_zeros_around_an_image_become_those_of_the_convolutions_that_read_it() -> None:
    network = nn.Sequential(nn.ZeroPad2d((0, 1, 2, 1)), nn.Conv2d(1, 4, 3, stride=2, padding=1))
    assert captured_difference(network) < 1e-6
    (conv,) = capture(network, (1, 8, 8)).nodes
    assert isinstance(conv, ir.Conv)
    assert conv.padding == (3, 2, 1, 2)


def test_zeros_that_something_else_reads_are_made_by_a_depthwise_convolution() -> None:
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ConstantPad2d((1, 0, 1, 0), 0.0), nn.MaxPool2d(2))
    assert captured_difference(network) < 1e-6
    kinds = [type(node) for node in capture(network, (1, 8, 8)).nodes]
    assert kinds == [ir.Conv, ir.Conv, ir.MaxPool]


def test_a_border_that_no_maximum_is_in_becomes_that_of_the_pooling_window() -> None:
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ConstantPad2d((0, 1, 0, 1), -math.inf), nn.MaxPool2d(3, 2))
    assert captured_difference(network) < 1e-6
    _, pool = capture(network, (1, 8, 8)).nodes
    assert isinstance(pool, ir.MaxPool)
    assert pool.padding == (0, 1, 0, 1)


def dense(*after: nn.Module) -> nn.Sequential:
    norm = nn.BatchNorm1d(6)
    nn.init.uniform_(norm.running_mean)
    nn.init.uniform_(norm.running_var, 0.5, 2.0)
    nn.init.uniform_(norm.weight, -1.0, 1.0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 6), nn.ReLU(), norm, *after)


def test_a_batch_norm_after_an_activation_goes_into_the_linear_layer_after_it() -> None:
    network = dense(nn.Dropout(), nn.Linear(6, 3), nn.BatchNorm1d(3))
    assert captured_difference(network) < 1e-5
    assert [type(node) for node in capture(network, (1, 8, 8)).nodes] == [ir.Flatten, ir.Linear, ir.Linear]


@pytest.mark.parametrize("after", [[], [nn.ReLU(), nn.Linear(6, 3)]])
def test_where_no_linear_layer_follows_a_flat_batch_norm_is_a_product_and_a_sum(after: list[nn.Module]) -> None:
    network = dense(*after)
    assert captured_difference(network) < 1e-5
    kinds = [type(node) for node in capture(network, (1, 8, 8)).nodes]
    assert kinds[2:6] == [ir.Constant, ir.Multiply, ir.Constant, ir.Add]
    assert ir.Clamp not in kinds


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


class Branches(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        if x.sum() > 0:
            return torch.relu(x)
        return torch.sigmoid(x)


class Dilated(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3, dilation=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


@pytest.mark.parametrize(
    ("network", "why", "code"),
    [
        (Branches(), "torch.export cannot capture", "if x.sum() > 0:"),
        (Accumulates(), r"aten\.cumsum\.default is not supported", "return torch.cumsum(x, dim=1)"),
        (Dilated(), "dilation", "self.conv(x)"),
    ],
)
def test_what_cannot_be_captured_is_named_with_the_users_own_line(network: nn.Module, why: str, code: str) -> None:
    with pytest.raises(CaptureError, match=why) as caught:
        capture(network, (1, 8, 8))
    assert Path(__file__).name in caught.value.source
    assert code in caught.value.source


def test_what_torchs_own_modules_do_is_named_by_their_path() -> None:
    features = nn.Sequential(nn.Conv2d(1, 2, 3), nn.PReLU())
    with pytest.raises(CaptureError, match=r"at module 'features\.1' \(PReLU\)"):
        capture(nn.Sequential(OrderedDict(features=features)), (1, 8, 8))
    with pytest.raises(CaptureError, match=r"at PReLU\)"):
        capture(nn.PReLU(), (1, 8, 8))


class AlwaysDrops(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(functional.dropout(x, 0.5))


class Named(nn.Module):
    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"logits": torch.relu(x)}


class WhereIsTheLargest(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        largest, places = functional.adaptive_max_pool2d(x, 1, return_indices=True)
        return largest * places


@pytest.mark.parametrize(
    ("network", "why"),
    [
        (AlwaysDrops(), "pass training=self.training"),
        (Named(), "this one returns a dict"),
        (WhereIsTheLargest(), "result 1 that devices do not compute"),
        (nn.Sequential(nn.Conv2d(1, 2, 3), nn.LogSoftmax(dim=1)), "return the logits"),
        (nn.Sequential(nn.Conv2d(1, 2, 2), nn.MaxPool2d(2, stride=2, ceil_mode=True)), "ceil_mode"),
        (nn.Sequential(nn.AvgPool2d(3, 1, 1, count_include_pad=False)), "count_include_pad"),
        (nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2, track_running_stats=False)), "statistics"),
        (nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(0)), "keep samples apart"),
        (nn.Sequential(nn.Conv2d(3, 2, 3)), "torch.export cannot capture"),
        (nn.Sequential(nn.ReflectionPad2d(1), nn.Conv2d(1, 2, 3)), "something else than zeros"),
        (nn.Sequential(nn.ZeroPad2d(-1), nn.Conv2d(1, 2, 3)), "cuts the borders off"),
        (nn.Sequential(nn.ConstantPad2d(1, -math.inf), nn.Conv2d(1, 2, 3)), "for max pooling alone"),
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
    assert all(module.training for module in network.modules())
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())


def test_capturing_leaves_a_frozen_batch_norm_frozen() -> None:
    network = small_network().train()
    network[1].eval()
    capture(network, (1, 8, 8))
    assert [module.training for module in network[:3]] == [True, False, True]


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_a_network_of_another_precision_is_captured(dtype: torch.dtype) -> None:
    network = nn.Sequential(nn.Conv2d(1, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU())
    capture(network.to(dtype), (1, 8, 8))
