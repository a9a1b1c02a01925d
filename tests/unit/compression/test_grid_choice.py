"""A feature map gets the grid after which the network answers most like itself, not the one with the least error."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from orchestrator.compression.capture import capture
from orchestrator.compression.errors import WeightError
from orchestrator.compression.quantize.answers import Answers
from orchestrator.compression.quantize.choice import GridChoice
from orchestrator.compression.quantize.grid import QMAX, QMIN, Grid, all_grids, rival_grids, search_grid
from orchestrator.compression.quantize.sequential import quantize
from orchestrator.compression.recipe import Recipe, Scheme

Trained = Callable[[str], nn.Module]


class RareSignal(nn.Module):
    """Only the rare values in the tail of its input decide the answer."""

    def __init__(self) -> None:
        super().__init__()
        self.mix, self.threshold = nn.Conv2d(1, 4, 1), nn.Conv2d(4, 4, 1)
        self.head = nn.Linear(4 * 64, 2)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.zero_()
            self.mix.weight.fill_(1.0)
            self.threshold.weight.copy_(torch.eye(4).view(4, 4, 1, 1))
            self.threshold.bias[0] = -600.0
            self.head.weight[0, :64] = 0.01
            self.head.bias[1] = 1.0

    def forward(self, x: Tensor) -> Tensor:
        answers: Tensor = self.head(torch.flatten(torch.relu(self.threshold(self.mix(x))), 1))
        return answers


def long_tails(count: int) -> Tensor:
    return torch.randn(count, 1, 8, 8, generator=torch.Generator().manual_seed(0)) ** 5


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(-50, 50, width=32), min_size=2, max_size=200), st.sampled_from(Scheme))
def test_rivals_begin_with_the_least_squared_error_and_end_with_what_holds_everything(
    values: list[float], scheme: Scheme
) -> None:
    x = torch.tensor(values, dtype=torch.float64)
    if not bool((x.abs() > 1e-3).any()):
        return
    rivals = rival_grids(x, scheme, what="x")
    assert rivals[0] == search_grid(x, scheme, what="x")
    assert len(set(rivals)) == len(rivals)
    widest = rivals[-1]
    low, high = (float(widest.dequantize(torch.tensor(end))) for end in (QMIN, QMAX))
    slack = widest.scale  # the zero point is a whole number
    assert low - slack <= float(x.min())
    assert high + slack >= float(x.max())


@pytest.mark.parametrize("value", [0.0, float("nan"), float("inf")])
def test_a_map_without_a_range_has_no_grids(value: float) -> None:
    with pytest.raises(WeightError):
        rival_grids(torch.full((4,), value, dtype=torch.float64), Scheme.INTEGER, what="x")


def test_the_grid_that_keeps_the_answers_is_chosen_over_the_one_with_less_error() -> None:
    graph, samples = capture(RareSignal().eval(), (1, 8, 8)), long_tails(512)
    first = graph.nodes[0]
    intended = {graph.input: samples.to(torch.float64)}
    output = first.compute(intended[graph.input])
    rivals = rival_grids(output, Scheme.INTEGER, what="x")
    source = search_grid(samples, Scheme.INTEGER, what="x")
    real = {graph.input: source.quantize(samples.to(torch.float64))}
    chosen = GridChoice(graph, samples).best(first, rivals, real, {graph.input: source})
    answers = Answers(graph, samples)
    moved = {
        grid: answers.divergence(1, {first.output: grid.dequantize(grid.quantize(output)).to(torch.float32)})
        for grid in rivals
    }
    assert moved[chosen] < 0.5 * moved[rivals[0]]
    assert moved[chosen] == min(moved.values())


def test_behind_the_last_product_every_range_competes() -> None:
    graph, samples = capture(RareSignal().eval(), (1, 8, 8)), long_tails(64)
    choice, last = GridChoice(graph, samples), graph.nodes[-1]
    assert [choice.is_free_after(node) for node in graph.nodes] == [node is last for node in graph.nodes]
    logits = graph.run(samples)
    grids = all_grids(logits, Scheme.INTEGER, what="logits")
    assert grids[: len(rivals := rival_grids(logits, Scheme.INTEGER, what="logits"))] == rivals
    assert len(set(grids)) == len(grids) > len(rivals)


def test_the_last_map_takes_the_grid_with_the_nearest_answers_of_all() -> None:
    graph, samples = capture(RareSignal().eval(), (1, 8, 8)), long_tails(64)
    made, last = quantize(graph, samples, Recipe(equalize=False)), graph.nodes[-1]
    answers = Answers(graph, samples)
    real = {graph.input: made.grids[graph.input].quantize(samples.to(torch.float64))}
    for node in graph.nodes[:-1]:
        real[node.output] = made.plans[node.name].run(*(real[name] for name in node.inputs))
    before = {name: made.grids[name].dequantize(real[name]).to(torch.float32) for name in last.inputs}
    logits = answers.compute(len(graph.nodes) - 1, before).to(torch.float64)

    def divergence(grid: Grid) -> float:
        on_grid = grid.dequantize(grid.quantize(logits)).to(torch.float32)
        return answers.divergence(len(graph.nodes), {last.output: on_grid})

    everything = all_grids(graph.run(samples), Scheme.INTEGER, what="logits")
    assert divergence(made.grids[last.output]) == pytest.approx(min(map(divergence, everything)), rel=1e-3, abs=1e-9)


def test_answers_do_not_move_where_nothing_changes() -> None:
    graph, samples = capture(RareSignal().eval(), (1, 8, 8)), long_tails(16)
    answers = Answers(graph, samples)
    assert answers.divergence(0, {graph.input: samples}) == 0.0
    assert answers.divergence(0, {graph.input: samples + 1}) > 0.0
