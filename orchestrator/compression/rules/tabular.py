"""A teacher on tabular data becomes a model of nothing but rules: raw float features in, scores out, a few kilobytes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from edge_agent.runtime import check_golden, make_golden
from orchestrator.compression.artifact import Artifact
from orchestrator.compression.errors import DataError
from orchestrator.compression.lower.model import FORMAT_VERSION, serialise
from orchestrator.compression.lower.tensors import TensorTable
from orchestrator.compression.rules.budget import RuleBudget
from orchestrator.compression.rules.fidelity import Fidelity, Predict, cross_validate, require_fidelity
from orchestrator.compression.rules.forest import Float, Forest, Index, Int8
from orchestrator.compression.rules.grid import FeatureGrid, Float32
from orchestrator.compression.rules.growth import grow
from orchestrator.compression.rules.merging import merge
from orchestrator.compression.rules.queries import Teacher
from orchestrator.compression.rules.table import add_rule_table, scores_activation, to_integers
from orchestrator.compression.rules.text import describe, to_text
from protos import model_pb2 as pb

_GOLDEN_CASES = 4

FloatTeacher = Callable[[Float32], Float]
"""Class probabilities [N, C] for raw rows [N, F]."""


@dataclass(frozen=True, eq=False, kw_only=True)
class DistilledRules:
    """What came of a teacher: the model, its rules, and how well they follow."""

    artifact: Artifact
    forest: Forest
    fidelity: Fidelity
    text: str
    table_bytes: int = field(default=0)


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
        DataError: rows are empty or not finite, or the teacher's answers are no probabilities.
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
    text = to_text(
        describe(forest, q_NF, target_NC, features=features, labels=labels, boundary=grid.boundary)
    )
    artifact = build_rules_model(forest, q_NF, grid, labels=tuple(labels), name=name)
    table_bytes = to_integers(forest, q_NF).table_bytes
    return DistilledRules(artifact=artifact, forest=forest, fidelity=fidelity, text=text, table_bytes=table_bytes)


def fit_rules(
    x_NF: Int8, target_NC: Float, budget: RuleBudget, *, teacher: Teacher | None = None, seed: int = 0
) -> Forest:
    """Grow, then merge down to the budget on fidelity."""
    forest, growth = grow(x_NF, target_NC, budget, teacher=teacher, seed=seed)
    return merge(
        forest, growth.x_NF, growth.target_NC, growth.weight_N, rules=budget.rules, ridge=budget.ridge
    )


def runs_as(forest: Forest, x_NF: Int8) -> Predict:
    """What the lowered forest answers on a device: its integers, by the engine."""
    identity = FeatureGrid(np.zeros(x_NF.shape[1], np.float32), np.ones(x_NF.shape[1], np.float32))
    classes = forest.classes
    engine = _bare_model(forest, x_NF, identity, labels=(), name="rules").load()

    def predict(samples_NF: Int8) -> Index:
        output = engine.infer_batch(samples_NF.astype("<f4").tobytes(), raw=False)
        return np.frombuffer(output, np.int8).reshape(-1, classes).argmax(axis=1)

    return predict


def build_rules_model(
    forest: Forest, x_NF: Int8, grid: FeatureGrid, *, labels: tuple[str, ...], name: str
) -> Artifact:
    """The model with golden vectors (a few of the samples among them), checked on this machine's engine."""
    bare = _bare_model(forest, x_NF, grid, labels=labels, name=name)
    rng = np.random.default_rng(0)
    random = rng.integers(-128, 128, (_GOLDEN_CASES, x_NF.shape[1])).astype(np.int8)
    rows = [*grid.dequantize(np.vstack([x_NF[:_GOLDEN_CASES], random]))]
    rows += [np.full(x_NF.shape[1], end, np.float32) for end in (np.inf, -np.inf)]
    golden = make_golden(bare.load(path="reference"), float32=[row.astype("<f4").tobytes() for row in rows])
    model = pb.Model.FromString(bare.model)
    model.golden.sha256, model.golden.size_bytes = hashlib.sha256(golden).digest(), len(golden)
    artifact = Artifact(serialise(model), {**bare.blobs, model.golden.sha256: golden})
    check_golden(artifact.load(), golden)
    return artifact


def _bare_model(forest: Forest, x_NF: Int8, grid: FeatureGrid, *, labels: tuple[str, ...], name: str) -> Artifact:
    table = TensorTable()
    model = pb.Model(format_version=FORMAT_VERSION, name=name)
    affine = table.add("input.channel_affine", np.stack([grid.offset, grid.multiplier]))
    model.activations.add(name="features", dtype=pb.INT8, shape=[x_NF.shape[1]], scale=1.0)
    model.input.CopyFrom(pb.Input(activation=0, multiplier=1.0, channel_affine=affine))
    integers = to_integers(forest, x_NF)
    output = scores_activation(integers, name="scores")
    answer = add_rule_table(model, table, integers, source=0, output=output, name="rules")
    model.output.CopyFrom(pb.Output(activation=answer, labels=labels))
    model.tensors.extend(table.tensors)
    return Artifact(serialise(model), table.blobs)


def require_probabilities(answers_NC: Float, samples: int, classes: int) -> Float:
    """The teacher's answers as float64; raises `DataError` where they are none."""
    answers = np.asarray(answers_NC, dtype=np.float64)
    if answers.shape != (samples, classes):
        raise DataError(f"the teacher answered {samples} samples with the shape {answers.shape}, not {classes} classes")
    if not (np.isfinite(answers).all() and (answers >= 0).all() and np.allclose(answers.sum(axis=1), 1, atol=1e-3)):
        raise DataError("the teacher's answers are no probabilities: finite, none below 0, rows that add up to 1")
    return answers
