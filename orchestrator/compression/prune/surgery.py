"""Takes channels out of a module: slices every parameter that has them and corrects the widths that layers state."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from orchestrator.compression.prune.dependencies import Channels, Ids


def remove_channels(model: nn.Module, channels: Channels, gone: set[int]) -> None:
    """Remove the channels with ids in `gone` from `model`, in place."""
    for use in channels.uses:
        keep = torch.from_numpy(np.flatnonzero(_stays(use.ids, gone)))
        module, name = _owner(model, use.parameter)
        tensor: Tensor = getattr(module, name)
        kept = tensor.detach().index_select(use.dim, keep)
        if isinstance(tensor, nn.Parameter):
            setattr(module, name, nn.Parameter(kept, requires_grad=tensor.requires_grad))
        else:
            module.register_buffer(name, kept)
    for path, inputs in channels.depthwise.items():
        module, _ = _owner(model, path)
        if isinstance(module, nn.Conv2d):
            module.groups = int(_stays(inputs, gone).sum())
    for module in model.modules():
        _state_widths(module)


def _state_widths(module: nn.Module) -> None:
    """The numbers that a layer prints and checks, taken from its parameters."""
    if isinstance(module, nn.Conv2d):
        module.out_channels = module.weight.shape[0]
        module.in_channels = module.weight.shape[1] * module.groups
    elif isinstance(module, nn.Linear):
        module.out_features, module.in_features = module.weight.shape
    elif isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d) and module.running_mean is not None:
        module.num_features = module.running_mean.shape[0]


def _owner(model: nn.Module, path: str) -> tuple[nn.Module, str]:
    module_path, _, name = path.rpartition(".")
    return model.get_submodule(module_path), name


def _stays(ids: Ids, gone: set[int]) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    return ~np.isin(ids, list(gone))
