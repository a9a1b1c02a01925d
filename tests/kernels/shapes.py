"""Models whose sizes stand around those of vectors and tiles, and models at the ends of every range."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tests.kernels.graphs import BuiltModel, GraphBuilder

SIZES = [*range(1, 18), 31, 32, 33, 63, 64, 65, 127, 128, 129, 255, 256, 257]
EXTREMES = [(-128, 127), (127, -127), (-128, -127), (127, 127)]  # zero point and weight


def linear_of_every_size(bits: int) -> Iterator[BuiltModel]:
    for features in SIZES:
        builder = GraphBuilder(np.random.default_rng(features))
        x = builder.linear(builder.input((features,)), SIZES[-features % len(SIZES)], bits=bits)
        yield builder.finish(builder.linear(x, features, bits=bits, by_shift=True))


def depthwise_of_every_size(kernel: int, *, by_shift: bool) -> Iterator[BuiltModel]:
    for channels in SIZES:
        builder = GraphBuilder(np.random.default_rng(channels))
        x = builder.input((7, 6, channels))
        pad = kernel // 2
        for stride in (1, 2):
            window = ((kernel, kernel), (stride, stride), (pad,) * 4)
            x = builder.conv2d(x, channels, *window, groups=channels, by_shift=by_shift)
        yield builder.finish(x)


def convolution_of_every_size(kernel: int) -> Iterator[BuiltModel]:
    rng = np.random.default_rng(kernel)
    for width in SIZES:
        builder = GraphBuilder(rng)
        x = builder.input((kernel, width + kernel - 1, int(rng.choice(SIZES[:24]))))
        yield builder.finish(builder.conv2d(x, int(rng.choice(SIZES[:26])), (kernel, kernel)))


# Height, width, channels in and out, kernel, stride, padding, groups. Large enough to be worth tiles, with edges of all
# kinds: rows that end within a tile, runs of K that divide unevenly or not at all, channels that leave lanes empty.
LARGE = [
    (9, 5, 60, 70, 1, 1, 0, 1),
    (3, 3, 256, 200, 1, 1, 0, 1),
    (2, 1, 400, 300, 1, 1, 0, 1),
    (12, 17, 32, 48, 3, 1, 1, 1),
    (7, 33, 24, 16, 3, 1, 1, 1),
    (17, 17, 64, 33, 1, 2, 0, 1),
    (16, 31, 20, 40, 5, 2, 2, 1),
    (11, 19, 68, 24, 1, 1, 0, 1),
    (16, 16, 128, 128, 3, 1, 1, 2),
    (40, 3, 3, 64, 3, 1, 1, 1),
    (25, 40, 5, 17, 3, 1, 0, 1),
]


def large_convolution(shape: tuple[int, ...], *, by_shift: bool) -> BuiltModel:
    """Between pointwise neighbours, whose maps have a border where the middle one wants it."""
    height, width, channels_in, channels_out, kernel, stride, pad, groups = shape
    builder = GraphBuilder(np.random.default_rng(shape))
    x = builder.conv2d(builder.input((height, width, 8)), channels_in, (1, 1))
    window = ((kernel, kernel), (stride, stride), (pad,) * 4)
    x = builder.conv2d(x, channels_out, *window, groups=groups, by_shift=by_shift)
    x = builder.conv2d(x, 64, (1, 1), by_shift=by_shift)
    return builder.finish(builder.conv2d(x, 64, (3, 3), (1, 1), (1, 1, 1, 1), groups=64))


class ExtremeBuilder(GraphBuilder):
    """Every zero point and every weight is one given value."""

    zero_point = 0
    weight_value = 0

    def random_zero_point(self) -> int:
        return self.zero_point

    def weight(self, shape: tuple[int, ...], bits: int) -> tuple[int, float]:
        return self.tensor(np.full(shape, self.weight_value, dtype=np.int8)), 100.0


def extreme_model(zero_point: int, weight: int, *, by_shift: bool) -> BuiltModel:
    """Where inputs are infinite, the largest sums that there can be."""
    builder = ExtremeBuilder(np.random.default_rng(0), fused_clamps=False)
    builder.zero_point, builder.weight_value = zero_point, weight
    x = builder.conv2d(builder.input((3, 3, 100)), 100, (3, 3), padding=(1, 1, 1, 1), groups=100, by_shift=by_shift)
    x = builder.conv2d(x, 33, (3, 3), by_shift=by_shift, bias=False)
    return builder.finish(builder.linear(builder.flatten(x), 33, by_shift=by_shift, bias=False))
