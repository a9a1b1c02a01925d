"""The shapes of well-known small networks with random weights: for speed, and for real layer sizes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tests.kernels.graphs import BuiltModel, GraphBuilder

SAME = (1, 1, 1, 1)


def _start(name: str, shape: tuple[int, ...]) -> tuple[GraphBuilder, int]:
    builder = GraphBuilder(np.random.default_rng(0), fused_clamps=False)
    builder.model.name = name
    return builder, builder.input(shape)


def mlp() -> BuiltModel:
    builder, x = _start("mlp", (64,))
    return builder.finish(builder.linear(builder.linear(x, 128), 10))


def fc_autoencoder() -> BuiltModel:
    builder, x = _start("fc-autoencoder", (640,))
    for features in (128, 128, 128, 128, 8, 128, 128, 128, 128, 640):
        x = builder.linear(x, features)
    return builder.finish(x)


def ds_cnn() -> BuiltModel:
    builder, x = _start("ds-cnn", (49, 10, 1))
    x = builder.conv2d(x, 64, (10, 4), (2, 2), (4, 5, 1, 1))
    for _ in range(4):
        x = builder.conv2d(x, 64, (3, 3), padding=SAME, groups=64)
        x = builder.conv2d(x, 64, (1, 1))
    x = builder.average_pool(x, builder.shape(x)[:2])
    return builder.finish(builder.linear(builder.flatten(x), 12))


def mobilenet_v1_025() -> BuiltModel:
    builder, x = _start("mobilenet-v1-025", (96, 96, 3))
    x = builder.conv2d(x, 8, (3, 3), (2, 2), SAME)
    blocks = [(16, 1), (32, 2), (32, 1), (64, 2), (64, 1), (128, 2), *[(128, 1)] * 5, (256, 2), (256, 1)]
    for channels, stride in blocks:
        x = builder.conv2d(x, builder.shape(x)[2], (3, 3), (stride, stride), SAME, groups=builder.shape(x)[2])
        x = builder.conv2d(x, channels, (1, 1))
    x = builder.average_pool(x, builder.shape(x)[:2])
    return builder.finish(builder.linear(builder.flatten(x), 2))


def resnet8() -> BuiltModel:
    builder, x = _start("resnet8", (32, 32, 3))
    x = builder.conv2d(x, 16, (3, 3), padding=SAME)
    for channels, stride in ((16, 1), (32, 2), (64, 2)):
        y = builder.conv2d(x, channels, (3, 3), (stride, stride), SAME)
        y = builder.conv2d(y, channels, (3, 3), padding=SAME)
        shortcut = x if stride == 1 else builder.conv2d(x, channels, (1, 1), (stride, stride))
        x = builder.add(shortcut, y)
    x = builder.average_pool(x, builder.shape(x)[:2])
    return builder.finish(builder.softmax(builder.linear(builder.flatten(x), 10)))


def mobilenet_v2(side: int = 224) -> BuiltModel:
    builder, x = _start("mobilenet-v2", (side, side, 3))
    x = builder.conv2d(x, 32, (3, 3), (2, 2), SAME)
    stages = [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)]
    for expand, channels, repeats, first_stride in stages:
        for repeat in range(repeats):
            stride = first_stride if repeat == 0 else 1
            x = _inverted_residual(builder, x, expand, channels, stride)
    x = builder.conv2d(x, 1280, (1, 1))
    x = builder.average_pool(x, builder.shape(x)[:2])
    return builder.finish(builder.linear(builder.flatten(x), 1000))


def _inverted_residual(builder: GraphBuilder, x: int, expand: int, channels: int, stride: int) -> int:
    channels_in = builder.shape(x)[2]
    y = x if expand == 1 else builder.conv2d(x, expand * channels_in, (1, 1))
    y = builder.conv2d(y, expand * channels_in, (3, 3), (stride, stride), SAME, groups=expand * channels_in)
    y = builder.conv2d(y, channels, (1, 1))
    return builder.add(x, y) if stride == 1 and channels_in == channels else y


def vision_transformer(depth: int = 4, width: int = 64, heads: int = 4) -> BuiltModel:
    """Patches of 4 x 4 of a 28 x 28 image, a position embedding, the mean over tokens."""
    builder, x = _start("vision-transformer", (28, 28, 1))
    x = builder.conv2d(x, width, (4, 4), (4, 4))
    x = builder.add(x, builder.constant(builder.shape(x)))
    for _ in range(depth):
        y = builder.conv2d(builder.attention(builder.layer_norm(x), heads), width, (1, 1))
        x = builder.add(x, builder.reshape(y, builder.shape(x)))
        y = builder.table(builder.conv2d(builder.layer_norm(x), 2 * width, (1, 1)))
        x = builder.add(x, builder.conv2d(y, width, (1, 1)))
    x = builder.average_pool(builder.layer_norm(x), builder.shape(x)[:2])
    return builder.finish(builder.linear(builder.flatten(x), 10))


NETWORKS: dict[str, Callable[[], BuiltModel]] = {
    "mlp": mlp,
    "fc-autoencoder": fc_autoencoder,
    "ds-cnn": ds_cnn,
    "mobilenet-v1-025": mobilenet_v1_025,
    "resnet8": resnet8,
    "mobilenet-v2": mobilenet_v2,
    "vision-transformer": vision_transformer,
}
