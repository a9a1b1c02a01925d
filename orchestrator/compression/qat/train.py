"""Trains a quantized network under its float self, then fixes what was learned.

It begins where quantization without training ends: grids and scales are calibrated, weights are the float ones. The
loss is distillation from the float network (`training.distillation`), so with alpha 1 no labels are needed. Weights
that pruning made 0 stay 0. Adam, since weights, scales and offsets have gradients of very different sizes: Kingma & Ba
2014, arXiv:1412.6980.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from orchestrator.compression.checkpoint import load_checkpoint, save_checkpoint
from orchestrator.compression.data import Preprocessing, images_to_tensor, labels_to_tensor, require_samples
from orchestrator.compression.errors import RecipeError, TrainingError
from orchestrator.compression.evaluation import predict_logits
from orchestrator.compression.progress import OnProgress
from orchestrator.compression.qat.network import QuantizedNetwork
from orchestrator.compression.qat.plans import trained_graph
from orchestrator.compression.quantize.network import quantize_network
from orchestrator.compression.quantize.sequential import QuantizedGraph, part_of
from orchestrator.compression.recipe import QuantizedTraining, Recipe
from orchestrator.compression.training.loop import Schedule, one_cycle
from orchestrator.compression.training.masks import held, zeros_of
from orchestrator.compression.training.objectives import distillation_loss
from orchestrator.datasets.splits import Split

_STEP_SHARE = 0.3  # of the learning rate, for the logarithms of steps
_OFFSET_SHARE = 10.0  # and for offsets, whose unit is a whole grid point
_FROZEN_SHARE = 0.25  # of all steps, at the end: batch norm as it will be folded
_STARTING_SHARE = 0.1  # of the time: calibration and the teacher's answers


@dataclass(frozen=True)
class Saved:
    """What an interrupted training left: weights after `epochs_done`, and the recipe with all that was chosen."""

    epochs_done: int
    weights: bytes
    recipe: Recipe


class Checkpoints(Protocol):
    """Where a training keeps what it would need to go on."""

    def latest(self) -> Saved | None: ...

    def keep(self, saved: Saved, network: nn.Module) -> None:
        """Called at the end of each epoch; what it raises ends the training."""
        ...


def train_quantized(
    model: nn.Module,
    train: Split,
    calibrate: Split,
    recipe: Recipe,
    *,
    preprocessing: Preprocessing,
    teacher: nn.Module | None = None,
    checkpoints: Checkpoints | None = None,
    on_progress: OnProgress | None = None,
) -> QuantizedGraph:
    """Quantize `model` by `recipe`, whose `training` says how long and how fast; `model` itself stays as it is.

    Args:
        teacher: what it learns from; `model` where there is none.
        checkpoints: where it goes on after an interruption; only Adam's moments are lost.

    Raises:
        RecipeError: the recipe has no training.
        DataError, TrainingError, CaptureError, WeightError, QuantizationError: see `orchestrator.compression.errors`.
    """
    training = recipe.training
    if training is None:
        raise RecipeError("the recipe has no `training`; quantize without it, or say how long to train")
    require_samples(train, at_least=2, what="training")
    saved = checkpoints.latest() if checkpoints else None
    if saved is not None:
        recipe = saved.recipe  # bits that were chosen are not chosen again
    start = quantize_network(
        model, calibrate, recipe, preprocessing=preprocessing, on_progress=part_of(on_progress, 0.0, _STARTING_SHARE)
    )
    network = QuantizedNetwork(start)
    if saved is not None:
        load_checkpoint(network, saved.weights)
    lesson = _Lesson(train, predict_logits(teacher or model, train.inputs, preprocessing), preprocessing)
    epochs_done = saved.epochs_done if saved else 0
    with held(network, zeros_of(network)):
        _minimise(network, lesson, training, epochs_done, checkpoints, part_of(on_progress, _STARTING_SHARE, 1.0))
    network.eval()
    return trained_graph(network)


@dataclass(frozen=True)
class _Lesson:
    """Images, and what the teacher answers to them: logits [N, classes]."""

    train: Split
    soft: Tensor
    preprocessing: Preprocessing

    def loss(self, network: nn.Module, indices: Tensor, training: QuantizedTraining) -> Tensor:
        logits = network(images_to_tensor(self.train.inputs[indices.numpy()], self.preprocessing))
        labels = labels_to_tensor(self.train.labels[indices.numpy()])
        return distillation_loss(logits, self.soft[indices], labels, training.temperature, training.alpha)


def _minimise(
    network: QuantizedNetwork,
    lesson: _Lesson,
    training: QuantizedTraining,
    first_epoch: int,
    checkpoints: Checkpoints | None,
    on_progress: OnProgress | None,
) -> None:
    samples = len(lesson.train)
    schedule = Schedule(
        epochs=training.epochs,
        batch_size=min(training.batch_size, samples),
        learning_rate=training.learning_rate,
        seed=training.seed,
        first_epoch=first_epoch,
    )
    optimizer = _optimizer(network)
    steps_per_epoch = schedule.steps_per_epoch(samples)
    total, step = schedule.epochs * steps_per_epoch, first_epoch * steps_per_epoch
    network.train()
    for epoch, indices in schedule.batches(samples):
        network.is_live = step < (1 - _FROZEN_SHARE) * total
        for group in optimizer.param_groups:
            group["lr"] = schedule.learning_rate * group["share"] * one_cycle(step / total)
        loss = lesson.loss(network, indices, training)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        if not math.isfinite(loss.item()):
            raise TrainingError(f"the loss became {loss.item()} in epoch {epoch + 1}; lower the learning rate")
        optimizer.step()
        step += 1
        if on_progress and (step % max(total // 100, 1) == 0 or step == total):
            words = f"training quantized: epoch {epoch + 1}/{schedule.epochs}, loss {loss.item():.3f}"
            on_progress(step / total, words)
        if checkpoints and step % steps_per_epoch == 0:
            checkpoints.keep(Saved(epoch + 1, save_checkpoint(network), network.start.recipe), network)


def _optimizer(network: QuantizedNetwork) -> torch.optim.Adam:
    shares: dict[float, list[nn.Parameter]] = {1.0: [], _STEP_SHARE: [], _OFFSET_SHARE: []}
    by_name = {"log2_step": _STEP_SHARE, "zero_point": _OFFSET_SHARE}
    for name, parameter in network.named_parameters():
        shares[by_name.get(name.rpartition(".")[2], 1.0)].append(parameter)
    return torch.optim.Adam([{"params": group, "share": share} for share, group in shares.items() if group], lr=0.0)
