"""Sparsity pruning: blocks of weights that the engine's kernels skip become zero, and the rest makes up for them."""

from __future__ import annotations

from orchestrator.compression.prune.blocks.network import Budget, SparseNetwork, prune_blocks, prune_blocks_by_magnitude
from orchestrator.compression.prune.blocks.recovery import LEARNING, BlockPruning, prune_blocks_and_recover

__all__ = [
    "LEARNING",
    "BlockPruning",
    "Budget",
    "SparseNetwork",
    "prune_blocks",
    "prune_blocks_and_recover",
    "prune_blocks_by_magnitude",
]
