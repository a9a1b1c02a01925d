"""Small networks and trained fixtures for the compression tests; digits, seconds on one core."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class Residual(nn.Module):
    """Stem, one residual block, concatenated branches, depthwise convolution, pooling: every topology at once."""

    def __init__(self, width: int = 12) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, width, 3, padding=1, bias=False)
        self.stem_norm = nn.BatchNorm2d(width)
        self.inner = nn.Conv2d(width, width, 3, padding=1)
        self.inner_norm = nn.BatchNorm2d(width)
        self.depthwise = nn.Conv2d(width, width, 3, padding=1, groups=width, bias=False)
        self.depthwise_norm = nn.BatchNorm2d(width)
        self.pointwise = nn.Conv2d(width, 2 * width, 1)
        self.branch = nn.Conv2d(width, width, 1)
        self.head = nn.Linear(3 * width * 4 * 4, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.stem_norm(self.stem(x)))
        x = functional.relu(self.inner_norm(self.inner(x)) + x)
        y = functional.relu6(self.depthwise_norm(self.depthwise(x)))
        joined = torch.cat([functional.relu(self.pointwise(y)), functional.relu(self.branch(x))], dim=1)
        logits: Tensor = self.head(torch.flatten(functional.max_pool2d(joined, 2), 1))
        return logits


class EveryOperator(nn.Module):
    """Untrained, odd shapes: asymmetric strides, padded pools, tables, a clamp that cannot be fused, softmax."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 6, (3, 2), stride=(1, 2), padding=(2, 1))
        self.grouped = nn.Conv2d(6, 8, 3, padding="same", groups=2)
        self.lone_norm = nn.BatchNorm2d(8)
        self.head = nn.Linear(8 * 5 * 3 + 8, 10)
        nn.init.normal_(self.lone_norm.running_mean)
        nn.init.uniform_(self.lone_norm.running_var, 0.5, 2.0)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.hardswish(self.first(x))
        x = functional.silu(self.grouped(x))
        x = self.lone_norm(x + functional.gelu(x))
        clamped = functional.hardtanh(x, -0.7, 0.9)
        x = functional.max_pool2d(clamped + torch.sigmoid(x), 3, stride=2, padding=1)
        x = functional.avg_pool2d(x, 3, stride=1, padding=1)
        flat = torch.cat([x.flatten(1), x.mean(dim=(2, 3))], dim=1)
        return torch.softmax(self.head(functional.dropout(flat, 0.5, self.training)), dim=1)


class PlainShortcut(nn.Module):
    """Its shortcut is every other pixel, and zeros for the channels that are new (He et al. 2016, option A)."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 4, 3, padding=1)
        self.second = nn.Conv2d(4, 8, 3, stride=2, padding=1)
        self.head = nn.Linear(128, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.first(x))
        x = functional.relu(self.second(x) + functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 2, 2)))
        logits: Tensor = self.head(torch.flatten(x, 1))
        return logits


def small_network(width: int = 8) -> nn.Module:
    """Two convolutions and a linear layer; input [N, 1, 8, 8]."""
    return nn.Sequential(
        nn.Conv2d(1, width, 3, padding=1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.Conv2d(width, 2 * width, 3, stride=2, padding=1),
        nn.ReLU6(),
        nn.Flatten(),
        nn.Linear(2 * width * 4 * 4, 10),
    )


class SqueezeExcite(nn.Module):
    """As in MobileNetV3; `linear` squeezes to a flat feature map."""

    def __init__(self, *, linear: bool) -> None:
        super().__init__()
        self.linear = linear
        self.expand = nn.Conv2d(1, 16, 3, padding=1)
        self.depthwise = nn.Conv2d(16, 16, 3, padding=1, groups=16)
        self.squeeze = nn.Linear(16, 4) if linear else nn.Conv2d(16, 4, 1)
        self.excite = nn.Linear(4, 16) if linear else nn.Conv2d(4, 16, 1)
        self.project = nn.Conv2d(16, 16, 3, padding=1)
        self.head = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.hardswish(self.depthwise(functional.relu(self.expand(x))))
        gate = x.mean(dim=(2, 3), keepdim=not self.linear)
        gate = functional.hardsigmoid(self.excite(functional.relu(self.squeeze(gate))))
        x = x * (gate.unflatten(1, (-1, 1, 1)) if self.linear else gate)
        logits: Tensor = self.head(self.project(x).mean(dim=(2, 3)))
        return logits
