"""A teacher on raw tabular rows becomes rules that run as they were evaluated."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_wine

from edge_agent.runtime import available_paths
from orchestrator.compression.errors import DataError, FidelityError
from orchestrator.compression.rules.budget import RuleBudget
from orchestrator.compression.rules.forest import Condition, Float, Forest, Tree
from orchestrator.compression.rules.model import build_rules_model
from orchestrator.compression.rules.tabular import DistilledRules, distill_tabular
from orchestrator.compression.rules.values import softmax
from orchestrator.datasets.errors import DatasetFormatError
from orchestrator.datasets.feature_grid import FeatureGrid, Float32

WINE = load_wine()
ROWS = WINE.data.astype(np.float32)
MEAN, STD = ROWS.mean(axis=0), ROWS.std(axis=0)
QUICK = RuleBudget(rules=24, trees=6, depth=3, root_queries=400, overgrow=1.0)


def teacher(x_NF: Float32) -> Float:
    """Class centres, by distance: smooth, sure of itself, and nothing like a tree."""
    standard = (x_NF.astype(np.float64) - MEAN) / STD
    centres = np.stack([((ROWS - MEAN) / STD)[WINE.target == c].mean(axis=0) for c in range(3)])
    return softmax(-((standard[:, np.newaxis] - centres) ** 2).sum(axis=2))


def distilled(**options: object) -> DistilledRules:
    arguments: dict[str, object] = {
        "features": WINE.feature_names,
        "labels": [str(name) for name in WINE.target_names],
        "name": "wine",
        "budget": QUICK,
        "fidelity_floor": 0.9,
        "folds": 3,
        "repeats": 1,
    }
    return distill_tabular(teacher, ROWS, **{**arguments, **options})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def rules() -> DistilledRules:
    return distilled()


def test_few_rules_follow_the_teacher_on_rows_they_have_not_seen(rules: DistilledRules) -> None:
    assert rules.forest.rules <= 24
    assert rules.fidelity.mean >= 0.9
    assert rules.fidelity.samples == len(ROWS)


@pytest.mark.parametrize("path", available_paths())
def test_the_model_takes_raw_rows_and_answers_as_the_teacher(rules: DistilledRules, path: str) -> None:
    engine = rules.artifact.load(path=path)
    output = np.frombuffer(engine.infer_batch(ROWS.astype("<f4").tobytes(), raw=False), np.int8).reshape(-1, 3)
    assert (output.argmax(axis=1) == teacher(ROWS).argmax(axis=1)).mean() >= 0.97
    assert engine.graph.output.labels == ("class_0", "class_1", "class_2")


def test_it_is_small(rules: DistilledRules) -> None:
    assert rules.table_bytes <= 4096
    assert rules.artifact.size_bytes <= 2048
    assert rules.artifact.golden


def test_the_text_speaks_of_the_features_in_their_own_units(rules: DistilledRules) -> None:
    assert len([line for line in rules.text.splitlines() if " if " in f" {line}"]) == rules.forest.rules
    assert "proline" in rules.text
    thresholds = [float(number) for number in re.findall(r"proline (?:>|<=) ([0-9.e+]+)", rules.text)]
    assert thresholds
    assert all(ROWS[:, 12].min() < threshold < ROWS[:, 12].max() for threshold in thresholds)


def test_the_same_seed_gives_the_same_model() -> None:
    small = RuleBudget(rules=6, trees=2, root_queries=60, overgrow=1.0)
    first, second = (distilled(budget=small, fidelity_floor=0.0, folds=2) for _ in range(2))
    assert first.artifact.digest == second.artifact.digest


def test_rules_that_do_not_follow_are_refused_with_the_figures() -> None:
    with pytest.raises(FidelityError, match=r"2 rules follow the teacher on \d+\.\d % of 178 held-out samples"):
        distilled(budget=RuleBudget(rules=2, trees=1, root_queries=0), fidelity_floor=0.95)


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        (np.full((len(ROWS), 3), np.nan), "no probabilities"),
        (np.full((len(ROWS), 3), 0.5), "no probabilities"),
        (np.full((len(ROWS), 2), 0.5), "not 3 classes"),
    ],
)
def test_a_teacher_that_answers_no_probabilities_is_refused(answers: Float, words: str) -> None:
    with pytest.raises(DataError, match=words):
        distill_tabular(lambda _: answers, ROWS, features=WINE.feature_names, labels=["a", "b", "c"], name="wine")


@pytest.mark.parametrize("damage", ["nan", "empty", "names"])
def test_rows_that_are_no_data_are_refused(damage: str) -> None:
    rows, names = ROWS.copy(), list(WINE.feature_names)
    if damage == "nan":
        rows[3, 4] = np.nan
    elif damage == "empty":
        rows = rows[:0]
    else:
        names.pop()
    with pytest.raises((DataError, DatasetFormatError)):
        distill_tabular(teacher, rows, features=names, labels=["a", "b", "c"], name="wine")


@given(seed=st.integers(0, 2**32))
@settings(max_examples=30, deadline=None)
def test_the_grid_is_what_the_device_computes(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = (rng.normal(size=(40, 3)) * 10.0 ** rng.integers(-6, 7, 3) + rng.normal(size=3) * 1e3).astype(np.float32)
    grid = FeatureGrid.of(rows)
    feature, threshold = int(rng.integers(3)), int(rng.integers(-128, 127))
    values = np.array([[0, 0], [1, 0], [0, 1]], dtype=np.float64)
    tree = Tree((Condition(feature, threshold), None, None), ((1, 2), (0, 0), (0, 0)), values)
    engine = build_rules_model(Forest((tree,)), grid.quantize(rows), grid, labels=(), name="one").load()
    extremes = np.array([[np.inf] * 3, [-np.inf] * 3, [3e38] * 3], np.float32)
    tested = np.vstack([rows, rows * 2, extremes])
    output = np.frombuffer(engine.infer_batch(tested.astype("<f4").tobytes(), raw=False), np.int8).reshape(-1, 2)
    assert (output.argmax(axis=1) == (grid.quantize(tested)[:, feature] > threshold)).all()


def test_a_grid_gives_back_what_it_was_given() -> None:
    grid = FeatureGrid.of(ROWS)
    q = np.random.default_rng(0).integers(-128, 128, (50, 13)).astype(np.int8)
    assert (grid.quantize(grid.dequantize(q)) == q).all()


def test_a_constant_feature_is_no_obstacle() -> None:
    rows = ROWS.copy()
    rows[:, 2] = 7.0
    assert (FeatureGrid.of(rows).quantize(rows)[:, 2] == 0).all()
