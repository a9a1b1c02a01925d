from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from edge_agent.runtime import available_paths
from orchestrator.compression.capture import capture
from orchestrator.compression.checkpoint import load_checkpoint, save_checkpoint
from orchestrator.compression.data import Preprocessing, images_to_tensor
from orchestrator.compression.errors import RecipeError, TrainingError
from orchestrator.compression.evaluation import evaluate, evaluate_network, predict_logits
from orchestrator.compression.pipeline import build
from orchestrator.compression.qat import Saved, train_quantized
from orchestrator.compression.qat.grids import LearnedGrid
from orchestrator.compression.qat.network import QuantizedNetwork
from orchestrator.compression.qat.plans import trained_graph
from orchestrator.compression.quantize import QuantizedGraph
from orchestrator.compression.quantize.grid import Grid
from orchestrator.compression.quantize.network import quantize_network
from orchestrator.compression.quantize.plan import WeightedPlan
from orchestrator.compression.recipe import QuantizedTraining, Recipe, Rounding, Scheme
from orchestrator.datasets import Splits
from tests.unit.compression.networks import EveryOperator

Trained = Callable[[str], nn.Module]
Engine = Callable[[QuantizedGraph], np.ndarray]

SHORT = QuantizedTraining(epochs=2, batch_size=64, learning_rate=3e-3)


def two_bits(scheme: Scheme, training: QuantizedTraining = SHORT) -> Recipe:
    return Recipe(scheme=scheme, weight_bits=2, training=training)


class Kept:
    """Checkpoints in memory; stops training after `stop_after` epochs, as a worker that dies would."""

    def __init__(self, saved: Saved | None = None, stop_after: int = 100) -> None:
        self.saved, self.stop_after, self.epochs = saved, stop_after, []  # type: ignore[var-annotated]

    def latest(self) -> Saved | None:
        return self.saved

    def keep(self, saved: Saved, network: nn.Module) -> None:
        self.saved = saved
        self.epochs.append(saved.epochs_done)
        if saved.epochs_done == self.stop_after:
            raise KeyboardInterrupt


@dataclass(frozen=True)
class Learned:
    """A trained graph, and what the network that was trained answers, on its output's grid."""

    scheme: Scheme
    graph: QuantizedGraph
    answers: np.ndarray


@pytest.fixture(scope="module", params=list(Scheme))
def learned(
    request: pytest.FixtureRequest, _trained: dict[str, nn.Module], digits: Splits, preprocessing: Preprocessing
) -> Learned:
    scheme: Scheme = request.param
    recipe, network, kept = two_bits(scheme), _trained["residual"], Kept()
    graph = train_quantized(
        network, digits.train, digits.calibrate, recipe, preprocessing=preprocessing, checkpoints=kept
    )
    trained = QuantizedNetwork(quantize_network(network, digits.calibrate, recipe, preprocessing=preprocessing))
    assert kept.saved is not None
    load_checkpoint(trained, kept.saved.weights)
    with torch.no_grad():
        answers = trained.eval()(images_to_tensor(digits.certify.inputs, preprocessing))
    grid = graph.grids[graph.graph.output]
    return Learned(scheme, graph, torch.round(answers.to(torch.float64) / grid.scale).numpy() + grid.zero_point)


def test_the_engine_answers_what_the_trained_network_answered(
    learned: Learned,
    digits: Splits,
    preprocessing: Preprocessing,
) -> None:
    """The integer simulation to the last bit; the float32 one but for sums that fall on a tie, by one step at most."""
    graph, answers, scheme = learned.graph, learned.answers, learned.scheme
    artifact = build(graph, digits.calibrate, name="digits", preprocessing=preprocessing, labels=digits.labels)
    simulated = graph.run(images_to_tensor(digits.certify.inputs, preprocessing)).numpy()
    for path in available_paths():
        raw = artifact.load(path=path).infer_batch(digits.certify.inputs.tobytes(), raw=True)
        assert np.array_equal(np.frombuffer(raw, np.int8).reshape(simulated.shape), simulated), path
    assert np.abs(simulated - answers).max() <= 1
    assert np.mean(simulated == answers) > (0.999 if scheme is Scheme.POWER_OF_TWO else 0.99)


def test_two_bits_that_are_learned_keep_accuracy_and_stay_nearer_to_the_float_network_than_rounded_ones(
    trained: Trained,
    learned: Learned,
    digits: Splits,
    preprocessing: Preprocessing,
) -> None:
    graph, scheme = learned.graph, learned.scheme
    network = trained("residual")
    fp32 = evaluate_network(network, digits.certify, preprocessing=preprocessing).accuracy
    nearest = replace(two_bits(scheme), rounding=Rounding.NEAREST)
    untrained = quantize_network(network, digits.calibrate, nearest, preprocessing=preprocessing)
    artifact = build(graph, digits.calibrate, name="digits", preprocessing=preprocessing, labels=digits.labels)
    assert evaluate(artifact, digits.certify).accuracy > fp32 - 0.03
    wanted = predict_logits(network, digits.certify.inputs, preprocessing).log_softmax(dim=1)
    distance = {}
    for name, each in (("learned", graph), ("rounded", untrained)):
        output = each.run(images_to_tensor(digits.certify.inputs, preprocessing))
        answers = each.grids[each.graph.output].dequantize(output).log_softmax(dim=1)
        distance[name] = float(functional.kl_div(answers, wanted, reduction="batchmean", log_target=True))
    assert distance["learned"] < 0.8 * distance["rounded"]


@pytest.mark.parametrize("scheme", list(Scheme))
def test_training_that_has_not_begun_is_the_float_network_folded(
    trained: Trained, digits: Splits, preprocessing: Preprocessing, scheme: Scheme
) -> None:
    """At 8 bits fake quantization hardly shows; nor must the folding of batch norm, negative gammas included."""
    network = trained("residual")
    with torch.no_grad():
        for norm in (network.inner_norm, network.stem_norm):
            norm.weight[::2] *= -1
            norm.running_var[1] *= 3
    recipe = Recipe(scheme=scheme, training=SHORT)
    start = quantize_network(network, digits.calibrate, recipe, preprocessing=preprocessing)
    images = images_to_tensor(digits.choose.inputs, preprocessing)
    with torch.no_grad():
        wanted = network(images)
    graph = trained_graph(QuantizedNetwork(start))
    found = graph.grids[graph.graph.output].dequantize(graph.run(images))
    for answers in (found, graph.graph.run(images)):
        assert float((answers - wanted).square().mean().sqrt()) < 0.06 * float(wanted.std())


@pytest.mark.parametrize("scheme", list(Scheme))
def test_live_batch_norm_learns_its_statistics_and_is_folded_with_them(
    trained: Trained, digits: Splits, preprocessing: Preprocessing, scheme: Scheme
) -> None:
    start = quantize_network(trained("residual"), digits.calibrate, Recipe(scheme=scheme), preprocessing=preprocessing)
    network = QuantizedNetwork(start).train()
    images = images_to_tensor(digits.train.inputs[:256], preprocessing) + 0.5  # another world than it was trained in
    with torch.no_grad():
        for _ in range(40):
            live = network(images)
        network.is_live = False
        frozen = network(images)
    error = (frozen - live).square().mean().sqrt() / live.std()
    assert float(error) < 0.15
    assert trained_graph(network).plans.keys() == start.plans.keys()


def test_every_operator_trains_and_runs_as_it_was_simulated(digits: Splits, preprocessing: Preprocessing) -> None:
    torch.manual_seed(3)
    recipe = Recipe(weight_bits=4, training=QuantizedTraining(epochs=1, batch_size=256, learning_rate=1e-4))
    graph = train_quantized(EveryOperator(), digits.train, digits.calibrate, recipe, preprocessing=preprocessing)
    artifact = build(graph, digits.calibrate, name="all", preprocessing=preprocessing, labels=digits.labels)
    simulated = graph.run(images_to_tensor(digits.choose.inputs, preprocessing)).numpy()
    raw = artifact.load(path="reference").infer_batch(digits.choose.inputs.tobytes(), raw=True)
    assert np.array_equal(np.frombuffer(raw, np.int8).reshape(simulated.shape), simulated)


def test_an_interrupted_training_goes_on_from_its_last_epoch_with_the_bits_it_had_chosen(
    trained: Trained, digits: Splits, preprocessing: Preprocessing
) -> None:
    training = QuantizedTraining(epochs=2, batch_size=128, learning_rate=1e-3)
    recipe = Recipe(mean_bits=2.5, training=training)

    def run(checkpoints: Kept) -> QuantizedGraph:
        return train_quantized(
            trained("small"), digits.train, digits.calibrate, recipe,
            preprocessing=preprocessing, checkpoints=checkpoints,
        )  # fmt: skip

    killed = Kept(stop_after=1)
    with pytest.raises(KeyboardInterrupt):
        run(killed)
    assert killed.saved is not None
    resumed = Kept(killed.saved)
    graph = run(resumed)
    assert resumed.epochs == [2]
    assert graph.recipe == killed.saved.recipe
    assert graph.recipe.layer_bits


def test_training_leaves_the_float_network_as_it_was_and_needs_a_recipe_for_it(
    trained: Trained, digits: Splits, preprocessing: Preprocessing
) -> None:
    network = trained("small")
    before = save_checkpoint(network)
    with pytest.raises(RecipeError, match="no `training`"):
        train_quantized(network, digits.train, digits.calibrate, Recipe(), preprocessing=preprocessing)
    hot = two_bits(Scheme.INTEGER, QuantizedTraining(epochs=1, learning_rate=1e30))
    with pytest.raises(TrainingError, match="lower the learning rate"):
        train_quantized(network, digits.train, digits.calibrate, hot, preprocessing=preprocessing)
    assert save_checkpoint(network) == before


def test_without_labels_the_answers_of_the_float_network_are_enough(
    trained: Trained, digits: Splits, preprocessing: Preprocessing
) -> None:
    """alpha 1: wrong labels change nothing."""
    recipe = two_bits(Scheme.INTEGER, QuantizedTraining(epochs=1, alpha=1.0, learning_rate=1e-3))
    wrong = type(digits.train)(digits.train.inputs, np.zeros_like(digits.train.labels))
    plans = []
    for split in (digits.train, wrong):
        graph = train_quantized(trained("small"), split, digits.calibrate, recipe, preprocessing=preprocessing)
        plans.append([plan.weight for plan in graph.plans.values() if isinstance(plan, WeightedPlan)])
    assert all(np.array_equal(a, b) for a, b in zip(*plans, strict=True))


@pytest.mark.parametrize("ties_up", [False, True])
def test_a_learned_grid_rounds_like_its_requantize_form_and_has_the_gradients_of_lsq(ties_up: bool) -> None:
    module = LearnedGrid(Grid(0.5, -3), Scheme.INTEGER, ties_up=ties_up)
    x = torch.tensor([0.25, 0.75, -0.25, 0.6, 100.0, -100.0], requires_grad=True)
    found: Tensor = module(x)
    wanted = [0.5, 1.0, 0.0, 0.5] if ties_up else [0.0, 1.0, 0.0, 0.5]
    assert found.tolist() == [*wanted, 65.0, -62.5]
    found.sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [1, 1, 1, 1, 0, 0]
    by_step = sum(value / 0.5 - d / 0.5 for value, d in zip(wanted, (0.25, 0.75, -0.25, 0.6), strict=True)) + 130 - 125
    assert module.log2_step.grad is not None
    assert float(module.log2_step.grad) == pytest.approx(by_step * 0.5 * np.log(2), rel=1e-5)
    assert float(module.zero_point.grad) == pytest.approx(-0.5 * 2)


def test_a_power_of_two_step_stays_one_while_it_learns() -> None:
    module = LearnedGrid(Grid(0.25, 0), Scheme.POWER_OF_TWO, ties_up=True)
    for moved in (0.3, 0.45, 0.6):
        with torch.no_grad():
            module.log2_step.copy_(torch.tensor(-2.0 + moved))
        assert module.grid().scale == (0.25 if moved < 0.5 else 0.5)


def test_folding_is_recorded_once_and_not_where_two_norms_follow_each_other() -> None:
    once = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3))
    twice = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.BatchNorm2d(3))
    for network, expected in ((once, True), (twice, False)):
        (node,) = capture(network.eval(), (1, 8, 8)).nodes
        assert (node.unfolded is not None) is expected
