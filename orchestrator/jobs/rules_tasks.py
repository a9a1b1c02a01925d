"""The part of a candidate that is rules: made of its compressed network, with figures for a statement."""

from __future__ import annotations

from typing import Any

from orchestrator.compression.artifact import Artifact
from orchestrator.compression.rules.budget import RuleBudget
from orchestrator.compression.rules.network import distill_rules
from orchestrator.compression.rules.recipe import CascadeRecipe, RulesRecipe
from orchestrator.datasets import Splits
from orchestrator.jobs.orders import RULES, RULES_RECIPE
from orchestrator.spec import CascadeSpec, RulesSpec


def with_rules(network: Artifact, splits: Splits, spec: RulesSpec, *, seed: int) -> tuple[Artifact, dict[str, Any]]:
    """The network with rules in its place or in front of it, and the figures of a `RuleSet` as plain data."""
    recipe = rules_recipe(spec)
    names = splits.features.names if splits.features else None
    made = distill_rules(network, splits.train, splits.calibrate, recipe, names=names, seed=seed)
    cascade = made.cascade
    figures: dict[str, Any] = {
        "text": made.text,
        "rules": made.forest.rules,
        "trees": len(made.forest.trees),
        "fidelity": made.fidelity.mean,
        "table_bytes": made.table_bytes,
        "in_front_of_network": cascade is not None,
    }
    if cascade is not None:
        figures |= {
            "answered": cascade.answered,
            "accuracy_drop": cascade.drop,
            "accuracy_drop_upper": cascade.drop_upper,
        }
    return made.artifact, {RULES: figures, RULES_RECIPE: recipe.to_json()}


def rules_recipe(spec: RulesSpec) -> RulesRecipe:
    return RulesRecipe(
        budget=RuleBudget(rules=spec.rules, trees=spec.trees, depth=spec.depth),
        features=spec.features,
        pool=spec.pool,
        fidelity_floor=spec.fidelity_floor,
        cascade=_cascade(spec.cascade),
    )


def _cascade(spec: CascadeSpec | None) -> CascadeRecipe | None:
    if spec is None:
        return None
    return CascadeRecipe(most_drop=spec.most_drop, least_answered=spec.least_answered, confidence=spec.confidence)
