"""Growing rules: the split law, queries, values, merging, and what is asked of a budget."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.compression.errors import DataError, FidelityError, RecipeError, WeightError
from orchestrator.compression.rules.budget import RuleBudget
from orchestrator.compression.rules.fidelity import cross_validate, require_fidelity
from orchestrator.compression.rules.fitting import fit_rules, runs_as
from orchestrator.compression.rules.forest import Condition, Float, Forest, Index, Int8, Tree
from orchestrator.compression.rules.growth import grow
from orchestrator.compression.rules.merging import merge
from orchestrator.compression.rules.queries import Queries, draw
from orchestrator.compression.rules.split import best_split
from orchestrator.compression.rules.table import to_integers
from orchestrator.compression.rules.text import describe, to_text

SEEDS = st.integers(0, 2**32)
PLAIN = RuleBudget(rules=4, trees=1, depth=4, queries=Queries.NONE, overgrow=1.0, ridge=0.0)


def samples(rng: np.random.Generator, count: int, features: int) -> Int8:
    return rng.integers(-128, 128, (count, features)).astype(np.int8)


def nested_rule(x_NF: Int8) -> Float:
    """Class 2 where x0 > 40; of the rest class 1 where x1 > -20, else 0."""
    label = np.where(x_NF[:, 0] > 40, 2, np.where(x_NF[:, 1] > -20, 1, 0))
    return np.eye(3)[label] * 0.94 + 0.02


@given(seed=SEEDS)
@settings(max_examples=60, deadline=None)
def test_the_best_split_is_the_best_of_all_splits(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, residual, weight = samples(rng, 25, 3) // 32, rng.normal(size=(25, 2)), rng.uniform(0.5, 2, 25)

    def error(sums_weights: np.ndarray) -> float:
        part, w = residual[sums_weights], weight[sums_weights]
        mean = np.average(part, axis=0, weights=w)
        return float((w[:, None] * (part - mean) ** 2).sum())

    everything = np.ones(25, bool)
    gains = {}
    for feature in range(3):
        for threshold in range(-128, 127):
            right = x[:, feature] > threshold
            if min(weight[right].sum(), weight[~right].sum()) >= 3:
                gains[feature, threshold] = error(everything) - error(right) - error(~right)
    found = best_split(x, residual, weight, least_weight=3)
    if not gains:
        assert found is None
        return
    assert found is not None
    assert found.gain == pytest.approx(max(gains.values()))
    assert gains[found.condition.feature, found.condition.threshold] == pytest.approx(max(gains.values()))


def test_the_threshold_stands_in_the_middle_of_the_gap() -> None:
    x = np.array([[-50], [-50], [50], [50]], np.int8)
    split = best_split(x, np.array([[1.0], [1], [-1], [-1]]), np.ones(4), least_weight=1)
    assert split is not None
    assert abs(split.condition.threshold) <= 1


def test_many_features_are_looked_at_in_blocks() -> None:
    rng = np.random.default_rng(0)
    x = samples(rng, 60, 3000)
    residual = np.where(x[:, 2900:2901] > 0, 1.0, -1.0) * np.ones((1, 4))
    split = best_split(x, residual, np.ones(60), least_weight=3)
    assert split is not None
    assert split.condition.feature == 2900


def test_rules_that_are_there_are_found() -> None:
    x = samples(np.random.default_rng(1), 2000, 5)
    forest, _ = grow(x, nested_rule(x), PLAIN)
    used = {(c.feature, c.threshold) for c in forest.trees[0].conditions if c is not None}
    assert {feature for feature, _ in used} == {0, 1}
    assert any(feature == 0 and abs(threshold - 40) <= 1 for feature, threshold in used)
    assert (forest.predict(x) == nested_rule(x).argmax(axis=1)).mean() > 0.995


def test_a_single_trees_values_are_the_logarithms_of_the_mean_probabilities() -> None:
    x = samples(np.random.default_rng(2), 500, 2)
    target = np.random.default_rng(3).dirichlet(np.ones(3), 500)
    forest, _ = grow(x, target, PLAIN)
    reached = forest.trees[0].apply(x)
    for leaf in forest.trees[0].leaves:
        exponential = np.exp(forest.trees[0].values[leaf])
        assert exponential / exponential.sum() == pytest.approx(target[reached == leaf].mean(axis=0), abs=2e-3)


@pytest.mark.parametrize("how", [Queries.MARGINALS, Queries.BETWEEN])
@given(seed=SEEDS)
@settings(max_examples=40, deadline=None)
def test_queries_stay_in_the_box_of_the_samples_that_suggest_them(how: Queries, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = samples(rng, int(rng.integers(1, 9)), 4)
    asked = draw(x, 50, how, rng)
    assert (asked >= x.min(axis=0)).all()
    assert (asked <= x.max(axis=0)).all()


def test_queries_make_up_for_samples_that_are_not_there() -> None:
    fresh = samples(np.random.default_rng(99), 2000, 6)
    wanted = nested_rule(fresh).argmax(axis=1)
    asking = RuleBudget(rules=6, trees=1, depth=6, root_queries=600)
    alone, asked = [], []
    for seed in range(5):
        x = samples(np.random.default_rng(seed), 20, 6)
        alone.append((fit_rules(x, nested_rule(x), asking).predict(fresh) == wanted).mean())
        rules = fit_rules(x, nested_rule(x), asking, teacher=nested_rule, seed=seed)
        asked.append((rules.predict(fresh) == wanted).mean())
    assert np.mean(asked) > np.mean(alone) + 0.03


def test_a_thin_leaf_is_filled_with_queries_that_weigh_no_more_than_before() -> None:
    x = samples(np.random.default_rng(5), 40, 4)
    budget = RuleBudget(rules=6, trees=1, depth=6, root_queries=50, leaf_queries=80, overgrow=1.0)
    forest, growth = grow(x, nested_rule(x), budget, teacher=nested_rule)
    reached = forest.trees[0].apply(growth.x)
    assert min((reached == leaf).sum() for leaf in forest.trees[0].leaves) >= 20
    assert growth.weight[~growth.is_query].tolist() == [1.0] * 40
    assert growth.weight[growth.is_query].sum() == pytest.approx(40, rel=0.3)
    assert np.allclose(growth.target, nested_rule(growth.x))


@given(seed=SEEDS)
@settings(max_examples=8, deadline=None)
def test_merging_keeps_to_the_budget_and_gives_up_no_fidelity_for_nothing(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, weight = samples(rng, 300, 4), rng.uniform(0.5, 2, 300)
    target = nested_rule(x)
    grown, _ = grow(x, target, RuleBudget(rules=16, trees=3, depth=3, queries=Queries.NONE, overgrow=1.0))
    merged = merge(grown, x, target, weight, rules=5, ridge=0.5)
    assert 2 <= merged.rules <= 5
    unforced = merge(grown, x, target, weight, rules=16, ridge=0.0)
    wanted = target.argmax(axis=1)
    assert weight[unforced.predict(x) == wanted].sum() >= 0.99 * weight[grown.predict(x) == wanted].sum()


def test_one_tree_after_the_other_is_nearly_as_good_and_chosen_where_samples_are_many() -> None:
    x, fresh = (samples(np.random.default_rng(seed), 1500, 6) for seed in (10, 11))
    for revisit in (True, False):
        budget = RuleBudget(rules=16, trees=4, depth=3, queries=Queries.NONE, overgrow=1.0, revisit=revisit)
        forest = fit_rules(x, nested_rule(x), budget)
        assert forest.rules <= 16
        assert (forest.predict(fresh) == nested_rule(fresh).argmax(axis=1)).mean() > 0.95
    assert RuleBudget().revisits(3500, 30)
    assert not RuleBudget(rules=192).revisits(12_000, 512)


@pytest.mark.parametrize("trees", [1, 5])
def test_what_is_lowered_says_what_was_grown(trees: int) -> None:
    x = samples(np.random.default_rng(6), 800, 7)
    forest = fit_rules(x, nested_rule(x), RuleBudget(rules=12, trees=trees, depth=3, queries=Queries.NONE))
    fresh = samples(np.random.default_rng(7), 1000, 7)
    assert (runs_as(forest, x)(fresh) == forest.predict(fresh)).mean() > 0.99
    integers = to_integers(forest, x)
    assert integers.table_bytes == 4 * (2 * forest.rules - len(forest.trees)) + 3 * forest.rules


def test_values_that_are_not_finite_are_refused() -> None:
    tree = Tree((Condition(0, 0), None, None), ((1, 2), (0, 0), (0, 0)), np.array([[0, 0], [np.nan, 1], [1, 0]]))
    with pytest.raises(WeightError, match="not finite"):
        to_integers(Forest((tree,)), np.zeros((1, 1), np.int8))


def test_a_rule_reads_with_its_narrowest_bounds_support_and_confidence() -> None:
    tree = Tree(
        (Condition(0, 9), Condition(0, 19), None, None, None),
        ((2, 1), (3, 4), (0, 0), (0, 0), (0, 0)),
        np.array([[0, 0], [0, 0], [2, -2], [-1, 1], [-3, 3]], dtype=float),
    )
    x = np.array([[0], [0], [15], [30]], np.int8)
    target = np.array([[0.9, 0.1], [0.7, 0.3], [0.4, 0.6], [0, 1]])
    rules = describe(
        Forest((tree,)), x, target, features=["width"], labels=["no", "yes"], boundary=lambda _, t: (t + 0.5) / 10
    )
    assert to_text(rules).splitlines() == [
        "if width <= 0.95: no (support 0.500, confidence 0.800)",
        "if 0.95 < width <= 1.95: yes (support 0.250, confidence 0.600)",
        "if width > 1.95: yes (support 0.250, confidence 1.000)",
    ]


def majority(x_NF: Int8, target_NC: Float, seed: int) -> object:
    best = int(target_NC.sum(axis=0).argmax())
    return lambda x: np.full(len(x), best)


def test_cross_validation_holds_every_sample_out_once_in_each_repeat() -> None:
    x = samples(np.random.default_rng(8), 50, 3)
    seen: list[Index] = []

    def fit(inside: Int8, target: Float, seed: int) -> object:
        assert len(inside) == 40

        def predict(outside: Int8) -> Index:
            seen.append(outside)
            assert not {row.tobytes() for row in inside} & {row.tobytes() for row in outside}
            return np.zeros(len(outside), dtype=np.intp)

        return predict

    target = np.eye(2)[(np.arange(50) % 5 == 0).astype(int)]
    fidelity = cross_validate(fit, x, target, folds=5, repeats=3)  # type: ignore[arg-type]
    assert sum(map(len, seen)) == 150
    assert (fidelity.mean, fidelity.spread, fidelity.worst_repeat) == pytest.approx((0.8, 0.0, 0.8))
    assert "80.0 % of 50 held-out samples (3 x 5 folds" in str(fidelity)


def test_the_gate_refuses_with_the_figures() -> None:
    x = samples(np.random.default_rng(8), 50, 3)
    fidelity = cross_validate(majority, x, nested_rule(x))  # type: ignore[arg-type]
    require_fidelity(fidelity, floor=fidelity.mean, rules=4)
    with pytest.raises(FidelityError, match=r"4 rules follow the teacher on .* below the floor of 95.0 %") as caught:
        require_fidelity(fidelity, floor=0.95, rules=4)
    assert (caught.value.fidelity, caught.value.floor) == (fidelity.mean, 0.95)


def test_fewer_samples_than_folds_are_refused() -> None:
    with pytest.raises(DataError, match="5 folds need at least as many samples"):
        cross_validate(majority, np.zeros((4, 1), np.int8), np.ones((4, 1)))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"rules": 1}, "at least 2"),
        ({"rules": 4096}, "rules must be within"),
        ({"trees": 0}, "trees must be within"),
        ({"depth": 65}, "depth must be within"),
        ({"queries": "often"}, "often"),
        ({"overgrow": 0.5}, "overgrow"),
        ({"samples_per_rule": 0.0}, "samples_per_rule"),
    ],
)
def test_a_budget_that_makes_no_sense_is_refused(values: dict[str, object], words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        RuleBudget(**values)  # type: ignore[arg-type]
