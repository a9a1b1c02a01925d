"""Importance pruning: whole channels go, and what is left is a narrower dense network that needs no special kernel.

Blocks of weights that kernels skip are in `blocks`.
"""

from __future__ import annotations

from orchestrator.compression.prune.channels import prune_channels
from orchestrator.compression.prune.curvature import Importance
from orchestrator.compression.prune.recovery import LEARNING, Pruning, prune_and_recover

__all__ = ["LEARNING", "Importance", "Pruning", "prune_and_recover", "prune_channels"]
