"""Takes channels out of a module: slices every parameter that has them and corrects the widths that layers state."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from orchestrator.compression.errors import PruningError
from orchestrator.compression.prune.dependencies import Channels, stays


def remove_channels(model: nn.Module, channels: Channels, gone: set[int]) -> None:
    """Remove the channels with ids in `gone` from `model`, in place."""
    for use in channels.uses:
        keep = torch.from_numpy(np.flatnonzero(stays(use.ids, gone)))
        module, name = _owner(model, use.parameter)
        tensor: Tensor = getattr(module, name)
        kept = tensor.detach().index_select(use.dim, keep)
        if isinstance(tensor, nn.Parameter):
            setattr(module, name, nn.Parameter(kept, requires_grad=tensor.requires_grad))
        else:
            module.register_buffer(name, kept)
    for path, inputs in channels.depthwise.items():
        module, _ = _owner(model, path)
        if isinstance(module, nn.Conv1d | nn.Conv2d):
            module.groups = int(stays(inputs, gone).sum())
    for module in model.modules():
        _state_widths(module)


def take_widths(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Make `model`, as it was built, as narrow as the pruned one whose parameters and buffers `tensors` are, in place.

    Raises:
        PruningError: these are tensors of another network.
    """
    if tensors.keys() != model.state_dict().keys():
        raise PruningError("the narrower network is not one of this network: they have other parameters")
    multipliers = {
        module: module.out_channels // module.groups
        for module in model.modules()
        if isinstance(module, nn.Conv1d | nn.Conv2d) and module.groups > 1
    }
    for path, kept in tensors.items():
        module, name = _owner(model, path)
        if isinstance(getattr(module, name), nn.Parameter):
            setattr(module, name, nn.Parameter(kept))
        else:
            module.register_buffer(name, kept)
    for convolution, multiplier in multipliers.items():
        convolution.groups = convolution.weight.shape[0] // multiplier
    for module in model.modules():
        _state_widths(module)


def _state_widths(module: nn.Module) -> None:
    """The numbers that a layer prints and checks, taken from its parameters."""
    if isinstance(module, nn.Conv1d | nn.Conv2d):
        module.out_channels = module.weight.shape[0]
        module.in_channels = module.weight.shape[1] * module.groups
    elif isinstance(module, nn.Linear):
        module.out_features, module.in_features = module.weight.shape
    elif isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d) and module.running_mean is not None:
        module.num_features = module.running_mean.shape[0]


def _owner(model: nn.Module, path: str) -> tuple[nn.Module, str]:
    module_path, _, name = path.rpartition(".")
    return model.get_submodule(module_path), name
