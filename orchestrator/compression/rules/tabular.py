"""A teacher on tabular data becomes a model of nothing but rules: raw floats in, scores out, a few kilobytes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from orchestrator.compression.artifact import Artifact
from orchestrator.compression.errors import DataError
from orchestrator.compression.rules.budget import RuleBudget
from orchestrator.compression.rules.fidelity import Fidelity, Predict, cross_validate, require_fidelity
from orchestrator.compression.rules.fitting import fit_rules, require_probabilities, runs_as
from orchestrator.compression.rules.forest import Float, Forest, Int8
from orchestrator.compression.rules.model import build_rules_model
from orchestrator.compression.rules.table import to_integers
from orchestrator.compression.rules.text import describe, to_text
from orchestrator.datasets.feature_grid import FeatureGrid, Float32

FloatTeacher = Callable[[Float32], Float]
"""Class probabilities [N, C] for raw rows [N, F]."""


@dataclass(frozen=True, eq=False, kw_only=True)
class DistilledRules:
    """What came of a teacher: the model, its rules, and how well they follow."""

    artifact: Artifact
    forest: Forest
    fidelity: Fidelity
    text: str
    table_bytes: int


def distill_tabular(
    teacher: FloatTeacher,
    x_NF: Float32,
    *,
    features: Sequence[str],
    labels: Sequence[str],
    name: str,
    budget: RuleBudget | None = None,
    fidelity_floor: float = 0.95,
    folds: int = 5,
    repeats: int = 3,
    seed: int = 0,
) -> DistilledRules:
    """Rules that answer as `teacher` does, from unlabelled rows.

    Raises:
        DatasetFormatError: there are no rows, or a value is not finite.
        DataError: names do not fit the rows, or the teacher's answers are no probabilities.
        FidelityError: on held-out rows they follow the teacher less often than `fidelity_floor`.
    """
    budget = budget or RuleBudget()
    if x_NF.ndim != 2 or len(features) != x_NF.shape[1]:
        raise DataError(f"{len(features)} feature names do not fit data of the shape {x_NF.shape}")
    grid = FeatureGrid.of(x_NF)
    q_NF = grid.quantize(x_NF)
    target_NC = require_probabilities(teacher(x_NF), len(x_NF), len(labels))

    def ask(queries_NF: Int8) -> Float:
        return require_probabilities(teacher(grid.dequantize(queries_NF)), len(queries_NF), len(labels))

    def fit(x: Int8, target: Float, fold_seed: int) -> Predict:
        return runs_as(fit_rules(x, target, budget, teacher=ask, seed=fold_seed), x)

    fidelity = cross_validate(fit, q_NF, target_NC, folds=folds, repeats=repeats, seed=seed)
    require_fidelity(fidelity, floor=fidelity_floor, rules=budget.rules)
    forest = fit_rules(q_NF, target_NC, budget, teacher=ask, seed=seed)
    text = to_text(describe(forest, q_NF, target_NC, features=features, labels=labels, boundary=grid.boundary))
    artifact = build_rules_model(forest, q_NF, grid, labels=tuple(labels), name=name)
    table_bytes = to_integers(forest, q_NF).table_bytes
    return DistilledRules(artifact=artifact, forest=forest, fidelity=fidelity, text=text, table_bytes=table_bytes)
