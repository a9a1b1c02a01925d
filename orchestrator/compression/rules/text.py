"""Rules for people to read: conditions in the features' own units, what follows, how often, how sure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from orchestrator.compression.rules.forest import Condition, Float, Forest, Int8

Boundary = Callable[[int, int], float]
"""The real value of a feature's int8 threshold."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One path to a leaf.

    Attributes:
        conditions: in words, the narrowest bound of each feature; none where the rule is for everything.
        label: the class that it speaks for most.
        value: how much more than for the other classes, in logits; what adds up where there are several trees.
        support: share of the samples that it is for.
        confidence: the teacher's mean probability for `label` over those; 0 without any.
    """

    conditions: tuple[str, ...]
    label: str
    value: float
    support: float
    confidence: float

    def __str__(self) -> str:
        when = " and ".join(self.conditions) or "always"
        return f"if {when}: {self.label} (support {self.support:.3f}, confidence {self.confidence:.3f})"


def describe(
    forest: Forest, x_NF: Int8, target_NC: Float, *, features: Sequence[str], labels: Sequence[str], boundary: Boundary
) -> list[list[Rule]]:
    """The rules of each tree, those for the most samples first; `x_NF` and `target_NC` are real samples, no queries."""
    described = []
    for tree in forest.trees:
        reached = tree.apply(x_NF)
        rules = []
        for leaf, path in tree.paths():
            here = reached == leaf
            values = tree.values[leaf]
            best = int(values.argmax())
            others = np.delete(values, best)
            confidence = float(target_NC[here, best].mean()) if here.any() else 0.0
            words = _in_words(path, features, boundary)
            margin = float(values[best] - others.mean()) if len(others) else 0.0
            rules.append(Rule(words, labels[best], margin, float(here.mean()), confidence))
        described.append(sorted(rules, key=lambda rule: -rule.support))
    return described


def to_text(described: Sequence[Sequence[Rule]]) -> str:
    """One line for each rule; where several trees add up, each has a heading and its rules say by how much."""
    if len(described) == 1:
        return "\n".join(map(str, described[0]))
    lines = ["The class with the largest sum over all trees is the answer."]
    for number, rules in enumerate(described, start=1):
        lines.append(f"tree {number}:")
        lines += [
            f"  {str(rule).replace(f': {rule.label} (', f': {rule.label} +{rule.value:.2f} (', 1)}" for rule in rules
        ]
    return "\n".join(lines)


def _in_words(path: Sequence[tuple[Condition, bool]], features: Sequence[str], boundary: Boundary) -> tuple[str, ...]:
    lows: dict[int, int] = {}
    highs: dict[int, int] = {}
    for condition, holds in path:
        if holds:
            lows[condition.feature] = max(lows.get(condition.feature, -129), condition.threshold)
        else:
            highs[condition.feature] = min(highs.get(condition.feature, 128), condition.threshold)
    words = []
    for feature in sorted(lows.keys() | highs.keys()):
        name = features[feature]
        low = f"{boundary(feature, lows[feature]):.4g}" if feature in lows else ""
        high = f"{boundary(feature, highs[feature]):.4g}" if feature in highs else ""
        if low and high:
            words.append(f"{low} < {name} <= {high}")
        else:
            words.append(f"{name} > {low}" if low else f"{name} <= {high}")
    return tuple(words)
