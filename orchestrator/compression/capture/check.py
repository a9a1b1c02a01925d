"""Refuses weights that no quantization can mend."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from orchestrator.compression.capture import ir
from orchestrator.compression.errors import WeightError


def require_finite_module(model: nn.Module) -> None:
    """Raise `WeightError` naming the first parameter or buffer that holds NaN or infinity."""
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            bad = int((~torch.isfinite(tensor)).sum())
            raise WeightError(f"{name} holds {bad} value(s) that are not finite, of {tensor.numel()}")


def require_sound(graph: ir.FloatGraph) -> None:
    """Raise `WeightError` for a layer that is dead or, once batch norm is folded, not finite."""
    for node in graph.nodes:
        if not isinstance(node, ir.Weighted):
            continue
        where = f" (at {node.source})" if node.source else ""
        for what, tensor in (("weight", node.weight), ("bias", node.bias)):
            if not bool(torch.isfinite(tensor).all()):
                raise WeightError(f"{node.name}: the {what} is not finite after folding batch norm{where}")
        if not bool(_varies(node.weight)):
            raise WeightError(f"{node.name}: every weight is zero, so its output never changes{where}")


def _varies(weight: Tensor) -> Tensor:
    return (weight != 0).any()
