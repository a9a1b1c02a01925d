"""Convolutions are trained with channels last, where the network's own code can take it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from orchestrator.compression.data import Preprocessing
from orchestrator.compression.training.distillation import distill
from orchestrator.compression.training.layout import channels_last
from orchestrator.compression.training.learning import Learning
from orchestrator.datasets import Splits


class Flat(nn.Module):
    """Flattens a feature map by `view`, which knows torch's own order only, or by what takes any."""

    def __init__(self, *, by_view: bool) -> None:
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Linear(8 * 36, 10)
        self.by_view = by_view

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.conv(x.expand(-1, 3, -1, -1))))
        return self.head(x.view(len(x), -1) if self.by_view else x.flatten(1))


def is_channels_last(network: Flat) -> bool:
    return network.conv.weight.stride()[1] == 1


@pytest.mark.parametrize("by_view", [False, True])
def test_weights_are_in_that_order_only_within_and_only_where_the_code_takes_it(by_view: bool) -> None:
    network = Flat(by_view=by_view).train()
    with channels_last(network, torch.zeros(2, 1, 8, 8)):
        assert is_channels_last(network) is not by_view
        assert network.training
    assert not is_channels_last(network)
    assert network.norm.num_batches_tracked == 0  # nothing was learned from the samples it was tried on


def test_a_training_that_fails_leaves_torchs_order() -> None:
    network = Flat(by_view=False)
    with pytest.raises(ZeroDivisionError), channels_last(network, torch.zeros(2, 1, 8, 8)):
        1 / 0  # noqa: B018
    assert not is_channels_last(network)


def test_the_order_changes_what_is_learned_by_rounding_only(digits: Splits, preprocessing: Preprocessing) -> None:
    answers = []
    for by_view in (False, True):
        torch.manual_seed(3)
        teacher, student = Flat(by_view=by_view).eval(), Flat(by_view=by_view)
        distill(student, teacher, digits.train, Learning(epochs=1, learning_rate=0.01), preprocessing=preprocessing)
        answers.append(student(torch.linspace(-1, 1, 640).view(10, 1, 8, 8)))
    assert torch.allclose(*answers, atol=0.01)
