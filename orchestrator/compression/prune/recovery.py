"""Channel pruning to its end: channels go, and the network learns again what it knew, under the one it was."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from orchestrator.compression.data import Preprocessing
from orchestrator.compression.progress import OnProgress
from orchestrator.compression.prune.channels import prune_channels
from orchestrator.compression.training.distillation import distill
from orchestrator.datasets.splits import Split


@dataclass(frozen=True, kw_only=True)
class Pruning:
    """How far to prune, and how long to train afterwards.

    Attributes:
        macs_fraction, weights_fraction: shares of the multiplications and of the weights that stay at most.
        epochs: of distillation afterwards; 0 leaves the network as pruning leaves it.
        learning_rate: peak; lower than from scratch, because most of the network is still there.
    """

    macs_fraction: float = 0.5
    weights_fraction: float = 1.0
    epochs: int = 8
    learning_rate: float = 0.05
    seed: int = 0


def prune_and_recover(
    model: nn.Module,
    split: Split,
    pruning: Pruning,
    *,
    preprocessing: Preprocessing,
    on_progress: OnProgress | None = None,
) -> nn.Module:
    """Return a narrower copy of `model`, distilled from it on the labelled `split`; `model` stays as it is.

    Raises:
        PruningError, CaptureError, WeightError, DataError, TrainingError: see `prune_channels` and `distill`.
    """
    pruned = prune_channels(
        model,
        split,
        preprocessing=preprocessing,
        macs_fraction=pruning.macs_fraction,
        weights_fraction=pruning.weights_fraction,
        seed=pruning.seed,
    )
    if pruning.epochs:
        distill(
            pruned,
            model,
            split,
            preprocessing=preprocessing,
            epochs=pruning.epochs,
            learning_rate=pruning.learning_rate,
            seed=pruning.seed,
            on_progress=on_progress,
        )
    return pruned.eval()
