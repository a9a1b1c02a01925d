"""Train a classifier on labels alone."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from orchestrator.compression.data import Preprocessing, images_to_tensor, labels_to_tensor, require_samples
from orchestrator.compression.progress import OnProgress
from orchestrator.compression.training.loop import Schedule, minimise
from orchestrator.datasets.splits import Split


def train_classifier(
    model: nn.Module,
    split: Split,
    *,
    preprocessing: Preprocessing,
    epochs: int,
    batch_size: int = 128,
    learning_rate: float = 0.1,
    seed: int = 0,
    label_smoothing: float = 0.0,
    rank: int = 0,
    world_size: int = 1,
    first_epoch: int = 0,
    on_progress: OnProgress | None = None,
    on_epoch_end: Callable[[int], None] | None = None,
) -> None:
    """Minimise cross-entropy in place; the model is left in evaluation mode.

    Args:
        rank, world_size, first_epoch: see `Schedule`; with several workers `model` is already wrapped so that gradients
            are averaged (DistributedDataParallel).

    Raises:
        DataError: there are fewer than two samples.
        TrainingError: the loss is not finite.
    """
    require_samples(split, at_least=2, what="training")
    schedule = Schedule(
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        seed=seed,
        rank=rank,
        world_size=world_size,
        first_epoch=first_epoch,
    )
    labels = labels_to_tensor(split.labels)

    def loss_of_batch(indices: Tensor) -> Tensor:
        logits = model(images_to_tensor(split.inputs[indices.numpy()], preprocessing))
        return functional.cross_entropy(logits, labels[indices], label_smoothing=label_smoothing)

    model.train()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # dropout
        minimise(
            [parameter for parameter in model.parameters() if parameter.requires_grad],
            loss_of_batch,
            len(split),
            schedule,
            doing="training",
            on_progress=on_progress,
            on_epoch_end=on_epoch_end,
        )
    model.eval()
