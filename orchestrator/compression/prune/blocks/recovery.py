"""Block sparsity to its end: blocks go, and what is left learns again under the network it was, the mask held.

Batch norm stays live; with batch norm folded such training diverges.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from orchestrator.compression.data import Preprocessing
from orchestrator.compression.progress import OnProgress
from orchestrator.compression.prune.blocks.network import Budget, SparseNetwork, prune_blocks
from orchestrator.compression.training.distillation import distill
from orchestrator.compression.training.learning import Learning
from orchestrator.compression.training.masks import held
from orchestrator.datasets.splits import Split

LEARNING = Learning(epochs=1, learning_rate=0.02, alpha=0.9)  # gentler than from scratch: most of the network is there


@dataclass(frozen=True, kw_only=True)
class BlockPruning:
    """How sparse, and how to train back afterwards.

    Attributes:
        sparsity: share of the budget that goes; see `prune_blocks`.
        block_rows: outputs of a block, 4, 8 or 16; None chooses by the layer's width.
        budget: what the share is of; time is that of the engine on this machine unless a device's is passed.
        learning: under the mask; None leaves the network as pruning leaves it.
    """

    sparsity: float = 0.6
    block_rows: int | None = None
    budget: Budget = Budget.BLOCKS
    learning: Learning | None = LEARNING


def prune_blocks_and_recover(
    model: nn.Module,
    split: Split,
    pruning: BlockPruning,
    *,
    preprocessing: Preprocessing,
    latencies_us: Mapping[str, float] | None = None,
    teacher: nn.Module | None = None,
    answers: Tensor | None = None,
    extra: Split | None = None,
    on_progress: OnProgress | None = None,
) -> SparseNetwork:
    """Return a sparse copy of `model`, trained back on `split` under `teacher`, or under `model` itself.

    `latencies_us` are those of `prune_blocks`, `answers` and `extra` those of `distill`.

    Raises:
        PruningError, CaptureError, WeightError, DataError, TrainingError: see `prune_blocks` and `distill`.
    """
    sparse = prune_blocks(
        model,
        split,
        preprocessing=preprocessing,
        sparsity=pruning.sparsity,
        block_rows=pruning.block_rows,
        budget=pruning.budget,
        latencies_us=latencies_us,
    )
    if pruning.learning is not None:
        with held(sparse.model, sparse.masks):  # weights that are masked stay exactly 0
            distill(
                sparse.model,
                teacher or model,
                split,
                pruning.learning,
                preprocessing=preprocessing,
                answers=answers,
                extra=extra,
                on_progress=on_progress,
            )
    return sparse
