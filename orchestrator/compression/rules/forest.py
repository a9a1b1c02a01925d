"""Rules as data: small decision trees over int8 features, each path from a root to a leaf one rule.

A forest's answer is the sum of what its trees' leaves say about each class. Everything here is on the integers that a
device sees: thresholds are int8 and a value goes right where it is greater, as in the rule table of docs/format.md.

Shape letters: N samples, F features, C classes, L leaves.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Int8 = npt.NDArray[np.int8]
Float = npt.NDArray[np.float64]
Index = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Condition:
    """Goes right where x[feature] > threshold."""

    feature: int
    threshold: int


@dataclass(frozen=True, eq=False)
class Tree:
    """Nodes in an order in which children stand after their parent; node 0 is the root.

    Attributes:
        conditions: by node; None where it is a leaf.
        children: by node, left and right; (0, 0) where it is a leaf.
        values: float64 [nodes, C], what a leaf says of each class; rows of inner nodes are not read.
    """

    conditions: tuple[Condition | None, ...]
    children: tuple[tuple[int, int], ...]
    values: Float

    @property
    def leaves(self) -> list[int]:
        return [node for node, condition in enumerate(self.conditions) if condition is None]

    def apply(self, x_NF: Int8) -> Index:
        """The node of the leaf that each sample reaches: [N]."""
        reached = np.zeros(len(x_NF), dtype=np.intp)
        for node, condition in enumerate(self.conditions):
            if condition is not None:
                here = np.flatnonzero(reached == node)
                exceeds = x_NF[here, condition.feature] > condition.threshold
                reached[here] = np.where(exceeds, self.children[node][1], self.children[node][0])
        return reached

    def paths(self) -> Iterator[tuple[int, list[tuple[Condition, bool]]]]:
        """Each leaf with the conditions on the way to it, and whether each must hold (x > threshold)."""
        ways: dict[int, list[tuple[Condition, bool]]] = {0: []}
        for node, condition in enumerate(self.conditions):
            way = ways.pop(node)
            if condition is None:
                yield node, way
                continue
            left, right = self.children[node]
            ways[left], ways[right] = [*way, (condition, False)], [*way, (condition, True)]


@dataclass(frozen=True, eq=False)
class Forest:
    """One tree, or several whose answers add up."""

    trees: tuple[Tree, ...]

    @property
    def rules(self) -> int:
        """Leaves of all trees together."""
        return sum(len(tree.leaves) for tree in self.trees)

    @property
    def classes(self) -> int:
        return int(self.trees[0].values.shape[1])

    def scores(self, x_NF: Int8) -> Float:
        """What the leaves' values add up to, in float64 [N, C]; a device adds the integers of `lower`."""
        total: Float = sum((tree.values[tree.apply(x_NF)] for tree in self.trees), np.zeros((len(x_NF), self.classes)))
        return total

    def predict(self, x_NF: Int8) -> npt.NDArray[np.int64]:
        best: npt.NDArray[Any] = self.scores(x_NF).argmax(axis=1)
        return best.astype(np.int64)
