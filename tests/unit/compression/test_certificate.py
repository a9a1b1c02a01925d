from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import beta, binom

from orchestrator.compression.certificate import (
    accuracy_drop_upper,
    binomial_cdf,
    binomial_lower,
    binomial_upper,
    compare_paired,
    compare_worst_class,
)
from orchestrator.compression.errors import DataError


@pytest.mark.parametrize(("successes", "trials"), [(0, 1), (0, 50), (3, 10), (50, 50), (180, 5000), (4999, 5000)])
def test_the_binomial_bounds_are_those_of_clopper_and_pearson(successes: int, trials: int) -> None:
    upper = 1.0 if successes == trials else beta.ppf(0.975, successes + 1, trials - successes)
    lower = 0.0 if successes == 0 else beta.ppf(0.025, successes, trials - successes + 1)
    assert binomial_upper(successes, trials, 0.975) == pytest.approx(upper, abs=1e-9)
    assert binomial_lower(successes, trials, 0.975) == pytest.approx(lower, abs=1e-9)


def test_the_cumulative_probability_is_exact_for_large_counts() -> None:
    for p in (1e-6, 0.03, 0.5, 0.999):
        assert binomial_cdf(180, 5000, p) == pytest.approx(float(binom.cdf(180, 5000, p)), abs=1e-10)


def test_the_bound_holds_at_least_as_often_as_it_says() -> None:
    """2,000 simulated comparisons with a true drop of 2 points: the bound may lie below it in at most 5 %."""
    rng = np.random.default_rng(0)
    only_teacher, only_model, samples = 0.05, 0.03, 400
    counts = rng.multinomial(samples, [only_teacher, only_model, 1 - only_teacher - only_model], size=2000)
    distinct, repeats = np.unique(counts[:, :2], axis=0, return_counts=True)
    missed = 0
    for (b, c), repeat in zip(distinct.tolist(), repeats.tolist(), strict=True):
        bound = accuracy_drop_upper(samples=samples, only_model_correct=c, only_teacher_correct=b)
        missed += repeat * (bound < only_teacher - only_model)
    assert missed / 2000 <= 0.05


def test_more_samples_tighten_the_bound_and_a_better_model_gets_a_negative_one() -> None:
    few = accuracy_drop_upper(samples=500, only_model_correct=10, only_teacher_correct=12)
    many = accuracy_drop_upper(samples=5000, only_model_correct=100, only_teacher_correct=120)
    assert 0.004 < many < few < 0.06
    assert accuracy_drop_upper(samples=5000, only_model_correct=300, only_teacher_correct=100) < 0


def test_a_comparison_counts_the_discordant_samples() -> None:
    model = np.array([True, True, False, False, True])
    teacher = np.array([True, False, True, True, True])
    compared = compare_paired(model, teacher)
    assert (compared.samples, compared.correct, compared.teacher_correct) == (5, 3, 4)
    assert (compared.only_model_correct, compared.only_teacher_correct) == (1, 2)
    assert compared.accuracy_drop == pytest.approx(0.2)
    assert compared.accuracy_drop_upper_95 > 0.2


def test_answers_that_do_not_pair_are_refused() -> None:
    with pytest.raises(DataError, match="paired"):
        compare_paired(np.array([True]), np.array([True, False]))
    with pytest.raises(DataError, match="paired"):
        compare_paired(np.array([], bool), np.array([], bool))
    with pytest.raises(DataError, match="impossible"):
        accuracy_drop_upper(samples=3, only_model_correct=2, only_teacher_correct=2)


@given(st.integers(0, 2**31), st.integers(1, 6), st.integers(2, 60))
def test_the_worst_class_is_the_one_that_lost_most_and_the_bound_covers_every_class(
    seed: int, classes: int, samples: int
) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, samples)
    teacher = rng.random(samples) < 0.9
    model = np.where(labels == 0, rng.random(samples) < 0.3, teacher)
    worst = compare_worst_class(model, teacher, labels)
    drops = {c: float(teacher[labels == c].mean() - model[labels == c].mean()) for c in set(labels.tolist())}
    assert worst.comparison.accuracy_drop == pytest.approx(max(drops.values()))
    assert drops[worst.label] == pytest.approx(max(drops.values()))
    assert worst.comparison.samples == int((labels == worst.label).sum())
    for label in drops:  # wider than each class by itself has at 95 %
        alone = compare_paired(model[labels == label], teacher[labels == label])
        assert worst.accuracy_drop_upper_95 >= alone.accuracy_drop_upper_95


def test_the_bound_on_the_worst_class_holds_for_all_classes_in_nineteen_of_twenty_draws() -> None:
    rng = np.random.default_rng(3)
    classes, per_class, lost = 5, 120, 0.08
    labels = np.repeat(np.arange(classes), per_class)
    held = 0
    for _ in range(80):
        teacher = rng.random(len(labels)) < 0.95
        model = teacher & (rng.random(len(labels)) >= lost)
        held += compare_worst_class(model, teacher, labels).accuracy_drop_upper_95 >= 0.95 * lost
    assert held >= 76


def test_labels_that_do_not_match_the_answers_are_refused() -> None:
    with pytest.raises(DataError, match="labels"):
        compare_worst_class(np.ones(3, bool), np.ones(3, bool), np.zeros(2, np.int64))
