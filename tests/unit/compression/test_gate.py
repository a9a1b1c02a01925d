"""Nothing that lost much leaves, nothing hopeless is tried, and data that cannot be right is refused."""

from __future__ import annotations

import pickle
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from orchestrator.compression.capture import capture
from orchestrator.compression.data import Preprocessing
from orchestrator.compression.errors import (
    AccuracyLostError,
    BudgetError,
    CaptureError,
    CompressionError,
    DataError,
    InfeasibleError,
    WeightError,
)
from orchestrator.compression.gate import ALLOWED_DROP, Loss, measure_loss, require_believable_labels, require_kept
from orchestrator.compression.pipeline import compress
from orchestrator.compression.quantize.network import quantize_network
from orchestrator.compression.quantize.refusal import hopeless_layers, nearest_plan, refusal
from orchestrator.compression.quantize.sensitivity import LayerSensitivity
from orchestrator.compression.recipe import QuantizedTraining, Recipe, Rounding
from orchestrator.datasets import Split, Splits
from tests.unit.compression.networks import small_network

Trained = Callable[[str], nn.Module]

ROUGH = Recipe(weight_bits=2, rounding=Rounding.NEAREST)


def with_choose(digits: Splits, choose: Split, calibrate: Split | None = None) -> Splits:
    return Splits(
        train=digits.train, calibrate=calibrate or digits.calibrate, choose=choose, certify=digits.certify,
        labels=digits.labels, mean=digits.mean, std=digits.std,
    )  # fmt: skip


def test_a_model_that_lost_much_is_kept_in_and_leaves_only_when_asked_for(trained: Trained, digits: Splits) -> None:
    with pytest.raises(
        AccuracyLostError, match=r"points of accuracy .* on the choose split.*max_accuracy_drop"
    ) as lost:
        compress(trained("small"), digits, ROUGH, name="digits")
    assert lost.value.drop > ALLOWED_DROP == lost.value.allowed
    assert compress(trained("small"), digits, ROUGH, name="digits", max_accuracy_drop=None).size_bytes > 0
    assert compress(trained("small"), digits, ROUGH, name="digits", max_accuracy_drop=lost.value.drop).size_bytes > 0


def test_without_a_choose_split_the_float_network_says_what_it_expects_to_be_lost(
    trained: Trained, digits: Splits, preprocessing: Preprocessing
) -> None:
    unlabelled = with_choose(digits, digits.choose.take(slice(0, 0)))
    with pytest.raises(AccuracyLostError, match="float network expects"):
        compress(trained("small"), unlabelled, ROUGH, name="digits")
    good = compress(trained("small"), unlabelled, Recipe(weight_bits=4), name="digits")
    network = trained("small")
    labelled = measure_loss(network, good, digits, preprocessing=preprocessing)
    expected = measure_loss(network, good, unlabelled, preprocessing=preprocessing)
    assert abs(labelled.drop - expected.drop) < 0.01


def test_a_pruned_network_is_compared_with_what_it_was_before(trained: Trained, digits: Splits) -> None:
    ruined = trained("small")
    with torch.no_grad():
        ruined[3].weight[::2] = 0
    assert compress(ruined, digits, Recipe(), name="digits").size_bytes > 0
    with pytest.raises(AccuracyLostError):
        compress(ruined, digits, Recipe(), name="digits", fp32=trained("small"))


def test_a_network_that_pruning_has_ruined_does_not_put_the_labels_in_doubt(trained: Trained, digits: Splits) -> None:
    ruined = trained("small")
    with torch.no_grad():
        ruined[-1].bias[0] += 1e3  # sure, and of one class
    with pytest.raises(DataError):
        compress(ruined, digits, Recipe(), name="digits")
    with pytest.raises(AccuracyLostError):
        compress(ruined, digits, Recipe(), name="digits", fp32=trained("small"))


@given(st.integers(1, 100_000), st.integers(0, 100_000), st.integers(0, 100))
def test_exactly_what_is_allowed_may_be_lost_and_not_one_sample_more(samples: int, right: int, percent: int) -> None:
    right = min(right, samples)
    for lost in {percent * samples // 100, percent * samples // 100 + 1} & set(range(right + 1)):
        loss = Loss(right / samples, (right - lost) / samples, "the choose split")
        if 100 * lost > percent * samples:
            with pytest.raises(AccuracyLostError):
                require_kept(loss, percent / 100)
        else:
            require_kept(loss, percent / 100)


@pytest.mark.parametrize("name", ["calibrate", "choose"])
def test_labels_that_are_not_those_of_the_images_are_refused(trained: Trained, digits: Splits, name: str) -> None:
    split: Split = getattr(digits, name)
    shuffled = Split(split.inputs, np.random.default_rng(0).permutation(split.labels))
    wrong = with_choose(digits, shuffled) if name == "choose" else with_choose(digits, digits.choose, shuffled)
    with pytest.raises(DataError, match=f"labels of the {name} split are not those of its images"):
        compress(trained("small"), wrong, Recipe(), name="digits")


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 10), st.integers(30, 300))
def test_labels_of_a_network_that_is_better_than_guessing_are_believed(seed: int, classes: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, count)
    right = rng.random(count) < 0.9
    answers = np.where(right, labels, (labels + 1) % classes)
    probabilities = np.full((count, classes), 0.02, np.float32)
    probabilities[np.arange(count), answers] = 0.9
    split = Split(np.zeros((count, 1, 1, 1), np.uint8), labels.astype(np.int64))
    require_believable_labels(probabilities, split, what="the choose split")


def test_an_untrained_network_is_not_blamed_on_its_labels(digits: Splits) -> None:
    assert compress(small_network(), digits, Recipe(), name="digits", max_accuracy_drop=None).size_bytes > 0


def layer(name: str, *, depthwise: bool, divergence: dict[int, float]) -> LayerSensitivity:
    return LayerSensitivity(operator=name, rows=4, row_weights=9, divergence=divergence, depthwise=depthwise)


def test_a_refusal_states_its_evidence_and_the_fewest_bits_that_are_tolerable() -> None:
    layers = [
        layer("deep", depthwise=True, divergence={8: 0.0, 4: 0.01, 3: 0.06, 2: 0.4}),
        layer("wide", depthwise=False, divergence={8: 0.0, 4: 0.01, 3: 0.02, 2: 0.1}),
    ]
    error = refusal(Recipe(weight_bits=2), ["deep"], layers)
    assert "here deep" in str(error)
    assert "0.500 nats" in str(error)
    assert error.nearest == "weight_bits 4 (0.020 nats), or 2 bits with `training`"
    hopeless = [layer("deep", depthwise=True, divergence={8: 0.2, 2: 0.4})]
    assert "`training`" in nearest_plan(Recipe(weight_bits=2), hopeless)


def test_two_bits_are_refused_for_untrained_depthwise_layers_and_for_nothing_else(trained: Trained) -> None:
    depthwise, plain = capture(trained("residual"), (1, 8, 8)), capture(trained("small"), (1, 8, 8))
    two = Recipe(weight_bits=2)
    assert hopeless_layers(depthwise, two) == ("depthwise",)
    assert hopeless_layers(plain, two) == ()
    assert hopeless_layers(depthwise, Recipe(weight_bits=3)) == ()
    assert hopeless_layers(depthwise, Recipe(weight_bits=2, training=QuantizedTraining())) == ()
    assert hopeless_layers(depthwise, Recipe(weight_bits=2, layer_bits=(("depthwise", 8),))) == ()
    assert hopeless_layers(depthwise, Recipe(weight_bits=8, layer_bits=(("depthwise", 2),))) == ("depthwise",)
    scaled = capture(nn.Sequential(nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(256, 10)).eval(), (4, 8, 8))
    assert hopeless_layers(scaled, two) == ()  # one weight for each channel is exact at any bits


class _Sorted(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.sort(x, dim=2).values


def broken_weight() -> nn.Module:
    network = small_network()
    with torch.no_grad():
        network[3].weight[1, 2, 0, 0] = float("nan")  # type: ignore[index]
    return network


def silent_layer() -> nn.Module:
    network = small_network()
    nn.init.zeros_(network[1].weight)  # type: ignore[arg-type,index]
    return network


def constant_layer() -> nn.Module:
    """Its weights are not zero, yet relu6 always gives 6."""
    network = small_network()
    nn.init.constant_(network[3].bias, 1e4)  # type: ignore[arg-type,index]
    return network


@pytest.mark.parametrize(
    ("network", "error", "why"),
    [
        (broken_weight, WeightError, r"3\.weight holds 1 value"),
        (silent_layer, WeightError, "every weight is zero"),
        (constant_layer, WeightError, "never changes"),
        (lambda: nn.Sequential(_Sorted(), small_network()), CaptureError, r"sort.*in forward"),
    ],
)
def test_networks_that_no_quantization_can_mend_are_refused_by_name(
    digits: Splits,
    preprocessing: Preprocessing,
    network: Callable[[], nn.Module],
    error: type[CompressionError],
    why: str,
) -> None:
    with pytest.raises(error, match=why):
        quantize_network(network(), digits.calibrate, Recipe(), preprocessing=preprocessing)


@pytest.mark.parametrize(
    "error",
    [
        InfeasibleError("it is hopeless", nearest="weight_bits 4"),
        BudgetError("too little", least=7),
        AccuracyLostError("too much", drop=0.2, allowed=0.01),
    ],
)
def test_an_error_crosses_from_one_process_to_another_with_all_it_says(error: CompressionError) -> None:
    again = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    assert (str(again), vars(again)) == (str(error), vars(error))
