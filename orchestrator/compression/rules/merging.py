"""Takes rules back: two leaves of one condition become one where the teacher is followed no less, or least less.

Judged by fidelity, the weighted share of samples and queries with the teacher's class, never by accuracy. First down
to the budget, then on as long as it costs nothing.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from orchestrator.compression.rules.forest import Float, Forest, Index, Int8, Tree
from orchestrator.compression.rules.values import refit

_STEPS = 300


def merge(
    forest: Forest, x_NF: Int8, target_NC: Float, weight_N: Float, *, rules: int, ridge: float, least: int = 2
) -> Forest:
    """At most `rules` rules, values fitted again; never fewer than `least`, even where one would do."""
    wanted_N = target_NC.argmax(axis=1)
    while True:
        scores = forest.scores(x_NF)
        fidelity = _fidelity(scores, wanted_N, weight_N)
        found = [
            (_fidelity(scores + change, wanted_N, weight_N), number, node, value)
            for number, tree in enumerate(forest.trees)
            for node, change, value in _merges(tree, x_NF, weight_N)
        ]
        if not found or forest.rules <= least:
            break
        best, number, node, value = max(found, key=lambda merge: merge[0])
        if forest.rules <= rules and best < fidelity:
            break
        forest = _merged(forest, number, node, value)
    return _refitted(forest, x_NF, target_NC, weight_N, ridge)


def _fidelity(scores_NC: Float, wanted_N: Index, weight_N: Float) -> float:
    return float(weight_N[scores_NC.argmax(axis=1) == wanted_N].sum())


def _merges(tree: Tree, x_NF: Int8, weight_N: Float) -> list[tuple[int, Float, Float]]:
    """Each condition with two leaves: its node, how scores would change [N, C], and the one leaf's value."""
    at = tree.apply(x_NF)
    found = []
    for node, condition in enumerate(tree.conditions):
        left, right = tree.children[node]
        if condition is None or tree.conditions[left] is not None or tree.conditions[right] is not None:
            continue
        weights = [weight_N[at == child].sum() + 1e-9 for child in (left, right)]
        value = np.average(tree.values[[left, right]], axis=0, weights=weights)
        moved = np.zeros_like(tree.values)
        moved[[left, right]] = value - tree.values[[left, right]]
        found.append((node, moved[at], value))
    return found


def _merged(forest: Forest, number: int, node: int, value_C: Float) -> Forest:
    """The forest with a condition turned into a leaf; a tree that is down to one leaf goes into the first other one."""
    tree = forest.trees[number]
    gone = set(tree.children[node])
    kept = [index for index in range(len(tree.conditions)) if index not in gone]
    place = {index: position for position, index in enumerate(kept)}
    values = tree.values.copy()
    values[node] = value_C
    conditions = tuple(None if index == node else tree.conditions[index] for index in kept)
    children = tuple(
        (0, 0) if conditions[place[index]] is None else (place[tree.children[index][0]], place[tree.children[index][1]])
        for index in kept
    )
    trees = list(forest.trees)
    trees[number] = Tree(conditions, children, values[kept])
    if len(kept) == 1 and len(trees) > 1:
        constant = trees.pop(number).values[0]
        trees[0] = replace(trees[0], values=trees[0].values + constant)
    return Forest(tuple(trees))


def _refitted(forest: Forest, x_NF: Int8, target_NC: Float, weight_N: Float, ridge: float) -> Forest:
    first = np.cumsum([0, *(len(tree.conditions) for tree in forest.trees[:-1])])
    leaf_NT = np.stack([tree.apply(x_NF) + start for tree, start in zip(forest.trees, first, strict=True)], axis=1)
    values = np.vstack([tree.values for tree in forest.trees])
    better = refit(values, leaf_NT, target_NC, weight_N, ridge=ridge, steps=_STEPS)
    parts = np.split(better, first[1:])
    return Forest(tuple(replace(tree, values=part) for tree, part in zip(forest.trees, parts, strict=True)))
