"""Best-first growth of rules on a teacher's soft labels and answers to queries.

Each step asks of every leaf, and of a tree that is not there yet, how much its best condition would help, and takes
the best per rule that it costs (TREPAN's order; sums of trees as in FIGS, Tan et al. 2022, arXiv:2201.11931, but on
the gradient of the cross entropy). After each step the leaves' values are fitted again, so that every tree knows what
the others say by now. A leaf with little data is filled up with queries to the teacher before it is split.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from orchestrator.compression.rules.budget import RuleBudget
from orchestrator.compression.rules.forest import Condition, Float, Forest, Index, Int8, Tree
from orchestrator.compression.rules.queries import Queries, Teacher, draw
from orchestrator.compression.rules.split import Split, best_split
from orchestrator.compression.rules.values import refit, softmax

_LEAST_GAIN = 1e-6
_STEPS_EACH, _STEPS_LAST = 25, 300


@dataclass
class _Growing:
    """A tree under way: `slot` is a leaf's row in the list of values, `at` the node that each sample is in."""

    conditions: list[Condition | None]
    children: list[tuple[int, int]]
    depths: list[int]
    slots: list[int]
    at: Index

    def finish(self, values_LC: Float) -> Tree:
        return Tree(tuple(self.conditions), tuple(self.children), values_LC[self.slots])


@dataclass
class Growth:
    """Samples [N, F] with the teacher's answers [N, C] and weights [N], and the trees that are made for them."""

    x: Int8
    target: Float
    weight: Float
    is_query: npt.NDArray[np.bool_]
    budget: RuleBudget
    teacher: Teacher | None
    rng: np.random.Generator
    revisits: bool
    trees: list[_Growing] = field(default_factory=list)
    values: Float = field(default_factory=lambda: np.zeros((0, 0)))
    _known: dict[tuple[int, int], Split | None] = field(default_factory=dict)

    def run(self) -> Forest:
        self.values = np.zeros((0, self.target.shape[1]))
        self._plant()
        while (step := self._best_step()) is not None:
            self._split(*step)
            if self.revisits:
                self.values = self._refit(_STEPS_EACH)
        self.values = self._refit(_STEPS_LAST)
        return Forest(tuple(tree.finish(self.values) for tree in self.trees))

    @property
    def rules(self) -> int:
        return sum(tree.conditions.count(None) for tree in self.trees)

    def _plant(self) -> None:
        """A tree of one leaf; the first says how often each class comes, later ones nothing yet."""
        start = np.zeros(self.target.shape[1])
        if not self.trees:
            mean = np.average(self.target, axis=0, weights=self.weight)
            start = np.log(np.maximum(mean, 1e-4))
        self.trees.append(_Growing([None], [(0, 0)], [0], [self._new_slot(start)], np.zeros(len(self.x), np.intp)))

    def _new_slot(self, value_C: Float) -> int:
        self.values = np.vstack([self.values, value_C])
        return len(self.values) - 1

    def _best_step(self) -> tuple[int, int, Condition] | None:
        residual_NC = self.target - softmax(self.values[self._leaves()].sum(axis=1))
        steps: list[tuple[float, int, int, Condition]] = []
        room = self.budget.rules - self.rules
        for number, tree in enumerate(self.trees):
            if not self.revisits and number < len(self.trees) - 1:
                continue
            for node, condition in enumerate(tree.conditions):
                if condition is None and room >= 1 and tree.depths[node] < self.budget.depth:
                    split = self._look(number, node, np.flatnonzero(tree.at == node), residual_NC)
                    if split is not None:
                        steps.append((split.gain, number, node, split.condition))
        if len(self.trees) < self.budget.trees and len(self.trees[-1].conditions) > 1 and room >= 2:
            split = self._look(len(self.trees), 0, np.arange(len(self.x)), residual_NC)
            if split is not None:  # costs a rule more: its root's
                steps.append((split.gain / 2, len(self.trees), 0, split.condition))
        if not steps:
            return None
        gain, number, node, condition = max(steps, key=lambda step: step[0])
        return (number, node, condition) if gain > _LEAST_GAIN else None

    def _look(self, number: int, node: int, here: Index, residual_NC: Float) -> Split | None:
        """The best split there; of a single tree a leaf's stays what it was, for others do not change its residuals."""
        if self.budget.trees == 1 and (number, node) in self._known:
            return self._known[number, node]
        split = best_split(
            self.x[here], residual_NC[here], self.weight[here], least_weight=self.budget.samples_per_rule
        )
        self._known[number, node] = split
        return split

    def _split(self, number: int, node: int, condition: Condition) -> None:
        if number == len(self.trees):
            self._plant()
        tree = self.trees[number]
        left = len(tree.conditions)
        tree.conditions[node], tree.children[node] = condition, (left, left + 1)
        tree.conditions += [None, None]
        tree.children += [(0, 0), (0, 0)]
        tree.depths += [tree.depths[node] + 1] * 2
        slot = tree.slots[node]
        tree.slots += [slot, self._new_slot(self.values[slot])]
        here = tree.at == node
        tree.at = np.where(here, left + (self.x[:, condition.feature] > condition.threshold), tree.at)
        for child in (left, left + 1):
            self._fill(number, child)
            if not self.revisits:
                self._step_towards_target(number, child)

    def _fill(self, number: int, node: int) -> None:
        """Ask the teacher about more samples like those in a thin leaf; what queries weigh there stays the same."""
        here = np.flatnonzero(self.trees[number].at == node)
        missing = self.budget.leaf_queries - len(here)
        if self.teacher is None or self.budget.queries is Queries.NONE or missing <= 0 or len(here) == 0:
            return
        asked = draw(self.x[here], missing, self.budget.queries, self.rng)
        old = here[self.is_query[here]]
        mass = self.weight[old].sum() or self.weight[here].sum()
        self.weight[old] = mass / (len(old) + missing)
        self.x = np.vstack([self.x, asked])
        self.target = np.vstack([self.target, self.teacher(asked)])
        self.weight = np.append(self.weight, np.full(missing, mass / (len(old) + missing)))
        self.is_query = np.append(self.is_query, np.ones(missing, dtype=bool))
        for tree in self.trees:
            tree.at = np.append(tree.at, tree.finish(self.values).apply(asked))

    def _step_towards_target(self, number: int, node: int) -> None:
        """Half a Newton step of a leaf's value on the cross entropy of its own samples; the last fit does the rest."""
        tree = self.trees[number]
        here = np.flatnonzero(tree.at == node)
        said = softmax(self.values[self._leaves()[here]].sum(axis=1))
        weight = self.weight[here, np.newaxis]
        gradient = (weight * (self.target[here] - said)).sum(axis=0)
        curvature = (weight * said * (1 - said)).sum(axis=0) + self.budget.ridge + 1e-3
        self.values[tree.slots[node]] += 0.5 * np.clip(gradient / curvature, -2, 2)

    def _leaves(self) -> Index:
        return np.stack([np.asarray(tree.slots)[tree.at] for tree in self.trees], axis=1)

    def _refit(self, steps: int) -> Float:
        leaf_NT = self._leaves()
        return refit(self.values, leaf_NT, self.target, self.weight, ridge=self.budget.ridge, steps=steps)


def grow(
    x_NF: Int8, target_NC: Float, budget: RuleBudget, *, teacher: Teacher | None = None, seed: int = 0
) -> tuple[Forest, Growth]:
    """Rules for samples with the teacher's probabilities, and what they were grown on; queries need a `teacher`."""
    rng = np.random.default_rng(seed)
    weight = np.ones(len(x_NF))
    asked_x, asked_target = x_NF[:0], target_NC[:0]
    if teacher is not None and budget.queries is not Queries.NONE and budget.root_queries:
        asked_x = draw(x_NF, budget.root_queries, budget.queries, rng)
        asked_target = teacher(asked_x)
    growth = Growth(
        x=np.vstack([x_NF, asked_x]),
        target=np.vstack([target_NC, asked_target]),
        # All queries together weigh what the data does, however many there are.
        weight=np.append(weight, np.full(len(asked_x), len(x_NF) / max(len(asked_x), 1))),
        is_query=np.append(np.zeros(len(x_NF), dtype=bool), np.ones(len(asked_x), dtype=bool)),
        budget=replace(budget, rules=round(budget.rules * budget.overgrow)),
        teacher=teacher,
        rng=rng,
        revisits=budget.revisits(len(x_NF) + len(asked_x), x_NF.shape[1]),
    )
    return growth.run(), growth
