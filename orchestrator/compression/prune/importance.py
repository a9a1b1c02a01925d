"""How much the loss would change if a channel went: the first-order Taylor term, summed over everything that reads it.

A channel has no effect once every weight that reads it is zero. With L the loss and w those weights, the change is
-sum w dL/dw to first order; its square, averaged over small batches, is the channel's importance. Taking the sum over
all readers at once is what makes it right for residual networks, where one channel runs through many layers.

    importance(c) = E_batch [ (sum over weights w that read c of w dL/dw)^2 ]

Molchanov et al. 2019, arXiv:1906.10771, eq. 8 (theirs sums over the weights that write the channel; under batch norm in
training mode that sum is zero). Batch norm is in evaluation mode here.

Without labels, L is the loss to labels that are drawn from the network's own softmax. What is averaged is then the
channel's share of the Fisher information, which says how far the answers move, right or wrong; with true labels it is
what is called the empirical one (Kunstner et al. 2019, arXiv:1905.12558).
"""

from __future__ import annotations

from enum import StrEnum

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from orchestrator.compression.data import Preprocessing, images_to_tensor, labels_to_tensor, require_classes
from orchestrator.compression.errors import PruningError
from orchestrator.compression.modes import evaluation_mode
from orchestrator.compression.prune.dependencies import Channels
from orchestrator.datasets.splits import Split

BATCH_SIZE = 16
BATCHES = 48


class Importance(StrEnum):
    """Whose loss it is that a channel must not change."""

    LABELS = "labels"
    ANSWERS = "answers"  # to the network's own; reads no labels


def channel_importance(
    model: nn.Module,
    channels: Channels,
    split: Split,
    *,
    preprocessing: Preprocessing,
    seed: int,
    importance: Importance = Importance.LABELS,
) -> list[float]:
    """Importance, indexed by channel id; weights, mode and gradients of `model` are left as they were.

    Raises:
        DataError: a label is none of the network's outputs.
        PruningError: the loss overflows.
    """
    parameters = dict(model.named_parameters(remove_duplicate=False))
    reading = [use for use in channels.readers if use.parameter in parameters]
    weights = [parameters[use.parameter] for use in reading]
    size = 1 + max((int(ids.max()) for ids in channels.of_value.values()), default=0)
    total = np.zeros(size)
    order = np.random.default_rng(seed).permutation(len(split))[: BATCH_SIZE * BATCHES]
    generator = torch.Generator().manual_seed(seed)
    with evaluation_mode(model):
        for indices in np.array_split(order, max(len(order) // BATCH_SIZE, 1)):
            logits = model(images_to_tensor(split.inputs[indices], preprocessing))
            if importance is Importance.LABELS:
                labels = labels_to_tensor(split.labels[indices])
                require_classes(labels, logits.shape[1])
            else:
                labels = torch.multinomial(logits.detach().softmax(dim=1), 1, generator=generator)[:, 0]
            loss = functional.cross_entropy(logits, labels)
            change = np.zeros(size)
            for use, weight, gradient in zip(reading, weights, torch.autograd.grad(loss, weights), strict=True):
                term = (weight.detach() * gradient).transpose(0, use.dim).flatten(1).sum(dim=1)
                np.add.at(change, use.ids, term.numpy())
            total += change**2
    if not np.isfinite(total).all():
        raise PruningError("the importance of channels is not finite: the network's answers or gradients overflow")
    return [float(value) for value in total]
