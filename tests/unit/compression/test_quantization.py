from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from edge_agent.runtime import available_paths, check_golden, parse_model
from edge_agent.runtime.tensors import decode_tensors
from orchestrator.compression.artifact import Artifact
from orchestrator.compression.capture import capture
from orchestrator.compression.data import Preprocessing, images_to_tensor
from orchestrator.compression.errors import CaptureError, DataError, QuantizationError, RecipeError, WeightError
from orchestrator.compression.evaluation import evaluate, evaluate_network
from orchestrator.compression.lower.tensors import pack
from orchestrator.compression.pipeline import build, compress
from orchestrator.compression.prune import prune_channels
from orchestrator.compression.quantize import QuantizedGraph, quantize
from orchestrator.compression.quantize.grid import Grid, grid_for_range, search_grid
from orchestrator.compression.quantize.network import quantize_network
from orchestrator.compression.quantize.rounding import damped, round_compensated, round_nearest, squared_error
from orchestrator.compression.recipe import Recipe, Rounding, Scheme
from orchestrator.datasets import Split, Splits
from tests.unit.compression.networks import EveryOperator, PlainShortcut, small_network

Trained = Callable[[str], nn.Module]

CANDIDATES = {
    "int8": Recipe(),
    "pow2-w8": Recipe(scheme=Scheme.POWER_OF_TWO),
    "pow2-w4": Recipe(scheme=Scheme.POWER_OF_TWO, weight_bits=4),
    "int-w3": Recipe(weight_bits=3),
}


def engine_outputs(artifact: Artifact, inputs: np.ndarray, path: str) -> np.ndarray:
    output = np.frombuffer(artifact.load(path=path).infer_batch(inputs.tobytes(), raw=True), np.int8)
    return output.reshape(len(inputs), -1)


@pytest.mark.parametrize("name", sorted(CANDIDATES))
def test_a_candidate_keeps_its_accuracy_and_the_engine_gives_what_torch_simulated(
    trained: Trained, digits: Splits, preprocessing: Preprocessing, name: str
) -> None:
    """To the last bit, on every engine path: what is measured in the cloud is what runs on the device."""
    network = trained("residual")
    quantized = quantize_network(network, digits.calibrate, CANDIDATES[name], preprocessing=preprocessing)
    artifact = build(quantized, digits.calibrate, name="digits", preprocessing=preprocessing, labels=digits.labels)
    simulated = quantized.run(images_to_tensor(digits.certify.inputs, preprocessing)).numpy()
    for path in available_paths():
        assert np.array_equal(engine_outputs(artifact, digits.certify.inputs, path), simulated), path
    fp32 = evaluate_network(network, digits.certify, preprocessing=preprocessing).accuracy
    assert evaluate(artifact, digits.certify).accuracy > fp32 - 0.025


def test_the_pruned_candidate_is_smaller_and_agrees_with_its_simulation_too(
    trained: Trained, digits: Splits, preprocessing: Preprocessing
) -> None:
    network = trained("residual")
    pruned = prune_channels(network, digits.train, preprocessing=preprocessing, macs_fraction=0.5)
    whole = compress(network, digits, Recipe(), name="digits")
    quantized = quantize_network(pruned, digits.calibrate, Recipe(), preprocessing=preprocessing)
    artifact = build(quantized, digits.calibrate, name="digits", preprocessing=preprocessing, labels=digits.labels)
    simulated = quantized.run(images_to_tensor(digits.choose.inputs, preprocessing)).numpy()
    assert np.array_equal(engine_outputs(artifact, digits.choose.inputs, "reference"), simulated)
    assert artifact.size_bytes < 0.8 * whole.size_bytes


def quantized_as_simulated(
    network: nn.Module, digits: Splits, preprocessing: Preprocessing, scheme: Scheme
) -> tuple[QuantizedGraph, torch.Tensor]:
    """An untrained network, quantized, and how far its answers are off; the engine gives just what is simulated."""
    quantized = quantize_network(network, digits.calibrate, Recipe(scheme=scheme), preprocessing=preprocessing)
    artifact = build(quantized, digits.calibrate, name="all", preprocessing=preprocessing, labels=digits.labels)
    images = images_to_tensor(digits.choose.inputs, preprocessing)
    simulated = quantized.run(images)
    assert np.array_equal(engine_outputs(artifact, digits.choose.inputs, "reference"), simulated.numpy())
    with torch.no_grad():
        wanted = network.eval()(images)
    return quantized, (quantized.grids[quantized.graph.output].dequantize(simulated) - wanted).abs()


@pytest.mark.parametrize("scheme", list(Scheme))
def test_every_operator_agrees_with_its_simulation(
    digits: Splits, preprocessing: Preprocessing, scheme: Scheme
) -> None:
    torch.manual_seed(3)
    quantized, off = quantized_as_simulated(EveryOperator(), digits, preprocessing, scheme)
    assert len({type(plan) for plan in quantized.plans.values()}) == 9
    assert float(off.max()) < 0.05  # of a probability


@pytest.mark.parametrize("scheme", list(Scheme))
def test_channels_of_zeros_and_pixels_that_are_left_out_agree_with_their_simulation(
    digits: Splits, preprocessing: Preprocessing, scheme: Scheme
) -> None:
    torch.manual_seed(3)
    _, off = quantized_as_simulated(PlainShortcut(), digits, preprocessing, scheme)
    assert float(off.mean()) < 0.006  # of logits up to 0.57


@pytest.mark.parametrize("scheme", list(Scheme))
@pytest.mark.parametrize("bits", [8, 6, 4, 3, 2])
def test_weights_take_the_bits_they_say_and_stand_on_their_grid(
    trained: Trained, digits: Splits, scheme: Scheme, bits: int
) -> None:
    recipe = Recipe(scheme=scheme, weight_bits=bits)
    artifact = compress(trained("small"), digits, recipe, name="digits", max_accuracy_drop=None)
    graph = parse_model(artifact.model)
    payloads = [t.data if isinstance(t.data, bytes) else artifact.blobs[t.data.sha256] for t in graph.tensors]
    decoded = decode_tensors(graph, payloads)
    for tensor, values in zip(graph.tensors, decoded, strict=True):
        if tensor.name.endswith("weight"):
            assert tensor.bits == (0 if bits == 8 else bits)
            assert values.min() >= (-127 if bits == 8 else -(1 << bits - 1))
            assert values.max() <= (1 << bits - 1) - 1
    if scheme is Scheme.POWER_OF_TWO:
        assert all(np.log2(activation.scale) % 1 == 0 for activation in graph.activations)
        assert not any(tensor.name.endswith("multiplier") for tensor in graph.tensors)


def test_golden_vectors_hold_on_every_path_and_saturate_the_input(trained: Trained, digits: Splits) -> None:
    artifact = compress(trained("residual"), digits, Recipe(), name="digits")
    for path in available_paths():
        check_golden(artifact.load(path=path), artifact.golden)
    assert artifact.size_bytes == len(artifact.model) + sum(
        len(blob) for blob in artifact.blobs.values() if blob != artifact.golden
    )


def test_the_same_network_data_and_recipe_give_the_same_bytes(trained: Trained, digits: Splits) -> None:
    recipe = CANDIDATES["pow2-w4"]
    first, second = (compress(trained("residual"), digits, recipe, name="digits") for _ in range(2))
    assert first.model == second.model
    assert first.digest == second.digest
    assert first.blobs == second.blobs


def test_compression_reads_neither_labels_nor_any_split_but_calibrate(trained: Trained, digits: Splits) -> None:
    empty = Split(np.empty((0, 8, 8, 1), np.uint8), np.empty(0, np.int64))
    calibrate = Split(digits.calibrate.inputs, np.zeros(len(digits.calibrate), np.int64))
    blind = Splits(
        train=empty, calibrate=calibrate, choose=empty, certify=empty,
        labels=digits.labels, mean=digits.mean, std=digits.std,
    )  # fmt: skip
    seen = compress(trained("small"), digits, Recipe(), name="digits")
    assert compress(trained("small"), blind, Recipe(), name="digits").model == seen.model


def test_compensated_rounding_leaves_less_error_than_the_nearest_points() -> None:
    torch.manual_seed(0)
    inputs = torch.randn(400, 24, dtype=torch.float64) @ torch.randn(24, 24, dtype=torch.float64)
    hessian = damped((inputs.mT @ inputs / 400).unsqueeze(0))
    weight = torch.randn(1, 8, 24, dtype=torch.float64)
    scale = weight.abs().amax(dim=-1) / 7.5
    errors = [
        squared_error(q, weight, scale, hessian)
        for q in (
            round_nearest(weight, scale, -8, 7),
            round_compensated(weight, scale, -8, 7, hessian),
        )
    ]
    assert float(errors[1].sum()) < 0.75 * float(errors[0].sum())


def test_compensation_serves_accuracy_at_two_bits(
    trained: Trained, digits: Splits, preprocessing: Preprocessing
) -> None:
    accuracies = {}
    for rounding in (Rounding.NEAREST, Rounding.COMPENSATED):
        recipe = Recipe(weight_bits=2, rounding=rounding)
        artifact = compress(trained("small"), digits, recipe, name="d", max_accuracy_drop=None)
        accuracies[rounding] = evaluate(artifact, digits.certify).accuracy
    assert accuracies[Rounding.COMPENSATED] >= accuracies[Rounding.NEAREST]


def test_bias_correction_brings_every_channels_mean_back(trained: Trained, digits: Splits) -> None:
    samples = images_to_tensor(digits.calibrate.inputs, Preprocessing.of(digits))
    means = {}
    for correct in (False, True):
        graph = capture(trained("small"), (1, 8, 8))
        recipe = Recipe(weight_bits=3, rounding=Rounding.NEAREST, correct_bias=correct)
        quantized = quantize(graph, samples, recipe)
        output = quantized.grids[graph.output].dequantize(quantized.run(samples))
        means[correct] = float((output - graph.run(samples)).mean(dim=0).abs().mean())
    assert means[True] < 0.5 * means[False]


@settings(max_examples=200, deadline=None)
@given(
    low=st.floats(-1e4, 0, allow_subnormal=False),
    high=st.floats(1e-4, 1e4),
    scheme=st.sampled_from(list(Scheme)),
    share=st.floats(0, 1),
)
def test_a_round_trip_errs_by_half_a_scale_at_most_and_keeps_zero(
    low: float, high: float, scheme: Scheme, share: float
) -> None:
    grid = grid_for_range(low, high, scheme)
    x = torch.tensor([low + share * (high - low), 0.0], dtype=torch.float64)
    error = (grid.dequantize(grid.quantize(x)) - x).abs()
    # One more half where rounding the zero point pushes an end of the range off the grid.
    assert float(error[0]) <= grid.scale * (1.0 + 1e-6)
    assert float(error[1]) == 0.0


@pytest.mark.parametrize("scheme", list(Scheme))
def test_the_range_search_clips_long_tails_where_that_lowers_the_error(scheme: Scheme) -> None:
    torch.manual_seed(0)
    values = torch.randn(20_000, dtype=torch.float64).pow(3)
    whole = grid_for_range(float(values.min()), float(values.max()), scheme)
    found = search_grid(values, scheme, what="x")
    errors = [float(((g.dequantize(g.quantize(values)) - values) ** 2).mean()) for g in (found, whole)]
    assert found.scale < whole.scale
    assert errors[0] < errors[1]


@settings(max_examples=60, deadline=None)
@given(st.sampled_from([2, 3, 4, 6]), st.integers(1, 5), st.integers(1, 9), st.randoms(use_true_random=False))
def test_packing_is_least_significant_bit_first_with_rows_padded_to_bytes(
    bits: int, rows: int, row: int, random
) -> None:
    low, high = -(1 << bits - 1), (1 << bits - 1) - 1
    weight = np.array([[random.randint(low, high) for _ in range(row)] for _ in range(rows)])
    packed = pack(weight, bits)
    row_bytes = (row * bits + 7) // 8
    assert len(packed) == rows * row_bytes
    for o in range(rows):
        as_integer = int.from_bytes(packed[o * row_bytes : (o + 1) * row_bytes], "little")
        for i in range(row):
            field = (as_integer >> (i * bits)) & ((1 << bits) - 1)
            assert (field - (1 << bits) if field > high else field) == weight[o, i]
        assert as_integer >> (row * bits) == 0


def test_weights_that_could_overflow_the_accumulator_get_a_coarser_scale() -> None:
    """20,000 equal inputs of full weight: 127 * 255 * 20,000 would pass half of the accumulator."""
    network = nn.Sequential(nn.Conv2d(1, 3, (200, 100), bias=False))
    nn.init.constant_(network[0].weight, 0.01)
    with torch.no_grad():
        network[0].weight[1:] = torch.randn(2, 1, 200, 100) * 0.01
    samples = torch.rand(6, 1, 200, 100)
    quantized = quantize(capture(network, (1, 200, 100)), samples, Recipe())
    plan = next(iter(quantized.plans.values()))
    magnitude = quantized.grids[quantized.graph.input].max_magnitude
    sums = np.abs(plan.weight).reshape(3, -1).sum(axis=1) * magnitude + np.abs(plan.bias)
    assert sums.max() < 1 << 30
    assert np.abs(plan.weight[0]).max() < 127


def test_a_residual_network_in_channels_last_order_after_flatten_is_permuted(digits: Splits) -> None:
    """A flatten of more than one pixel is where the device's order differs from torch's."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 3, 3), nn.Flatten(), nn.ReLU(), nn.Linear(108, 10))
    preprocessing = Preprocessing.of(digits)
    quantized = quantize_network(network, digits.calibrate, Recipe(), preprocessing=preprocessing)
    artifact = build(quantized, digits.calibrate, name="flat", preprocessing=preprocessing, labels=digits.labels)
    simulated = quantized.run(images_to_tensor(digits.choose.inputs, preprocessing)).numpy()
    assert np.array_equal(engine_outputs(artifact, digits.choose.inputs, "reference"), simulated)


def test_a_network_that_ends_flattened_is_refused(digits: Splits) -> None:
    network = nn.Sequential(nn.Conv2d(1, 10, 3, stride=3), nn.Flatten())
    with pytest.raises((CaptureError, QuantizationError), match=r"flattened feature map|outputs"):
        compress(network, digits, Recipe(), name="flat")


def test_refusals_name_what_is_wrong(trained: Trained, digits: Splits, preprocessing: Preprocessing) -> None:
    empty = digits.calibrate.take(slice(0, 0))
    with pytest.raises(DataError, match="calibration"):
        quantize_network(trained("small"), empty, Recipe(), preprocessing=preprocessing)
    with pytest.raises(DataError, match="not finite"):
        quantize(capture(trained("small"), (1, 8, 8)), torch.full((2, 1, 8, 8), float("nan")), Recipe())
    with pytest.raises(QuantizationError, match=r"depthwise.*nearest feasible plan: weight_bits [34] \("):
        quantize_network(trained("residual"), digits.calibrate, Recipe(weight_bits=2), preprocessing=preprocessing)
    with pytest.raises(QuantizationError, match="model's name"):
        compress(trained("small"), digits, Recipe(), name="no spaces")
    broken = trained("small")
    with torch.no_grad():
        broken[6].bias[2] = float("nan")
    with pytest.raises(WeightError, match=r"6\.bias"):
        compress(broken, digits, Recipe(), name="digits")


def test_a_layer_that_is_dead_on_all_samples_is_refused(digits: Splits) -> None:
    network = small_network()
    nn.init.constant_(network[1].bias, -100.0)  # relu lets nothing through
    with pytest.raises(WeightError, match="never changes over the calibration samples"):
        compress(network, digits, Recipe(), name="digits")


def test_a_single_dead_channel_is_no_obstacle(digits: Splits) -> None:
    network = small_network()
    with torch.no_grad():
        network[0].weight[2] = 0
        network[3].weight[5] = 0
        network[3].bias[5] = 3.0
    for scheme in Scheme:
        assert compress(network, digits, Recipe(scheme=scheme, weight_bits=4), name="digits").size_bytes > 0


def test_a_grid_states_its_clamps_and_zero() -> None:
    grid = Grid(0.5, -128)
    assert (grid.bound(0.0), grid.bound(6.0)) == (-128, -116)
    assert (grid.bound(-np.inf), grid.bound(np.inf), grid.bound(1e9)) == (-128, 127, 127)
    assert grid.max_magnitude == 255


def test_samples_that_are_all_the_same_calibrate_nothing(digits: Splits) -> None:
    grey = Split(np.full((64, 8, 8, 1), 128, np.uint8), digits.calibrate.labels[:64])
    with pytest.raises(DataError, match="all 64 calibration samples are the same"):
        quantize_network(small_network(), grey, Recipe(), preprocessing=Preprocessing.of(digits))


def test_bits_for_a_layer_that_is_not_there_are_refused(digits: Splits, preprocessing: Preprocessing) -> None:
    recipe = Recipe(layer_bits=(("nowhere", 4),))
    with pytest.raises(RecipeError, match="layer_bits name nowhere; layers with weights are"):
        quantize_network(small_network(), digits.calibrate, recipe, preprocessing=preprocessing)


class AnswersTwice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.network = small_network()

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.network(x), self.network(x)


@pytest.mark.parametrize(
    ("network", "words"),
    [
        (nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten()), "the network fails on float32 images"),
        (AnswersTwice(), "must answer images .* with logits .N, classes., found tuple"),
        (nn.Conv2d(1, 4, 3), "found .[0-9]+, 4, 6, 6."),
    ],
)
def test_networks_that_do_not_answer_these_images_are_refused(digits: Splits, network: nn.Module, words: str) -> None:
    with pytest.raises(DataError, match=words):
        compress(network.eval(), digits, Recipe(), name="digits")
