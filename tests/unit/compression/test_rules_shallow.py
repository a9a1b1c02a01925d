"""A network made of rules says what they say until it is trained, and then more of what the teacher says."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from orchestrator.compression.data import Preprocessing, images_to_tensor
from orchestrator.compression.errors import TrainingError
from orchestrator.compression.evaluation import evaluate, evaluate_network
from orchestrator.compression.pipeline import compress
from orchestrator.compression.recipe import Recipe
from orchestrator.compression.rules.budget import RuleBudget
from orchestrator.compression.rules.fitting import fit_rules
from orchestrator.compression.rules.forest import Forest
from orchestrator.compression.rules.network import distill_rules
from orchestrator.compression.rules.recipe import RulesRecipe
from orchestrator.compression.rules.shallow import RuleNetwork
from orchestrator.compression.training.distillation import distill
from orchestrator.compression.training.learning import Learning
from orchestrator.datasets import Splits

Trained = Callable[[str], nn.Module]
FEATURES, CLASSES = 6, 3


def grown(seed: int, *, trees: int, depth: int) -> Forest:
    rng = np.random.default_rng(seed)
    x = rng.integers(-128, 128, (200, FEATURES)).astype(np.int8)
    target = rng.dirichlet(np.ones(CLASSES), len(x))
    budget = RuleBudget(rules=4 * trees, trees=trees, depth=depth, root_queries=0, overgrow=1.0, ridge=0.0)
    return fit_rules(x, target, budget, seed=seed)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000), trees=st.integers(1, 4), depth=st.integers(1, 5))
def test_it_adds_up_what_the_rules_add_up(seed: int, trees: int, depth: int) -> None:
    forest = grown(seed, trees=trees, depth=depth)
    x = np.random.default_rng(seed + 1).integers(-128, 128, (300, FEATURES)).astype(np.int8)
    network = RuleNetwork(forest, FEATURES)
    with torch.no_grad():
        applies = network.clip(network.rules(network.clip(network.conditions(torch.from_numpy(x).float()))))
        answers = network(torch.from_numpy(x).float())
    assert set(applies.unique().tolist()) <= {0.0, 1.0}
    assert (applies.sum(dim=1) == len(forest.trees)).all()  # one rule of each tree
    # Float32 sums of a handful of values that are below 2 in size: a few units in the last place.
    assert np.allclose(answers.numpy(), forest.scores(x), atol=1e-5)


def test_conditions_must_have_a_slope_that_is_no_steeper_than_a_step() -> None:
    with pytest.raises(TrainingError, match="softness"):
        RuleNetwork(grown(0, trees=1, depth=2), FEATURES, softness=0.5)


def test_trained_under_the_teacher_it_leaves_the_rules_behind_and_runs_on_a_device(
    trained: Trained, digits: Splits, preprocessing: Preprocessing
) -> None:
    teacher = trained("small")
    artifact = compress(teacher, digits, Recipe(), name="digits")
    budget = RuleBudget(rules=24, trees=6, depth=2, root_queries=150, leaf_queries=20, overgrow=1.0)
    rules = distill_rules(
        artifact, digits.train, digits.calibrate, RulesRecipe(budget=budget, fidelity_floor=0.3, folds=2, repeats=1)
    )
    grid = artifact.load().graph.input_activation
    of_rules = {"scale": grid.scale, "zero_point": grid.zero_point}
    exact = RuleNetwork(rules.forest, grid.elements, **of_rules)
    with torch.no_grad():
        answers = exact(images_to_tensor(digits.choose.inputs, preprocessing)).argmax(dim=1).numpy()
    by_rules = evaluate(rules.artifact, digits.choose)
    agree = (answers == digits.choose.labels) == by_rules.correct
    assert agree.mean() > 0.98  # a device rounds what rules say to int8

    soft = RuleNetwork(rules.forest, grid.elements, softness=16.0, **of_rules)
    distill(soft, teacher, digits.train, Learning(epochs=15, batch_size=64), preprocessing=preprocessing)
    learned = evaluate_network(soft, digits.choose, preprocessing=preprocessing).accuracy
    assert learned > by_rules.accuracy + 0.05
    on_device = compress(soft, digits, Recipe(), name="digits")
    assert evaluate(on_device, digits.choose).accuracy > learned - 0.03
