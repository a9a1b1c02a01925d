"""How many rules there may be, and how they are found: plain data, part of a recipe."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.compression.errors import RecipeError
from orchestrator.compression.rules.queries import Queries

MOST_RULES, MOST_TREES, MOST_DEPTH = 2048, 256, 64
"""What docs/format.md allows a table."""

_QUICK_WORK = 1 << 25  # rules, samples and features multiplied


@dataclass(frozen=True, kw_only=True)
class RuleBudget:
    """Attributes:
    rules: leaves of all trees together.
    trees: 1 for rules of which exactly one answers; more for a sum of smaller trees, which is closer to a network.
    depth: conditions of one rule.
    samples_per_rule: least weight of a rule; a sample weighs 1.
    queries: how samples for the teacher are made up.
    root_queries: how many before growth starts.
    leaf_queries: a leaf with fewer samples than this is filled up.
    overgrow: rules to grow, of those allowed, before merging takes them back where fidelity suffers least.
    revisit: also earlier trees grow on, and all values are fitted after each step: best for a few dozen rules on a
        few thousand samples. Without it one tree is finished after the other, many times faster. None: where it
        takes seconds.
    ridge: pulls the leaves' values to 0.
    """

    rules: int = 32
    trees: int = 8
    depth: int = 3
    samples_per_rule: float = 3.0
    queries: Queries = Queries.BETWEEN
    root_queries: int = 3000
    leaf_queries: int = 100
    overgrow: float = 1.25
    revisit: bool | None = None
    ridge: float = 0.5

    def __post_init__(self) -> None:
        try:
            object.__setattr__(self, "queries", Queries(self.queries))
        except ValueError as error:
            raise RecipeError(f"rules: {error}") from error
        for name, most in (("rules", MOST_RULES), ("trees", MOST_TREES), ("depth", MOST_DEPTH)):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
                raise RecipeError(f"rules: {name} must be within 1 and {most}, found {value!r}")
        if self.rules < 2:
            raise RecipeError("rules: one rule answers the same to everything; allow at least 2")
        if min(self.root_queries, self.leaf_queries) < 0 or self.samples_per_rule <= 0 or self.ridge < 0:
            raise RecipeError("rules: queries and ridge must not be negative, samples_per_rule must be above 0")
        if not 1.0 <= self.overgrow <= 4.0:
            raise RecipeError(f"rules: overgrow must be within 1 and 4, found {self.overgrow!r}")

    def revisits(self, samples: int, features: int) -> bool:
        """`revisit`, or whether growth on so many samples, queries among them, would be quick enough for it."""
        return self.rules * samples * features <= _QUICK_WORK if self.revisit is None else self.revisit
