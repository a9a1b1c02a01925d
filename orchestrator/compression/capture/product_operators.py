"""Products of feature maps, attention above all.

A product reads heads where they are, side by side in the channels or stacked, if a view lies so (docs/format.md,
"Heads"); only what lies otherwise is permuted first.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

from orchestrator.compression.capture import ir
from orchestrator.compression.capture.call import Call, Value
from orchestrator.compression.capture.emitter import BATCH
from orchestrator.compression.capture.sequence_operators import in_order, linear_over, over_last
from orchestrator.compression.capture.views import Shape, View, is_run, merged, run_of


@dataclass(frozen=True)
class _Operand:
    """A matrix of each head in the feature map `name`; `is_transposed` counts for the second operand."""

    name: str
    is_stacked: bool
    is_transposed: bool


def _matmul(call: Call) -> View:
    first, second = call.node.args[:2]
    weight = call.constant_of(second)
    if weight is not None:
        call.require(weight.ndim == 2, "multiplies by a constant that is not a matrix")
        zeros = torch.zeros(weight.shape[1], dtype=torch.float64)
        return linear_over(call, call.view(first), {"weight": weight.T.clone(), "bias": zeros})
    return multiply_matrices(call, call.view(first), call.view(second), 1.0)


def _batched_matmul(call: Call) -> View:
    """Samples alone, or samples and heads as one dimension, which is how torch's own attention multiplies."""
    a, b = (call.view(operand) for operand in call.node.args[:2])
    if all(call.emitter.has_samples_first(view) for view in (a, b)):
        return multiply_matrices(call, a, b, 1.0)
    apart = [view.reshape((BATCH, view.shape[0] // BATCH, *view.shape[1:])) for view in (a, b)]
    if apart[0] is None or apart[1] is None:
        call.refuse("does not keep samples apart")
    product = multiply_matrices(call, apart[0], apart[1], 1.0)
    samples, heads, *matrix = product.dims
    return View(product.name, (merged([*samples, *heads]), *matrix))


def multiply_matrices(call: Call, a: View, b: View, factor: float) -> View:
    """a @ b over the last two dimensions, the ones before them being samples and heads."""
    call.require(len(a.dims) == len(b.dims) >= 3, f"multiplies {a.shape} by {b.shape}; give both as many dimensions")
    lead, (rows, columns) = a.shape[:-2], (a.shape[-2], b.shape[-1])
    call.require(lead == b.shape[:-2], f"broadcasts {lead} with {b.shape[:-2]}; shapes must be equal")
    heads = math.prod(lead[1:])
    left, right = _operand(call, a, heads, (False,)), _operand(call, b, heads, (True, False))
    stacked = heads > 1 and (right.is_stacked or right.is_transposed)
    out = (columns, heads, rows) if stacked else (heads * columns, *_pixels(call, left, rows))
    name = call.emit(
        ir.MatMul, [left.name, right.name], out, factor=factor, size=out[1:], heads=heads, a_stacked=left.is_stacked,
        b_stacked=right.is_stacked, b_transposed=right.is_transposed, output_stacked=stacked,
    )  # fmt: skip
    head_axes = list(range(1, len(lead)))
    row_axis = len(lead)
    return in_order(
        name,
        (*lead, rows, columns),
        [*head_axes, row_axis, row_axis + 1] if stacked else [row_axis, *head_axes, row_axis + 1],
    )


def _pixels(call: Call, left: _Operand, rows: int) -> Shape:
    shape = call.emitter.shapes[left.name]
    return shape[1:] if not left.is_stacked and math.prod(shape[1:]) == rows else (1, rows)


def _operand(call: Call, view: View, heads: int, transpositions: tuple[bool, ...]) -> _Operand:
    """The first layout in which the view already lies; stacked, by a permutation, where it lies in none."""
    last = len(view.dims) - 1
    head_axes = list(range(1, last - 1))
    for is_transposed in transpositions:
        row, column = (last, last - 1) if is_transposed else (last - 1, last)
        size = view.shape[column]
        side_by_side = [row, *head_axes, column]
        if is_run(run_of(view, side_by_side)):
            channels, *pixels = call.emitter.shapes[view.name]
            fits = len(pixels) == 2 and channels == heads * size
            shape = (channels, *pixels) if fits else (heads * size, 1, view.shape[row])
            return _Operand(call.emitter.arrange(view, side_by_side, shape), False, is_transposed)
        if heads > 1 and is_run(run_of(view, [*head_axes, row, column])):
            shape = (size, heads, view.shape[row])
            return _Operand(call.emitter.arrange(view, [*head_axes, row, column], shape), True, is_transposed)
    order, size = [*head_axes, last - 1, last], view.shape[last]
    shape = (size, heads, view.shape[last - 1]) if heads > 1 else (size, 1, view.shape[last - 1])
    return _Operand(call.emitter.arrange(view, order, shape), heads > 1, False)


def _attention(call: Call) -> View:
    call.require(call["attn_mask"] is None and not call["is_causal"], "has a mask; masks have no operator yet")
    call.require(not call["enable_gqa"], "shares keys among queries (enable_gqa)")
    query, key, value = (call.view(call[name]) for name in ("query", "key", "value"))
    scale = call["scale"] if call["scale"] is not None else 1 / math.sqrt(query.shape[-1])
    turned = [*range(len(key.dims) - 2), len(key.dims) - 1, len(key.dims) - 2]
    scores = multiply_matrices(call, query, key.permute(turned), scale)
    weights = over_last(call, scores, len(scores.dims) - 1, ir.Softmax, {})
    return multiply_matrices(call, weights, value, 1.0)


PRODUCT_OPERATORS: dict[str, Callable[[Call], Value]] = {
    "aten.matmul.default": _matmul,
    "aten.bmm.default": _batched_matmul,
    "aten.scaled_dot_product_attention.default": _attention,
}
