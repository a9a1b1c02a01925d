"""What the digits job trains: the data, a teacher and a student. Shipped to the cluster as the working directory."""

from __future__ import annotations

from torch import nn

from orchestrator.datasets.digits import load_digits
from orchestrator.datasets.splits import Splits


def load_data() -> Splits:
    return load_digits()


def teacher() -> nn.Module:
    return _network(width=24)


def student() -> nn.Module:
    return _network(width=8)


def _network(width: int) -> nn.Module:
    """Two convolutions and a linear layer; input [N, 1, 8, 8]."""
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
        nn.Linear(2 * width * 2 * 2, 10),
    )
