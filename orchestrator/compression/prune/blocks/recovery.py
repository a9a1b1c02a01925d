"""Block sparsity to its end: blocks go, and what is left learns again under the network it was, the mask held.

Batch norm stays live; with batch norm folded such training diverges.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from orchestrator.compression.data import Preprocessing
from orchestrator.compression.progress import OnProgress
from orchestrator.compression.prune.blocks.network import SparseNetwork, prune_blocks
from orchestrator.compression.training.distillation import distill
from orchestrator.compression.training.masks import held
from orchestrator.datasets.splits import Split


@dataclass(frozen=True, kw_only=True)
class BlockPruning:
    """How sparse, and how long to train afterwards.

    Attributes:
        sparsity: share of the blocks that become zero; see `prune_blocks`.
        block_rows: outputs of a block, 4, 8 or 16; None chooses by the layer's width.
        epochs: of distillation under the mask; 0 leaves the network as pruning leaves it.
        learning_rate: peak; lower than from scratch, because most of the network is still there.
    """

    sparsity: float = 0.6
    block_rows: int | None = None
    epochs: int = 1
    learning_rate: float = 0.02
    temperature: float = 4.0
    alpha: float = 0.9
    batch_size: int = 128
    seed: int = 0


def prune_blocks_and_recover(
    model: nn.Module,
    split: Split,
    pruning: BlockPruning,
    *,
    preprocessing: Preprocessing,
    teacher: nn.Module | None = None,
    answers: Tensor | None = None,
    extra: Split | None = None,
    on_progress: OnProgress | None = None,
) -> SparseNetwork:
    """Return a sparse copy of `model`, distilled on the labelled `split` from `teacher`, or from `model` itself.

    `answers` and `extra` are those of `distill`.

    Raises:
        PruningError, CaptureError, WeightError, DataError, TrainingError: see `prune_blocks` and `distill`.
    """
    sparse = prune_blocks(
        model, split, preprocessing=preprocessing, sparsity=pruning.sparsity, block_rows=pruning.block_rows
    )
    if pruning.epochs:
        distill_sparse(
            sparse,
            teacher or model,
            split,
            pruning,
            preprocessing=preprocessing,
            answers=answers,
            extra=extra,
            on_progress=on_progress,
        )
    return sparse


def distill_sparse(
    sparse: SparseNetwork,
    teacher: nn.Module,
    split: Split,
    pruning: BlockPruning,
    *,
    preprocessing: Preprocessing,
    answers: Tensor | None = None,
    extra: Split | None = None,
    on_progress: OnProgress | None = None,
) -> None:
    """Train `sparse.model` in place for `pruning.epochs`; weights that are masked stay exactly 0."""
    with held(sparse.model, sparse.masks):
        distill(
            sparse.model,
            teacher,
            split,
            preprocessing=preprocessing,
            epochs=pruning.epochs,
            temperature=pruning.temperature,
            alpha=pruning.alpha,
            batch_size=pruning.batch_size,
            learning_rate=pruning.learning_rate,
            seed=pruning.seed,
            answers=answers,
            extra=extra,
            on_progress=on_progress,
        )
