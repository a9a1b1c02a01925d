"""Keeps what pruning made zero at zero while a network trains."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from orchestrator.compression.errors import PruningError


def zeros_of(model: nn.Module) -> dict[str, Tensor]:
    """Masks, false where a weight is exactly 0, of the parameters that have such: training leaves none by chance."""
    weights = {name: parameter for name, parameter in model.named_parameters() if parameter.ndim > 1}
    return {name: weight != 0 for name, weight in weights.items() if (weight == 0).any()}


@contextmanager
def held(model: nn.Module, masks: dict[str, Tensor]) -> Iterator[None]:
    """Masked weights are 0 and have no gradient; a 0 without gradient has no momentum and no decay, so it stays 0.

    Raises:
        PruningError: a mask does not fit its parameter.
    """
    handles = []
    try:
        for name, mask in masks.items():
            parameter = model.get_parameter(name)
            if parameter.shape != mask.shape:
                raise PruningError(f"the mask of {name} is {tuple(mask.shape)}, the weight {tuple(parameter.shape)}")
            with torch.no_grad():
                parameter.mul_(mask)
            hook = lambda gradient, mask=mask: gradient * mask  # noqa: E731
            handles.append(parameter.register_hook(hook))  # type: ignore[no-untyped-call]
        yield
    finally:
        for handle in handles:
            handle.remove()
