"""Tests that may be looked at after every observation, forever, and still err at most as often as stated.

Everything is one construction: bet against a hypothesis about a mean, and reject it once the stake has grown by
1 / alpha. For observations x_i in [0, 1] and the hypothesis "the mean is at most mu", a bet of the share c of the stake
multiplies it by

    1 + (c / mu) (x_i - mu),        0 < c < 1,

which is never negative and, where the hypothesis holds, does not grow on average whatever came before. Its product, and
the average of the products over a fixed grid of c, are therefore non-negative supermartingales that start at 1, and by
Ville's inequality reach 1 / alpha with probability at most alpha at any time at all. The order of the observations
cancels: only how often each value came is needed, which is what devices report.

Sources: Ville 1939; Waudby-Smith & Ramdas 2024, "Estimating means of bounded random variables by betting", JRSS-B
86(1), arXiv:2010.09686 (betting on a bounded mean, and mixing over a grid of bets); the grid is ours.

Values are natural logarithms, so that ten million observations do not overflow.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

BETS = (0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 0.9)
"""Shares of the stake: small ones win against near misses after thousands of labels, large ones early on gross ones."""

Counts = tuple[tuple[float, int], ...]
"""How often each value in [0, 1] was observed: ((value, count), ...)."""


def log_e_mean_above(counts: Counts, mu: float) -> float:
    """Logarithm of the stake won against "the mean is at most `mu`": large where the mean is above it.

    log( (1 / |C|) sum over c in C of prod over (x, n) of (1 + (c / mu) (x - mu))^n ),   0 < mu < 1.
    """
    if not 0.0 < mu < 1.0:
        raise ValueError(f"the mean to bet against must be within (0, 1), not {mu}")
    logs = [sum(n * math.log1p(c / mu * (x - mu)) for x, n in counts if n) for c in BETS]
    highest = max(logs)
    return highest + math.log(sum(math.exp(value - highest) for value in logs) / len(BETS))


def log_e_mean_below(counts: Counts, mu: float) -> float:
    """Logarithm of the stake won against "the mean is at least `mu`": the same bet on 1 - x against 1 - mu."""
    return log_e_mean_above(tuple((1.0 - x, n) for x, n in counts), 1.0 - mu)


def rejects(log_e: float, alpha: float) -> bool:
    """Whether a stake is large enough to reject at level `alpha`."""
    return log_e >= -math.log(alpha)


@dataclass(frozen=True)
class Fraction:
    """How often something happened: `hits` of `total`, x in {0, 1}."""

    hits: int
    total: int

    def __post_init__(self) -> None:
        if not 0 <= self.hits <= self.total:
            raise ValueError(f"{self.hits} of {self.total} is not a fraction")

    @property
    def estimate(self) -> float:
        return self.hits / self.total if self.total else 0.0

    @property
    def counts(self) -> Counts:
        return ((1.0, self.hits), (0.0, self.total - self.hits))

    def shown_above(self, share: float, alpha: float) -> bool:
        """Rejects "it happens at most that often"."""
        return rejects(log_e_mean_above(self.counts, share), alpha)

    def shown_below(self, share: float, alpha: float) -> bool:
        """Rejects "it happens at least that often"."""
        return rejects(log_e_mean_below(self.counts, share), alpha)

    def upper_bound(self, alpha: float) -> float:
        """One-sided confidence sequence: the share exceeds this, at any time at all, with probability at most alpha."""
        return _largest_unrejected(lambda mu: log_e_mean_below(self.counts, mu), self.estimate, 1.0, alpha)

    def lower_bound(self, alpha: float) -> float:
        """As `upper_bound`, from below."""
        return 1.0 - Fraction(self.total - self.hits, self.total).upper_bound(alpha)


@dataclass(frozen=True)
class PairedDifference:
    """Correctness of two models on the same requests: d = new - old, in {-1, 0, 1}, as x = (d + 1) / 2.

    The mean of d is the difference of the accuracies. Pairing takes out how hard the requests were: only those that
    exactly one model gets right speak.
    """

    only_new: int
    only_old: int
    same: int

    @property
    def total(self) -> int:
        return self.only_new + self.only_old + self.same

    @property
    def estimate(self) -> float:
        return (self.only_new - self.only_old) / self.total if self.total else 0.0

    @property
    def counts(self) -> Counts:
        return ((1.0, self.only_new), (0.5, self.same), (0.0, self.only_old))

    def shown_above(self, difference: float, alpha: float) -> bool:
        """Rejects "new is better by at most `difference`" (negative: worse by at least that much)."""
        return rejects(log_e_mean_above(self.counts, (1.0 + difference) / 2.0), alpha)

    def shown_below(self, difference: float, alpha: float) -> bool:
        """Rejects "new is better by at least `difference`"."""
        return rejects(log_e_mean_below(self.counts, (1.0 + difference) / 2.0), alpha)

    def bounds(self, alpha: float) -> tuple[float, float]:
        """Lower and upper confidence sequences of the difference, each one-sided at `alpha`."""
        middle = (1.0 + self.estimate) / 2.0
        upper = _largest_unrejected(lambda mu: log_e_mean_below(self.counts, mu), middle, 1.0, alpha)
        lower = _largest_unrejected(lambda nu: log_e_mean_above(self.counts, 1.0 - nu), 1.0 - middle, 1.0, alpha)
        return 1.0 - 2.0 * lower, 2.0 * upper - 1.0


def _largest_unrejected(log_e: Callable[[float], float], low: float, high: float, alpha: float) -> float:
    """Bisect for the largest mean that is not rejected; `log_e` rises with the mean, factor by factor."""
    low = min(max(low, 1e-9), 1.0 - 1e-9)
    if not rejects(log_e(1.0 - 1e-9), alpha):
        return high
    for _ in range(50):
        middle = (low + high) / 2.0
        if rejects(log_e(middle), alpha):
            high = middle
        else:
            low = middle
    return high
