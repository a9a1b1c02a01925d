"""Trains a quantized network under its float self, then fixes what was learned.

It begins where quantization without training ends: grids and scales are calibrated, weights are the float ones. The
loss is distillation from the float network (`training.distillation`), so with alpha 1 no labels are needed. Adam, since
weights, scales and offsets have gradients of very different sizes: Kingma & Ba 2014, arXiv:1412.6980.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from orchestrator.compression.capture import capture
from orchestrator.compression.data import Preprocessing, images_to_tensor, labels_to_tensor, require_samples
from orchestrator.compression.errors import RecipeError, TrainingError
from orchestrator.compression.evaluation import predict_logits
from orchestrator.compression.qat.network import QuantizedNetwork
from orchestrator.compression.qat.plans import trained_graph
from orchestrator.compression.quantize.sequential import OnProgress, QuantizedGraph, part_of, quantize
from orchestrator.compression.recipe import QuantizedTraining, Recipe
from orchestrator.compression.training.distillation import distillation_loss
from orchestrator.compression.training.loop import Schedule, one_cycle
from orchestrator.datasets.splits import Split

_GRID_SHARE = 0.3  # of the learning rate, for steps and offsets of grids
_FROZEN_SHARE = 0.25  # of all steps, at the end: batch norm as it will be folded
_STARTING_SHARE = 0.1  # of the time: calibration and the teacher's answers

OnEpochEnd = Callable[[int, nn.Module], None]


def train_quantized(
    model: nn.Module,
    train: Split,
    calibrate: Split,
    recipe: Recipe,
    *,
    preprocessing: Preprocessing,
    teacher: nn.Module | None = None,
    first_epoch: int = 0,
    restore: Callable[[nn.Module], None] | None = None,
    on_progress: OnProgress | None = None,
    on_epoch_end: OnEpochEnd | None = None,
) -> QuantizedGraph:
    """Quantize `model` by `recipe`, whose `training` says how long and how fast; `model` itself stays as it is.

    Args:
        teacher: what it learns from; `model` where there is none.
        first_epoch, restore: to go on after an interruption: epochs done, and what loads the weights they left into the
            network it is given (those that `on_epoch_end` was called with).

    Raises:
        RecipeError: the recipe has no training.
        DataError, TrainingError, CaptureError, WeightError, QuantizationError: see `orchestrator.compression.errors`.
    """
    training = recipe.training
    if training is None:
        raise RecipeError("the recipe has no `training`; quantize without it, or say how long to train")
    require_samples(train, at_least=2, what="training")
    start = starting_point(
        model, calibrate, recipe, preprocessing=preprocessing, on_progress=part_of(on_progress, 0.0, _STARTING_SHARE)
    )
    network = QuantizedNetwork(start)
    if restore is not None:
        restore(network)
    soft = predict_logits(teacher or model, train.inputs, preprocessing)
    _minimise(
        network, train, soft, training, preprocessing, first_epoch, part_of(on_progress, _STARTING_SHARE, 1.0),
        on_epoch_end,
    )  # fmt: skip
    return trained_graph(network)


def starting_point(
    model: nn.Module,
    calibrate: Split,
    recipe: Recipe,
    *,
    preprocessing: Preprocessing,
    on_progress: OnProgress | None = None,
) -> QuantizedGraph:
    """`model` quantized without training: structure, bits and first grids. Not refused, however bad it is."""
    require_samples(calibrate, what="calibration")
    height, width, channels = calibrate.sample_shape
    samples = images_to_tensor(calibrate.inputs[: recipe.calibration_count], preprocessing)
    pixels = preprocessing.table()
    return quantize(
        capture(model, (channels, height, width)),
        samples,
        recipe,
        input_range=(float(pixels.min()), float(pixels.max())),
        on_progress=on_progress,
    )


def _minimise(
    network: QuantizedNetwork,
    train: Split,
    soft: Tensor,
    training: QuantizedTraining,
    preprocessing: Preprocessing,
    first_epoch: int,
    on_progress: OnProgress | None,
    on_epoch_end: OnEpochEnd | None,
) -> None:
    schedule = Schedule(
        epochs=training.epochs,
        batch_size=min(training.batch_size, len(train)),
        learning_rate=training.learning_rate,
        seed=training.seed,
        first_epoch=first_epoch,
    )
    labels = labels_to_tensor(train.labels)
    optimizer = _optimizer(network)
    steps_per_epoch = schedule.steps_per_epoch(len(train))
    total, step = schedule.epochs * steps_per_epoch, first_epoch * steps_per_epoch
    network.train()
    for epoch, indices in schedule.batches(len(train)):
        network.is_live = step < (1 - _FROZEN_SHARE) * total
        for group in optimizer.param_groups:
            group["lr"] = schedule.learning_rate * group["share"] * one_cycle(step / total)
        logits = network(images_to_tensor(train.inputs[indices.numpy()], preprocessing))
        loss = distillation_loss(logits, soft[indices], labels[indices], training.temperature, training.alpha)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        if not math.isfinite(loss.item()):
            raise TrainingError(f"the loss became {loss.item()} in epoch {epoch + 1}; lower the learning rate")
        optimizer.step()
        step += 1
        if on_progress and (step % max(total // 100, 1) == 0 or step == total):
            words = f"training quantized: epoch {epoch + 1}/{schedule.epochs}, loss {loss.item():.3f}"
            on_progress(step / total, words)
        if on_epoch_end and step % steps_per_epoch == 0:
            on_epoch_end(epoch + 1, network)
    network.eval()


def _optimizer(network: QuantizedNetwork) -> torch.optim.Adam:
    grids = network.grid_parameters()
    known = {id(parameter) for parameter in grids}
    weights = [parameter for parameter in network.parameters() if id(parameter) not in known]
    return torch.optim.Adam([{"params": weights, "share": 1.0}, {"params": grids, "share": _GRID_SHARE}], lr=0.0)
