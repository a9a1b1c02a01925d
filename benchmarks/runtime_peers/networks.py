"""The networks that are measured: MLPerf Tiny's four, MobileNetV2 1.0 at 224 and a small MLP, as torch modules.

Weights are random but seeded, so every peer's environment (same torch version) builds the same network. Needs torch;
what only has to know names and sizes imports `catalogue`.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from runtime_peers.catalogue import MEASURED

SEED = 20


def conv_bn(
    inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1, act: type[nn.Module] | None = nn.ReLU
) -> nn.Sequential:
    layers: list[nn.Module] = [
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
    ]
    return nn.Sequential(*layers, *([act()] if act else []))


def separable(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(conv_bn(inputs, inputs, 3, stride, groups=inputs), conv_bn(inputs, outputs, 1))


class Classifier(nn.Module):
    """Features, global average, linear."""

    def __init__(self, features: nn.Sequential, channels: int, outputs: int) -> None:
        super().__init__()
        self.features = features
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(channels, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.flatten(self.pool(self.features(x)), 1))


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 10))


def fc_autoencoder() -> nn.Module:
    widths = [640, 128, 128, 128, 128, 8, 128, 128, 128, 128]
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        layers += [nn.Linear(inputs, outputs), nn.BatchNorm1d(outputs), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(widths[-1], 640))


def ds_cnn() -> nn.Module:
    # 49 x 10 features of one second of sound; one more row of padding than TensorFlow's SAME, the same 25 x 5 outputs.
    stem = nn.Sequential(nn.Conv2d(1, 64, (10, 4), 2, (5, 1), bias=False), nn.BatchNorm2d(64), nn.ReLU())
    return Classifier(nn.Sequential(stem, *(separable(64, 64) for _ in range(4))), 64, 12)


def mobilenet_v1() -> nn.Module:
    plan = [(16, 1), (32, 2), (32, 1), (64, 2), (64, 1), (128, 2), *[(128, 1)] * 5, (256, 2), (256, 1)]
    blocks: list[nn.Module] = [conv_bn(3, 8, 3, 2)]
    channels = 8
    for outputs, stride in plan:
        blocks.append(separable(channels, outputs, stride))
        channels = outputs
    return Classifier(nn.Sequential(*blocks), channels, 2)


class Residual(nn.Module):
    """body(x) + skip(x), then an activation if there is one."""

    def __init__(self, body: nn.Module, skip: nn.Module | None = None, act: nn.Module | None = None) -> None:
        super().__init__()
        self.body, self.skip, self.act = body, skip or nn.Identity(), act or nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.body(x) + self.skip(x))


def resnet8(inputs: int = 3, widths: tuple[int, int, int, int] = (16, 16, 32, 64)) -> nn.Module:
    channels, *stages = widths
    blocks: list[nn.Module] = [conv_bn(inputs, channels, 3)]
    for outputs, stride in zip(stages, (1, 2, 2), strict=True):
        body = nn.Sequential(conv_bn(channels, outputs, 3, stride), conv_bn(outputs, outputs, 3, act=None))
        skip = nn.Conv2d(channels, outputs, 1, stride) if stride > 1 else None
        blocks.append(Residual(body, skip, nn.ReLU()))
        channels = outputs
    return Classifier(nn.Sequential(*blocks), channels, 10)


def inverted_residual(inputs: int, outputs: int, stride: int, expand: int) -> nn.Module:
    hidden = inputs * expand
    layers = [conv_bn(inputs, hidden, 1, act=nn.ReLU6)] if expand > 1 else []
    layers += [conv_bn(hidden, hidden, 3, stride, groups=hidden, act=nn.ReLU6), conv_bn(hidden, outputs, 1, act=None)]
    body = nn.Sequential(*layers)
    return Residual(body) if stride == 1 and inputs == outputs else body


def mobilenet_v2() -> nn.Module:
    plan = [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)]
    blocks: list[nn.Module] = [conv_bn(3, 32, 3, 2, act=nn.ReLU6)]
    channels = 32
    for expand, outputs, repeats, stride in plan:
        for index in range(repeats):
            blocks.append(inverted_residual(channels, outputs, stride if index == 0 else 1, expand))
            channels = outputs
    blocks.append(conv_bn(channels, 1280, 1, act=nn.ReLU6))
    return Classifier(nn.Sequential(*blocks), 1280, 1000)


def pointwise() -> nn.Module:
    layers = [layer for _ in range(4) for layer in (nn.Conv2d(256, 256, 1, bias=False), nn.ReLU())]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())


BUILDERS = {
    "mlp": mlp,
    "fc-autoencoder": fc_autoencoder,
    "ds-cnn": ds_cnn,
    "mobilenet-v1": mobilenet_v1,
    "resnet8": resnet8,
    "mobilenet-v2": mobilenet_v2,
    "pointwise-256": pointwise,
    "linear-4096": lambda: nn.Linear(4224, 4096, bias=False),
}


def build(name: str) -> nn.Module:
    """The network in evaluation mode, batch norm statistics from its own calibration inputs.

    Raises:
        ValueError: its multiplications or weights are not what the catalogue says.
    """
    torch.manual_seed(SEED)
    torch.set_num_threads(1)
    model = BUILDERS[name]()
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.momentum = None
    with torch.no_grad():
        model.train()(to_tensor(calibration_pixels(name)[:16]))
    model.eval()
    check_size(name, model)
    return model


def check_size(name: str, model: nn.Module) -> None:
    counted = count(model, MEASURED[name].input_shape)
    expected = (MEASURED[name].macs, MEASURED[name].weights)
    if counted != expected:
        raise ValueError(f"{name} has (MACs, weights) {counted}, expected {expected}")


def count(model: nn.Module, input_shape: tuple[int, ...]) -> tuple[int, int]:
    """Multiply-accumulates of one inference and weights (biases and batch norm left out)."""
    layers = [module for module in model.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    macs = 0

    def add(module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal macs
        macs += module.weight[0].numel() * output.numel()

    hooks = [layer.register_forward_hook(add) for layer in layers]
    with torch.no_grad():
        model(torch.zeros(1, *input_shape))
    for hook in hooks:
        hook.remove()
    return macs, sum(layer.weight.numel() for layer in layers)


def calibration_pixels(name: str, samples: int = 64) -> np.ndarray:
    """Seeded uint8 inputs [N, *input_shape]: noise, each sample with a share of bright pixels of its own.

    So outputs differ between samples, yet every sample spans the whole range: some peers average ranges.
    """
    shape = MEASURED[name].input_shape
    rng = np.random.default_rng(SEED)
    share = rng.random((samples, *[1] * len(shape)))
    bright = rng.random((samples, *shape)) < share
    return (rng.integers(0, 128, (samples, *shape)) + 128 * bright).astype(np.uint8)


def to_tensor(pixels: np.ndarray) -> Tensor:
    """What the networks see: pixel / 255."""
    return torch.from_numpy(pixels.astype(np.float32) / 255)
