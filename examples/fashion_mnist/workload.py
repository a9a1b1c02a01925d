"""What the Fashion-MNIST job trains: the data, a teacher and a student; shipped to the cluster as working directory.

Both networks are small residual networks in the manner of ResNet-8 (He et al. 2015, arXiv:1512.03385). The first
convolution halves the resolution, which costs a point of accuracy and saves three quarters of the work.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from orchestrator.datasets.fashion_mnist import load_fashion_mnist
from orchestrator.datasets.splits import Splits

TRAIN_COUNT = 36_000  # images; enough for a demonstration, 54,000 is all there is


def load_data(*, train_count: int = TRAIN_COUNT, folder: str | None = None) -> Splits:
    return load_fashion_mnist(folder, train_count=train_count)


def teacher() -> nn.Module:
    """About 174,000 parameters."""
    return ResidualNetwork(width=24)


def student() -> nn.Module:
    """About 44,000 parameters, 1.4 million multiplications."""
    return ResidualNetwork(width=12)


class ResidualNetwork(nn.Module):
    """Three residual blocks of `width`, 2 and 4 times `width` channels; input [N, 1, 28, 28], logits [N, 10]."""

    def __init__(self, width: int, classes: int = 10) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, width, 3, stride=2, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(width)
        self.blocks = nn.Sequential(
            ResidualBlock(width, width, stride=1),
            ResidualBlock(width, 2 * width, stride=2),
            ResidualBlock(2 * width, 4 * width, stride=2),
        )
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(4 * width, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.norm(self.stem(x)))
        x = self.pool(self.blocks(x))
        logits: Tensor = self.head(torch.flatten(x, 1))
        return logits


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions beside an identity, or a 1 x 1 convolution where the shape changes."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.first_norm = nn.BatchNorm2d(outputs)
        self.second = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.second_norm = nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu(self.first_norm(self.first(x)))
        y = self.second_norm(self.second(y))
        return functional.relu(y + self.shortcut(x))
