"""Rule tables and what chooses between two branches, in ONNX: exactly what the device does with the same int8 inputs.

A forest is two matrix products (Nakandala et al. 2020, arXiv:2010.04804, section 4.1): the first counts, for each leaf,
the conditions on its path that hold less those that must not; only where the sample gets does it count all that must.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from edge_agent.runtime import graph as g
from orchestrator.onnx.writer import Array, Writer


def _rule_table(writer: Writer, operator: g.Operator, rules: g.RuleTable) -> None:
    nodes, float_type = writer.tensors[rules.nodes], writer.onnx.TensorProto.FLOAT
    conditions, paths_CL = nodes[nodes != 0], _paths(nodes, rules.trees)
    features, thresholds = (conditions & 0xFFFF).astype(np.int64), (conditions >> 16 & 0xFF).astype(np.int32) - 128
    read = writer.node("Gather", [writer.integers(operator.inputs[0]), writer.constant(features)], axis=1)
    exceeds = writer.node("Greater", [read, writer.constant(thresholds)])
    counts = writer.node("MatMul", [writer.node("Cast", [exceeds], to=float_type), writer.constant(paths_CL)])
    reached = writer.node("Equal", [counts, writer.constant((paths_CL > 0).sum(axis=0, dtype=np.float32))])
    scores = writer.constant(writer.tensors[rules.scores].astype(np.float32))
    total = writer.node("MatMul", [writer.node("Cast", [reached], to=float_type), scores])
    _requantize(writer, total, operator, rules.requantize)


def _requantize(writer: Writer, total: str, operator: g.Operator, form: g.Requantize) -> None:
    """As the device does; a sum of scores is exact in float32. Ties go to even by multiplier, up by shift."""
    product = writer.node("Mul", [total, writer.constant(writer.multiplier(form).astype(np.float32))])
    if form.is_shift:
        rounded = writer.node("Floor", [writer.node("Add", [product, _number(writer, 0.5)])])
    else:
        rounded = writer.node("Round", [product])
    q = writer.node("Add", [rounded, _number(writer, writer.activation(operator.output).zero_point)])
    q = writer.node("Clip", [q, _number(writer, form.qmin), _number(writer, form.qmax)])
    writer.node("Cast", [q], to=writer.onnx.TensorProto.INT8, output=f"{writer.value(operator.output)}.q")
    writer.dequantize(operator.output)


def _number(writer: Writer, value: float) -> str:
    return writer.constant(np.array(value, np.float32))


def _paths(nodes: Array, trees: int) -> Array:
    """[conditions, leaves]: 1 where the leaf's path needs the condition, -1 where it must not hold, else 0."""
    is_condition = nodes != 0
    condition = np.cumsum(is_condition) - is_condition
    paths = np.zeros((len(nodes), np.count_nonzero(is_condition)), np.float32)
    for at in np.flatnonzero(is_condition):  # children stand behind
        left, right = trees + 2 * condition[at], trees + 2 * condition[at] + 1
        paths[left] = paths[right] = paths[at]
        paths[left, condition[at]], paths[right, condition[at]] = -1, 1
    return np.ascontiguousarray(paths[~is_condition].T)


def _select(writer: Writer, operator: g.Operator, select: g.Select) -> None:
    gate, confident, otherwise = operator.inputs
    below = writer.node("Less", [writer.integers(gate), writer.constant(np.array(select.threshold, np.int32))])
    below = writer.reshaped(below, *[1] * len(writer.activation(operator.output).shape))
    value = writer.node("Where", [below, writer.value(otherwise), writer.value(confident)])
    writer.finish(value, operator)


RULE_OPERATORS: dict[type, Callable[[Writer, g.Operator, Any], None]] = {g.RuleTable: _rule_table, g.Select: _select}
