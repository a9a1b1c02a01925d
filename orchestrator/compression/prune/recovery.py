"""Channel pruning to its end: channels go, and the network learns again what it knew, under the one it was."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from orchestrator.compression.data import Preprocessing
from orchestrator.compression.progress import OnProgress
from orchestrator.compression.prune.channels import prune_channels
from orchestrator.compression.prune.curvature import Importance
from orchestrator.compression.training.distillation import distill
from orchestrator.compression.training.learning import Learning
from orchestrator.datasets.splits import Split

LEARNING = Learning(epochs=8, temperature=2.0)  # what is taught here has known it all: soft answers say little new


@dataclass(frozen=True, kw_only=True)
class Pruning:
    """How far to prune, and how to train back afterwards.

    Attributes:
        macs_fraction, weights_fraction: shares of the multiplications and of the weights that stay at most.
        importance: by labels, or without.
        learning: None leaves the network as pruning leaves it.
        seed: of the samples that importance is measured on.
    """

    macs_fraction: float = 0.5
    weights_fraction: float = 1.0
    importance: Importance = Importance.LABELS
    learning: Learning | None = LEARNING
    seed: int = 0


def prune_and_recover(
    model: nn.Module,
    split: Split,
    pruning: Pruning,
    *,
    preprocessing: Preprocessing,
    teacher: nn.Module | None = None,
    answers: Tensor | None = None,
    extra: Split | None = None,
    on_progress: OnProgress | None = None,
) -> nn.Module:
    """Return a narrower copy of `model`, trained back on `split` under `teacher`, or under `model` itself.

    `answers` and `extra` are those of `distill`.

    Raises:
        PruningError, CaptureError, WeightError, DataError, TrainingError: see `prune_channels` and `distill`.
    """
    pruned = prune_channels(
        model,
        split,
        preprocessing=preprocessing,
        macs_fraction=pruning.macs_fraction,
        weights_fraction=pruning.weights_fraction,
        importance=pruning.importance,
        seed=pruning.seed,
    )
    if pruning.learning is not None:
        distill(
            pruned,
            teacher or model,
            split,
            pruning.learning,
            preprocessing=preprocessing,
            answers=answers,
            extra=extra,
            on_progress=on_progress,
        )
    return pruned.eval()
