"""A forest as the integers of a rule table (docs/format.md, section 4)."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from orchestrator.compression.errors import WeightError
from orchestrator.compression.lower.tensors import TensorTable
from orchestrator.compression.rules.forest import Float, Forest, Int8
from protos import model_pb2 as pb

_LEAST_REACH = 1e-3


@dataclass(frozen=True, eq=False)
class RuleIntegers:
    """Attributes:
    nodes: uint32 [nodes], level by level.
    scores: int8 [leaves, C] in the order of the leaves there.
    step: what 1 of a score stands for.
    reach: the largest sum of scores that the samples showed, in reals.
    """

    nodes: npt.NDArray[np.uint32]
    scores: Int8
    trees: int
    step: float
    reach: float

    @property
    def table_bytes(self) -> int:
        return self.nodes.nbytes + self.scores.nbytes


def to_integers(forest: Forest, x_NF: Int8) -> RuleIntegers:
    """Round the values to int8; `x_NF` are samples that say how far sums reach.

    A constant over the classes changes neither the largest sum nor a softmax, so each leaf's values are centred first.

    Raises:
        WeightError: a value is not finite.
    """
    if not all(np.isfinite(tree.values[tree.leaves]).all() for tree in forest.trees):
        raise WeightError("a rule's value is not finite")
    words, leaves = [], []
    queue = deque((tree, 0) for tree in forest.trees)
    while queue:
        tree, node = queue.popleft()
        condition = tree.conditions[node]
        if condition is None:
            words.append(0)
            leaves.append(_centred(tree.values[node]))
            continue
        queue.extend((tree, child) for child in tree.children[node])
        words.append(condition.feature | (condition.threshold + 128) << 16 | 1 << 24)
    values = np.stack(leaves)
    step = max(float(np.abs(values).max()), _LEAST_REACH) / 127
    scores = np.rint(values / step).astype(np.int8)
    reach = float(np.abs(_centred(forest.scores(x_NF))).max()) if len(x_NF) else 0.0
    return RuleIntegers(np.array(words, np.uint32), scores, len(forest.trees), step, max(reach, _LEAST_REACH))


def add_rule_table(
    model: pb.Model, table: TensorTable, integers: RuleIntegers, *, source: int, output: pb.Activation, name: str
) -> int:
    """Append an operator that reads the activation `source`, and its output; returns the output's index.

    The output's grid says what its integers stand for. Sums that reach beyond it are scaled down, so that the largest
    stays the largest.
    """
    below, above = (bound - output.zero_point for bound in (-128, 127))
    room = min(-below, above) * output.scale
    multiplier = integers.step / output.scale * min(1.0, room / integers.reach)
    form = pb.Requantize(qmin=-128, qmax=127)
    form.multiplier = table.add(f"{name}.multiplier", np.array([multiplier], np.float32))
    kind = pb.RuleTable(
        nodes=table.add(f"{name}.nodes", integers.nodes),
        scores=table.add(f"{name}.scores", integers.scores),
        trees=integers.trees,
        requantize=form,
    )
    model.activations.append(output)
    model.operators.add(name=name, inputs=[source], output=len(model.activations) - 1, rule_table=kind)
    return len(model.activations) - 1


def scores_activation(integers: RuleIntegers, *, name: str) -> pb.Activation:
    """A grid of its own for the sums, as logits around 0."""
    scale = float(np.float32(integers.reach / 127))
    return pb.Activation(name=name, dtype=pb.INT8, shape=[integers.scores.shape[1]], scale=scale, zero_point=0)


def _centred(values: Float) -> npt.NDArray[Any]:
    return np.asarray(values - values.mean(axis=-1, keepdims=True))
