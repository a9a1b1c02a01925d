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
