from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from orchestrator.compression.capture import capture, ir
from orchestrator.compression.data import Preprocessing, images_to_tensor
from orchestrator.compression.quantize import QuantizedGraph, adaround, quantize
from orchestrator.compression.quantize.adaround import learn_rounding
from orchestrator.compression.quantize.plan import WeightedPlan
from orchestrator.compression.quantize.weights import IntegerWeights, weight_range
from orchestrator.compression.recipe import Effort, Recipe, Rounding, Scheme
from orchestrator.datasets import Splits

Trained = Callable[[str], nn.Module]


def relu_layer(seed: int) -> tuple[ir.Conv, Tensor]:
    """A convolution with relu, and inputs whose channels are strongly correlated."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(64, 6, 8, 8, generator=generator, dtype=torch.float64)
    x = (x + 2 * x.mean(dim=1, keepdim=True)).clamp(min=0)
    weight = torch.randn(8, 6, 3, 3, generator=generator, dtype=torch.float64)
    bias = torch.zeros(8, dtype=torch.float64)
    node = ir.Conv(
        name="conv", inputs=["x"], output="y", weight=weight, bias=bias, low=0.0,
        stride=(1, 1), padding=(1, 1, 1, 1), groups=1,
    )  # fmt: skip
    return node, x


def nearest(node: ir.Weighted, bits: int) -> IntegerWeights:
    low, high = weight_range(bits)
    scale = node.weight.abs().flatten(1).amax(dim=1) / high
    integers = torch.round(node.weight / scale.view(-1, 1, 1, 1)).clamp(low, high)
    return IntegerWeights(integers.numpy().astype(np.int64), scale.numpy())


def output_error(node: ir.Weighted, integers: IntegerWeights, x: Tensor) -> float:
    """After the clamp, the mean before it brought back, as bias correction does."""
    wanted = node.accumulate(x, node.weight, node.bias)
    found = node.accumulate(x, integers.dequantize(), None)
    found = found + (wanted - found).mean(dim=(0, 2, 3), keepdim=True)
    return float((node.clamp(found) - node.clamp(wanted)).square().mean())


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_learned_rounding_leaves_less_error_than_the_nearest_points_on_inputs_it_never_saw(seed: int) -> None:
    node, x = relu_layer(seed)
    start = nearest(node, 3)
    learned = learn_rounding(node, start, x[:48], x[:48], 3)
    assert np.array_equal(learned.scales, start.scales)
    assert np.abs(learned.weight - start.weight).max() == 1
    assert output_error(node, learned, x[48:]) < 0.95 * output_error(node, start, x[48:])


def test_rows_that_are_right_already_stay_as_they_are() -> None:
    node, x = relu_layer(3)
    exact = nearest(node, 4)
    node.weight = exact.dequantize()
    assert np.array_equal(learn_rounding(node, exact, x, x, 4).weight, exact.weight)


def test_learned_integers_stay_within_their_bits() -> None:
    node, x = relu_layer(4)
    for bits in (2, 4):
        learned = learn_rounding(node, nearest(node, bits), x, x, bits)
        low, high = weight_range(bits)
        assert low <= learned.weight.min() <= learned.weight.max() <= high


@pytest.mark.parametrize("scheme", list(Scheme))
def test_high_effort_brings_the_answers_nearer_to_the_float_network(
    trained: Trained, digits: Splits, preprocessing: Preprocessing, scheme: Scheme, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against the nearest points, which leave it the most to learn; a short run is enough to see it."""
    monkeypatch.setattr(adaround, "_STEPS", 250)
    samples = images_to_tensor(digits.calibrate.inputs, preprocessing)
    others = images_to_tensor(digits.train.inputs[:300], preprocessing)
    errors = {}
    for effort in Effort:
        graph = capture(trained("small"), (1, 8, 8))
        recipe = Recipe(scheme=scheme, weight_bits=2, rounding=Rounding.NEAREST, effort=effort, equalize=False)
        quantized = quantize(graph, samples, recipe)
        output = quantized.grids[graph.output].dequantize(quantized.run(others))
        errors[effort] = float((output - graph.run(others)).square().mean())
    assert errors[Effort.HIGH] < errors[Effort.NORMAL]


def test_layers_below_the_threshold_are_left_alone(
    trained: Trained, digits: Splits, preprocessing: Preprocessing, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = images_to_tensor(digits.calibrate.inputs, preprocessing)

    def weights(threshold: float) -> list[np.ndarray]:
        monkeypatch.setattr(adaround, "_STEPS", 250)
        monkeypatch.setattr("orchestrator.compression.quantize.sequential.ERROR_THRESHOLD", threshold)
        recipe = Recipe(weight_bits=2, rounding=Rounding.NEAREST, effort=Effort.HIGH)
        found: QuantizedGraph = quantize(capture(trained("small"), (1, 8, 8)), samples, recipe)
        return [plan.weight for plan in found.plans.values() if isinstance(plan, WeightedPlan)]

    untouched, learned = weights(1.0), weights(0.0)
    assert any(not np.array_equal(a, b) for a, b in zip(untouched, learned, strict=True))
    normal = quantize(capture(trained("small"), (1, 8, 8)), samples, Recipe(weight_bits=2, rounding=Rounding.NEAREST))
    plain = [plan.weight for plan in normal.plans.values() if isinstance(plan, WeightedPlan)]
    assert all(np.array_equal(a, b) for a, b in zip(untouched, plain, strict=True))
