"""Rules from features and a teacher's probabilities, and what they predict on a device."""

from __future__ import annotations

import numpy as np

from orchestrator.compression.errors import DataError
from orchestrator.compression.rules.budget import RuleBudget
from orchestrator.compression.rules.fidelity import Predict
from orchestrator.compression.rules.forest import Float, Forest, Index, Int8
from orchestrator.compression.rules.growth import grow
from orchestrator.compression.rules.merging import merge
from orchestrator.compression.rules.model import bare_model
from orchestrator.compression.rules.queries import Teacher
from orchestrator.datasets.feature_grid import FeatureGrid


def fit_rules(
    x_NF: Int8, target_NC: Float, budget: RuleBudget, *, teacher: Teacher | None = None, seed: int = 0
) -> Forest:
    """Grow, then merge down to the budget on fidelity."""
    forest, growth = grow(x_NF, target_NC, budget, teacher=teacher, seed=seed)
    return merge(forest, growth.x, growth.target, growth.weight, rules=budget.rules, ridge=budget.ridge)


def runs_as(forest: Forest, x_NF: Int8) -> Predict:
    """What the lowered forest answers on a device: its integers, by the engine."""
    identity = FeatureGrid(np.zeros(x_NF.shape[1], np.float32), np.ones(x_NF.shape[1], np.float32))
    classes = forest.classes
    engine = bare_model(forest, x_NF, identity, labels=(), name="rules").load()

    def predict(samples_NF: Int8) -> Index:
        output = engine.infer_batch(samples_NF.astype("<f4").tobytes(), raw=False)
        return np.asarray(np.frombuffer(output, np.int8).reshape(-1, classes).argmax(axis=1))

    return predict


def require_probabilities(answers_NC: Float, samples: int, classes: int) -> Float:
    """The teacher's answers as float64; raises `DataError` where they are none."""
    answers = np.asarray(answers_NC, dtype=np.float64)
    if answers.shape != (samples, classes):
        raise DataError(f"the teacher answered {samples} samples with the shape {answers.shape}, not {classes} classes")
    if not (np.isfinite(answers).all() and (answers >= 0).all() and np.allclose(answers.sum(axis=1), 1, atol=1e-3)):
        raise DataError("the teacher's answers are no probabilities: finite, none below 0, rows that add up to 1")
    return answers
