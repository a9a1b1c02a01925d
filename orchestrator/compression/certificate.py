"""An exact statement about the accuracy a model lost, from paired answers on data that nobody tuned on.

The teacher (or whatever the model replaces) and the model answer the same n samples. Only the discordant ones say
anything about the drop: b that only the teacher got right, c that only the model got right. The drop is the population
value of P(only teacher right) - P(only model right) = p_b - p_c, and `accuracy_drop_upper` bounds it from above with a
confidence that holds for every n, not only in the limit.

How: given the number of discordant samples d = b + c, b is binomial(d, theta) with theta = p_b / (p_b + p_c), and d
is binomial(n, delta) with delta = p_b + p_c; the drop is delta * (2 theta - 1). One-sided Clopper-Pearson bounds on
theta and on delta, each spending half of 1 - confidence, hold together with the stated confidence (Bonferroni). Where
theta's bound is at or above 1/2 the drop grows with delta, so delta's upper bound goes in; below 1/2 it falls, so
delta's lower one does. Clopper & Pearson 1934 (Biometrika 26:404); the conditioning is McNemar's 1947 (Psychometrika
12:153).

Pure Python and numpy; for data that keeps coming a bound that holds at any time is needed instead, which is policy's.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from orchestrator.compression.errors import DataError


@dataclass(frozen=True, kw_only=True)
class PairedComparison:
    """Counts over the same samples; `only_*` are the discordant ones."""

    samples: int
    correct: int
    teacher_correct: int
    only_model_correct: int
    only_teacher_correct: int
    accuracy_drop_upper_95: float

    @property
    def accuracy_drop(self) -> float:
        """Teacher accuracy minus model accuracy, as observed."""
        return (self.teacher_correct - self.correct) / self.samples


def compare_paired(correct: npt.NDArray[np.bool_], teacher_correct: npt.NDArray[np.bool_]) -> PairedComparison:
    """Compare two models' answers to the same samples; each array is bool [N], in the same order.

    Raises:
        DataError: the arrays are empty or differ in length.
    """
    if correct.shape != teacher_correct.shape or correct.ndim != 1 or len(correct) == 0:
        raise DataError(f"paired answers need equal, non-empty lengths; found {correct.shape}, {teacher_correct.shape}")
    only_model = int(np.sum(correct & ~teacher_correct))
    only_teacher = int(np.sum(~correct & teacher_correct))
    return PairedComparison(
        samples=len(correct),
        correct=int(correct.sum()),
        teacher_correct=int(teacher_correct.sum()),
        only_model_correct=only_model,
        only_teacher_correct=only_teacher,
        accuracy_drop_upper_95=accuracy_drop_upper(
            samples=len(correct), only_model_correct=only_model, only_teacher_correct=only_teacher
        ),
    )


@dataclass(frozen=True, kw_only=True)
class WorstClass:
    """The class that lost most accuracy as observed; of equals the one of which less is known.

    `accuracy_drop_upper_95` holds for all classes together: no class lost more. Each of K classes has a bound that errs
    with a K-th of 5 % (Bonferroni), and this is the largest of them, be it of this class or of another.
    """

    label: int
    comparison: PairedComparison
    accuracy_drop_upper_95: float


def compare_worst_class(
    correct: npt.NDArray[np.bool_], teacher_correct: npt.NDArray[np.bool_], labels: npt.NDArray[np.int64]
) -> WorstClass:
    """Compare class by class; classes without samples say nothing. Arrays as for `compare_paired`, and labels [N]."""
    if labels.shape != correct.shape:
        raise DataError(f"{labels.shape} labels for {correct.shape} answers")
    present = [int(label) for label in np.unique(labels)]
    compared = {label: compare_paired(correct[labels == label], teacher_correct[labels == label]) for label in present}
    bounds = {
        label: accuracy_drop_upper(
            samples=comparison.samples,
            only_model_correct=comparison.only_model_correct,
            only_teacher_correct=comparison.only_teacher_correct,
            confidence=1 - 0.05 / len(present),
        )
        for label, comparison in compared.items()
    }
    worst = max(present, key=lambda label: (compared[label].accuracy_drop, bounds[label], -label))
    return WorstClass(label=worst, comparison=compared[worst], accuracy_drop_upper_95=max(bounds.values()))


def accuracy_drop_upper(
    *, samples: int, only_model_correct: int, only_teacher_correct: int, confidence: float = 0.95
) -> float:
    """Upper confidence bound on teacher accuracy minus model accuracy; within [-1, 1]."""
    discordant = only_model_correct + only_teacher_correct
    if min(samples - 1, only_model_correct, only_teacher_correct) < 0 or discordant > samples:
        raise DataError(f"{only_teacher_correct} + {only_model_correct} discordant of {samples} samples is impossible")
    half = 1 - (1 - confidence) / 2
    theta_upper = binomial_upper(only_teacher_correct, discordant, half)
    if theta_upper >= 0.5:
        return binomial_upper(discordant, samples, half) * (2 * theta_upper - 1)
    return binomial_lower(discordant, samples, half) * (2 * theta_upper - 1)


def binomial_upper(successes: int, trials: int, confidence: float) -> float:
    """One-sided Clopper-Pearson upper bound: the p at which P(X <= successes) is 1 - confidence."""
    if successes >= trials:
        return 1.0
    return _bisect(lambda p: binomial_cdf(successes, trials, p) > 1 - confidence)


def binomial_lower(successes: int, trials: int, confidence: float) -> float:
    """One-sided Clopper-Pearson lower bound: the p at which P(X >= successes) is 1 - confidence."""
    if successes <= 0:
        return 0.0
    return 1 - binomial_upper(trials - successes, trials, confidence)


def binomial_cdf(successes: int, trials: int, p: float) -> float:
    """P(X <= successes) for X binomial(trials, p), summed from exact logarithms of the terms."""
    if p <= 0:
        return 1.0
    if p >= 1:
        return 1.0 if successes >= trials else 0.0
    counts = range(successes + 1)
    log_p, log_q, log_all = math.log(p), math.log1p(-p), math.lgamma(trials + 1)
    terms = (
        math.exp(log_all - math.lgamma(k + 1) - math.lgamma(trials - k + 1) + k * log_p + (trials - k) * log_q)
        for k in counts
    )
    return min(math.fsum(terms), 1.0)


def _bisect(is_below: Callable[[float], bool]) -> float:
    """The point of [0, 1] where `is_below` turns false, to 2^-50, rounded up so that an upper bound stays one."""
    low, high = 0.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        if is_below(middle):
            low = middle
        else:
            high = middle
    return high
