"""What a relu behind an addition cuts off anyway takes no room on the grid of a map before it."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from orchestrator.compression.capture import capture, ir
from orchestrator.compression.quantize.grid import QMAX, QMIN
from orchestrator.compression.quantize.heard import heard_ranges
from orchestrator.compression.quantize.sequential import quantize
from orchestrator.compression.recipe import Recipe, Scheme

FAR_BELOW = -20.0


class Residual(nn.Module):
    """A branch that reaches far below what its addition lets through; `end` follows the addition."""

    def __init__(self, end: nn.Module, *, reads_branch_again: bool = False) -> None:
        super().__init__()
        self.near, self.far, self.head = nn.Conv2d(1, 4, 1), nn.Conv2d(1, 4, 1), nn.Linear(4, 3)
        self.end, self.reads_branch_again = end, reads_branch_again
        with torch.no_grad():
            self.far.weight.copy_(torch.tensor([FAR_BELOW, 1.0, -1.0, 0.5]).view(4, 1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        branch = self.far(x)
        y = self.end(torch.relu(self.near(x)) + branch)
        if self.reads_branch_again:
            y = y + branch
        answers: Tensor = self.head(y.mean(dim=(2, 3)))
        return answers


def network(end: nn.Module, *, reads_branch_again: bool = False) -> nn.Module:
    torch.manual_seed(0)
    return Residual(end, reads_branch_again=reads_branch_again).eval()


def images(count: int = 64) -> Tensor:
    return torch.rand(count, 1, 8, 8, generator=torch.Generator().manual_seed(0))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000), st.sampled_from([nn.ReLU(), nn.ReLU6(), nn.Hardtanh(-0.5, 0.25)]))
def test_what_is_not_heard_changes_no_sum(seed: int, end: nn.Module) -> None:
    graph, samples = (
        capture(network(end), (1, 8, 8)),
        torch.randn(8, 1, 8, 8, generator=torch.Generator().manual_seed(seed)),
    )
    maps = {node.output: output for node, output in graph.walk(samples)}
    heard = heard_ranges(graph, samples)
    (addition,) = (node for node in graph.nodes if any(name in heard for name in node.inputs))
    for name in addition.inputs:
        others = [maps[name].clamp(*heard[name]) if each == name else maps[each] for each in addition.inputs]
        assert torch.allclose(addition.compute(*others), maps[addition.output], atol=1e-5)  # ranges are in float32


@pytest.mark.parametrize("scheme", Scheme)
def test_the_branch_before_a_relu_gets_a_grid_for_what_passes_it(scheme: Scheme) -> None:
    def grid_end(end: nn.Module) -> tuple[float, float]:
        graph = capture(network(end), (1, 8, 8))
        (branch,) = (node for node in graph.nodes if isinstance(node, ir.Weighted) and node.weight_name == "far.weight")
        grid = quantize(graph, images(), Recipe(scheme=scheme, equalize=False)).grids[branch.output]
        low, high = (float(grid.dequantize(torch.tensor(q))) for q in (QMIN, QMAX))
        return low, high

    assert grid_end(nn.Identity())[0] < 0.5 * FAR_BELOW
    assert grid_end(nn.ReLU())[0] > 0.25 * FAR_BELOW


def test_a_map_that_somebody_else_reads_is_heard_whole() -> None:
    again = capture(network(nn.ReLU(), reads_branch_again=True), (1, 8, 8))
    once = capture(network(nn.ReLU()), (1, 8, 8))
    assert len(heard_ranges(once, images())) == 2
    assert len(heard_ranges(again, images())) == 1


def test_an_addition_without_a_clamp_hears_everything() -> None:
    assert heard_ranges(capture(network(nn.Identity()), (1, 8, 8)), images()) == {}


def test_only_the_side_that_is_cut_off_ends() -> None:
    heard = heard_ranges(capture(network(nn.ReLU()), (1, 8, 8)), images())
    for low, high in heard.values():
        assert -math.inf < low <= 0
        assert high == math.inf
