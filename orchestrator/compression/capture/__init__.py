"""Capture: a user's `nn.Module` becomes a float graph of the operators that devices have."""

from __future__ import annotations

from torch import nn

from orchestrator.compression.capture.check import require_finite_module, require_sound
from orchestrator.compression.capture.fold import (
    drop_unread,
    fold_batch_norms,
    fold_factors,
    fold_pads,
    fold_selections,
    fuse_clamps,
)
from orchestrator.compression.capture.ir import FloatGraph, multiply_accumulates, total_macs
from orchestrator.compression.capture.trace import trace

__all__ = ["FloatGraph", "capture", "multiply_accumulates", "total_macs", "trace"]


def capture(model: nn.Module, input_shape: tuple[int, int, int]) -> FloatGraph:
    """Trace `model` for inputs (C, H, W), fold batch norm and constants, fuse activations.

    Raises:
        CaptureError: the network does something that no device can; the message names operation and source line.
        WeightError: weights are not finite, or a layer is dead.
    """
    require_finite_module(model)
    graph = trace(model, input_shape)
    fold_pads(graph)
    fold_batch_norms(graph)
    fold_selections(graph)
    fold_factors(graph)
    drop_unread(graph)  # a reader that nobody needs must not keep a clamp from fusing
    fuse_clamps(graph)
    require_sound(graph)
    return graph
