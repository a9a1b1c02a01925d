from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from edge_agent.runtime import available_paths, parse_model
from orchestrator.compression.capture import capture
from orchestrator.compression.data import Preprocessing, images_to_tensor
from orchestrator.compression.errors import BudgetError
from orchestrator.compression.evaluation import evaluate, evaluate_network
from orchestrator.compression.pipeline import build, compress
from orchestrator.compression.quantize import allocation
from orchestrator.compression.quantize.allocation import Option, allocate
from orchestrator.compression.quantize.mixed import mean_bits, with_bits
from orchestrator.compression.quantize.network import quantize_network
from orchestrator.compression.quantize.rounding import aimed_at, damped
from orchestrator.compression.quantize.sensitivity import LayerSensitivity, measure_sensitivity
from orchestrator.compression.recipe import QuantizedTraining, Recipe, Scheme
from orchestrator.datasets import Splits

Trained = Callable[[str], nn.Module]

OPTIONS = st.lists(
    st.builds(Option, st.sampled_from([2, 3, 4, 6, 8]), st.integers(0, 40), st.integers(0, 50).map(float)),
    min_size=1,
    max_size=4,
)
LAYERS = st.lists(OPTIONS, min_size=1, max_size=5)


@settings(max_examples=300, deadline=None)
@given(LAYERS, st.integers(0, 160))
def test_the_allocation_is_the_best_of_all_that_fit(layers: list[list[Option]], budget: int) -> None:
    """Costs are whole numbers here, so that equal sums are equal."""
    fitting = [c for c in itertools.product(*layers) if sum(option.size for option in c) <= budget]
    if not fitting:
        least = sum(min(option.size for option in options) for options in layers)
        with pytest.raises(BudgetError) as caught:
            allocate(layers, budget)
        assert caught.value.least == least > budget
        return
    found = allocate(layers, budget)
    assert all(option in options for option, options in zip(found.options, layers, strict=True))
    best = min((sum(o.cost for o in c), sum(o.size for o in c)) for c in fitting)
    assert (found.cost, found.size) == best


@settings(max_examples=50, deadline=None)
@given(LAYERS, st.integers(0, 160), st.integers(1, 60))
def test_a_larger_budget_never_costs_more(layers: list[list[Option]], budget: int, more: int) -> None:
    least = sum(min(option.size for option in options) for options in layers)
    small = allocate(layers, least + budget)
    assert allocate(layers, least + budget + more).cost <= small.cost


@settings(max_examples=50, deadline=None)
@given(LAYERS, st.integers(0, 160))
def test_a_front_that_is_cut_short_still_keeps_the_budget(layers: list[list[Option]], slack: int) -> None:
    least = sum(min(option.size for option in options) for options in layers)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(allocation, "_MAX_STATES", 2)
        assert allocate(layers, least + slack).size <= least + slack


def test_more_bits_never_diverge_more_by_much_and_the_float_network_is_nearly_kept_at_eight(
    trained: Trained, digits: Splits, preprocessing: Preprocessing
) -> None:
    samples = images_to_tensor(digits.calibrate.inputs, preprocessing)
    layers = measure_sensitivity(capture(trained("residual"), (1, 8, 8)), samples, Recipe())
    assert [layer.operator for layer in layers] == ["stem", "inner", "depthwise", "pointwise", "branch", "head"]
    assert [layer.depthwise for layer in layers] == [False, False, True, False, False, False]
    for layer in layers:
        assert layer.divergence[8] < 1e-3
        assert layer.divergence[2] > 3 * layer.divergence[4] > 0
    assert layers[2].weights == 12 * 9
    assert layers[2].packed_bytes(3) == 12 * 4


@pytest.mark.parametrize("scheme", list(Scheme))
def test_a_mean_of_three_and_a_half_bits_keeps_accuracy_and_runs_as_it_was_simulated(
    trained: Trained, digits: Splits, preprocessing: Preprocessing, scheme: Scheme
) -> None:
    network = trained("residual")
    recipe = Recipe(scheme=scheme, mean_bits=3.5)
    quantized = quantize_network(network, digits.calibrate, recipe, preprocessing=preprocessing)
    artifact = build(quantized, digits.calibrate, name="digits", preprocessing=preprocessing, labels=digits.labels)
    graph = parse_model(artifact.model)
    weights = [tensor for tensor in graph.tensors if tensor.name.endswith(".weight")]
    bits = {tensor.name.removesuffix(".weight"): tensor.bits or 8 for tensor in weights}
    assert bits == dict(quantized.recipe.layer_bits)
    assert len(set(bits.values())) > 1
    counts = {tensor.name.removesuffix(".weight"): int(np.prod(tensor.shape)) for tensor in weights}
    assert sum(bits[name] * count for name, count in counts.items()) <= 3.5 * sum(counts.values())
    simulated = quantized.run(images_to_tensor(digits.choose.inputs, preprocessing)).numpy()
    for path in available_paths():
        raw = artifact.load(path=path).infer_batch(digits.choose.inputs.tobytes(), raw=True)
        assert np.array_equal(np.frombuffer(raw, np.int8).reshape(simulated.shape), simulated), path
    fp32 = evaluate_network(network, digits.certify, preprocessing=preprocessing).accuracy
    assert evaluate(artifact, digits.certify).accuracy > fp32 - 0.02


def test_the_stored_recipe_names_the_bits_and_makes_the_same_model_without_choosing_again(
    trained: Trained, digits: Splits
) -> None:
    chosen = compress(trained("small"), digits, Recipe(weight_bytes=1500), name="digits")
    assert chosen.recipe is not None
    assert chosen.recipe.layer_bits
    again = compress(trained("small"), digits, Recipe.from_json(chosen.recipe.to_json()), name="digits")
    assert again.model == chosen.model


def layer(name: str, *, depthwise: bool = False, rows: int = 4, row_weights: int = 9) -> LayerSensitivity:
    return LayerSensitivity(
        operator=name,
        rows=rows,
        row_weights=row_weights,
        divergence={bits: 4.0**-bits for bits in (8, 6, 4, 3, 2)},
        depthwise=depthwise,
    )


def test_two_bits_are_for_depthwise_layers_only_where_they_are_trained() -> None:
    layers = [layer("wide", rows=8), layer("deep", depthwise=True)]
    with pytest.raises(BudgetError, match=r"nearest that can is 2\.34"):
        with_bits(Recipe(mean_bits=2.0), layers)
    trained_recipe = with_bits(Recipe(mean_bits=2.0, training=QuantizedTraining()), layers)
    assert dict(trained_recipe.layer_bits) == {"wide": 2, "deep": 2}
    untrained = with_bits(Recipe(mean_bits=2.5), layers)
    assert untrained.bits_of("deep") == 3
    assert mean_bits(untrained, layers) <= 2.5


def test_bytes_that_nothing_fits_into_are_refused_with_what_would_do() -> None:
    with pytest.raises(BudgetError, match=r"weight_bytes 5 .* is 12"):
        with_bits(Recipe(weight_bytes=5), [layer("only")])


def test_weights_that_aim_at_the_intended_output_of_drifted_inputs_come_nearer_to_it() -> None:
    torch.manual_seed(0)
    intended = torch.randn(500, 12, dtype=torch.float64) @ torch.randn(12, 12, dtype=torch.float64)
    drifted = 0.9 * intended + 0.1 * intended.roll(1, dims=1)
    weight = torch.randn(1, 5, 12, dtype=torch.float64)
    hessian = damped((drifted.mT @ drifted / 500).unsqueeze(0))
    aimed = aimed_at(weight, ((intended - drifted).mT @ drifted / 500).unsqueeze(0), hessian)
    errors = [float(((drifted @ w[0].mT - intended @ weight[0].mT) ** 2).mean()) for w in (aimed, weight)]
    assert errors[0] < 0.05 * errors[1]
