"""Imported by the workload, to show that a working directory may hold several modules."""

from __future__ import annotations

from torch import nn


def network(width: int) -> nn.Module:
    """Input [N, 1, 8, 8], logits [N, 10]."""
    return nn.Sequential(
        nn.Conv2d(1, width, 3, padding=1),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(width, 2 * width, 3, padding=1),
        nn.BatchNorm2d(2 * width),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(2 * width * 4, 10),
    )
