"""A candidate with rules: what its document asks for is what is made, and what is published says so."""

from __future__ import annotations

from orchestrator.compression.rules.recipe import RulesRecipe
from orchestrator.jobs.publish import _cut, _rule_set
from orchestrator.jobs.rules_tasks import rules_recipe
from orchestrator.spec import CascadeSpec, RulesSpec


def test_every_key_of_the_document_reaches_the_recipe() -> None:
    cascade = CascadeSpec(most_drop=0.02, least_answered=0.4, confidence=0.9)
    spec = RulesSpec(rules=16, trees=2, depth=5, features="stem", pool=3, fidelity_floor=0.8, cascade=cascade)
    recipe = rules_recipe(spec)
    assert (recipe.budget.rules, recipe.budget.trees, recipe.budget.depth) == (16, 2, 5)
    assert (recipe.features, recipe.pool, recipe.fidelity_floor) == ("stem", 3, 0.8)
    assert recipe.cascade is not None
    assert (recipe.cascade.most_drop, recipe.cascade.least_answered, recipe.cascade.confidence) == (0.02, 0.4, 0.9)
    assert rules_recipe(RulesSpec()) == RulesRecipe()


def test_a_model_without_rules_has_no_statement_of_them() -> None:
    assert _rule_set(None) == []
    (statement,) = _rule_set({"text": "if x > 1: y", "rules": 2, "trees": 1, "fidelity": 0.9, "answered": 0.6})
    assert (statement.rules.text, statement.rules.rules, statement.rules.answered) == ("if x > 1: y", 2, 0.6)


def test_a_long_text_is_cut_at_a_line_and_says_how_much_is_missing() -> None:
    lines = [f"if feature {number} > 0: yes" for number in range(5000)]
    cut = _cut("\n".join(lines)).splitlines()
    kept = cut[:-1]
    assert kept == lines[: len(kept)]
    assert cut[-1] == f"... and {5000 - len(kept)} lines more"
