"""Models at random from a seed: every operator, both requantize forms, all bit widths, odd sizes."""

from __future__ import annotations

import numpy as np

from edge_agent.runtime import limits
from tests.kernels.graphs import BuiltModel, GraphBuilder


def random_model(seed: int, *, largest_side: int = 13, largest_channels: int = 37) -> BuiltModel:
    """A model of one to eight random operators, made from nothing but the seed."""
    rng = np.random.default_rng(seed)
    builder = GraphBuilder(rng, inline_limit=int(rng.choice([64, 4096])))
    by_shift_only = bool(rng.random() < 0.3)
    if rng.random() < 0.8:
        shape: tuple[int, ...] = (
            int(rng.integers(1, largest_side + 1)),
            int(rng.integers(1, largest_side + 1)),
            int(rng.integers(1, largest_channels + 1)),
        )
    else:
        shape = (int(rng.integers(1, 300)),)
    x = builder.input(shape, raw=bool(rng.random() < 0.8), affine=bool(rng.random() < 0.2))
    for _ in range(int(rng.integers(1, 9))):
        x = _random_operator(builder, x, by_shift=by_shift_only or bool(rng.random() < 0.3))
    return builder.finish(x)


def _random_operator(builder: GraphBuilder, x: int, *, by_shift: bool) -> int:
    rng, shape = builder.rng, builder.shape(x)
    bits = int(rng.choice([8, 8, 8, 6, 4, 3, 2]))
    has_bias = bool(rng.random() < 0.8)
    shared = ["add", "concat", "clamp", "table", "softmax", "layer_norm", "multiply", "constant", "select"]
    if shape[-1] > limits.NORM_CHANNELS:
        shared.remove("layer_norm")
    spatial = ["conv2d", "pointwise", "depthwise", "grouped", "conv2d", "max_pool", "average_pool", "global", "flatten"]
    spatial += ["permute", "reshape", "matmul", "matmul", "attention", "scale_channels"]
    kind = str(rng.choice([*shared, *(spatial if len(shape) == 3 else ["linear", "linear", "rule_table"] * 2)]))
    options = {"bits": bits, "by_shift": by_shift, "bias": has_bias}
    is_sparse = kind in ("linear", "pointwise", "conv2d") and rng.random() < 0.35
    builder.block_rows = int(rng.choice([4, 8, 16])) if is_sparse else 0
    builder.block_density = float(rng.choice([0.0, 0.1, 0.25, 0.5, 1.0]))
    match kind:
        case "linear":
            return builder.linear(x, int(rng.integers(1, 150)), **options)
        case "pointwise":
            stride = int(rng.choice([1, 1, 2]))
            return builder.conv2d(x, _random_channels(rng), (1, 1), (stride, stride), **options)
        case "conv2d" | "depthwise" | "grouped":
            kernel, stride, padding = _random_window(rng, shape, pool=False)
            groups = {"conv2d": 1, "depthwise": shape[2], "grouped": _random_divisor(rng, shape[2])}[kind]
            per_group = _random_channels(rng) if kind == "conv2d" else int(rng.choice([1, 1, 2, 3]))
            return builder.conv2d(x, groups * per_group, kernel, stride, padding, groups, **options)
        case "max_pool":
            return builder.max_pool(x, *_random_window(rng, shape, pool=True))
        case "average_pool":
            return builder.average_pool(x, *_random_window(rng, shape, pool=True), by_shift=by_shift)
        case "global":
            return builder.average_pool(x, (shape[0], shape[1]), by_shift=by_shift)
        case "layer_norm":
            return builder.layer_norm(x, by_shift=by_shift, bias=has_bias)
        case "multiply":
            return builder.multiply(x, _earlier_of_shape(builder, shape, x), by_shift=by_shift)
        case "scale_channels":
            return builder.multiply(x, builder.average_pool(x, (shape[0], shape[1])), by_shift=by_shift)
        case "constant":
            return builder.add(x, builder.constant(shape), by_shift=by_shift)
        case "permute":
            return builder.permute(x, tuple(int(axis) for axis in rng.permutation(3)))
        case "reshape":
            return builder.reshape(
                x, (shape[2], 1, shape[0] * shape[1]) if rng.random() < 0.5 else (1, shape[0] * shape[1], shape[2])
            )
        case "matmul":
            return _random_matmul(builder, x, by_shift=by_shift)
        case "attention":
            heads = _random_divisor(rng, shape[2])
            scores = (shape[0] * shape[1]) ** 2
            if scores > 1 << 20:
                return builder.clamp(x)
            return builder.attention(x, heads if heads * scores <= 1 << 16 else 1, by_shift=by_shift)
        case "rule_table":
            trees = int(rng.choice([1, 1, 2, 5]))
            classes = int(rng.choice([1, 1, 3, 10, 65]))
            return builder.rule_table(x, classes, int(rng.integers(0, 50)), trees, by_shift=by_shift)
        case "select":
            return _random_select(builder, x, by_shift=by_shift)
        case "add":
            return builder.add(x, _earlier_of_shape(builder, shape, x), by_shift=by_shift)
        case "concat":
            others = [index for index in range(x) if builder.shape(index)[:-1] == shape[:-1]]
            chosen = [x, *(int(i) for i in rng.choice(others, min(len(others), 2), replace=False))] if others else [x]
            return builder.concat(chosen, by_shift=by_shift)
        case _:
            operator: int = getattr(builder, kind)(x)
            return operator


def _random_select(builder: GraphBuilder, x: int, *, by_shift: bool) -> int:
    """Some operators on one grid make the branches; the gate is one value of whatever is flat, else of the input."""
    flat = [index for index in range(x + 1) if len(builder.shape(index)) == 1]
    source = int(builder.rng.choice(flat)) if flat else builder.flatten(0)
    gate = builder.rule_table(source, 1, int(builder.rng.integers(1, 8)), by_shift=by_shift)
    branches = [builder.clamp(x) if builder.rng.random() < 0.7 else x for _ in range(2)]
    return builder.select(gate, branches[0], branches[1])


def _random_matmul(builder: GraphBuilder, x: int, *, by_shift: bool) -> int:
    """`x` as either operand, in any layout, against a constant of whatever shape that needs."""
    rng, shape = builder.rng, builder.shape(x)
    is_stacked, transposed = bool(rng.random() < 0.5) and shape[0] > 1, bool(rng.random() < 0.5)
    heads = shape[0] if is_stacked else _random_divisor(rng, shape[2])
    stacked = [is_stacked, *(bool(rng.random() < 0.5) and heads > 1 for _ in range(2))]
    rows, columns = (shape[1], shape[2]) if is_stacked else (shape[0] * shape[1], shape[2] // heads)
    is_first = bool(rng.random() < 0.5)
    inner = columns if is_first or transposed else rows
    other = int(rng.choice([1, 2, 3, 7, 16, 17, 33, 49]))
    matrix = (inner, other) if is_first and not transposed else (other, inner)
    y = builder.constant((heads, *matrix) if stacked[1] else (1, matrix[0], heads * matrix[1]))
    if is_first:
        layout = (stacked[0], stacked[1], stacked[2])
        return builder.matmul(x, y, heads, stacked=layout, b_transposed=transposed, by_shift=by_shift)
    layout = (stacked[1], stacked[0], stacked[2])
    return builder.matmul(y, x, heads, stacked=layout, b_transposed=transposed, by_shift=by_shift)


def _earlier_of_shape(builder: GraphBuilder, shape: tuple[int, ...], x: int) -> int:
    return int(builder.rng.choice([index for index in range(x + 1) if builder.shape(index) == shape]))


def _random_channels(rng: np.random.Generator) -> int:
    return int(rng.choice([1, 2, 3, 7, 8, 15, 16, 17, 31, 32, 33, 48, 64, 65]))


def _random_divisor(rng: np.random.Generator, number: int) -> int:
    return int(rng.choice([d for d in range(1, number + 1) if number % d == 0]))


def _random_window(
    rng: np.random.Generator, shape: tuple[int, ...], *, pool: bool
) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int, int, int]]:
    kernels, strides, pads = [], [], []
    for side in shape[:2]:
        kernel = int(rng.choice([1, 2, 3, 3, 3, 4, 5, 7]))
        largest = kernel - 1 if pool else kernel
        before, after = (int(p) for p in rng.integers(0, largest + 1, 2))
        if side + before + after < kernel:
            kernel, before, after = side, 0, 0
        kernels.append(kernel)
        strides.append(int(rng.choice([1, 1, 2, 3])))
        pads += [before, after]
    return (kernels[0], kernels[1]), (strides[0], strides[1]), (pads[0], pads[1], pads[2], pads[3])
