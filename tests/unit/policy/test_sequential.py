"""The sequential tests err at most as often as stated, however often one looks, and are quick enough to be of use."""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.policy.sequential import Fraction, PairedDifference, log_e_mean_above, log_e_mean_below

STREAMS = 200


def first_rejection(
    draw: Callable[[random.Random], int],
    shown: Callable[[dict[int, int]], bool],
    *,
    seed: int,
    horizon: int,
    every: int,
) -> int | None:
    """After how many observations the test first speaks, looking at every `every`-th; None if never."""
    rng = random.Random(seed)
    counts = {-1: 0, 0: 0, 1: 0}
    for n in range(1, horizon + 1):
        counts[draw(rng)] += 1
        if n % every == 0 and shown(counts):
            return n
    return None


def pairs_with(only_new: float, only_old: float) -> Callable[[random.Random], int]:
    def draw(rng: random.Random) -> int:
        u = rng.random()
        return 1 if u < only_new else -1 if u < only_new + only_old else 0

    return draw


def difference_of(counts: dict[int, int]) -> PairedDifference:
    return PairedDifference(only_new=counts[1], only_old=counts[-1], same=counts[0])


def run(
    draw: Callable[[random.Random], int], shown: Callable[[dict[int, int]], bool], horizon: int
) -> list[int | None]:
    return [first_rejection(draw, shown, seed=seed, horizon=horizon, every=7) for seed in range(STREAMS)]


@pytest.mark.parametrize(
    ("draw", "shown"),
    [
        (pairs_with(0.15, 0.15), lambda c: difference_of(c).shown_above(0.0, 0.05)),
        (pairs_with(0.05, 0.10), lambda c: difference_of(c).shown_above(-0.05, 0.05)),
        (pairs_with(0.15, 0.15), lambda c: difference_of(c).shown_below(0.0, 0.05)),
        (pairs_with(0.05, 0.10), lambda c: difference_of(c).shown_below(-0.05, 0.05)),
        (pairs_with(0.80, 0.0), lambda c: Fraction(c[1], c[0] + c[1]).shown_below(0.80, 0.05)),
        (pairs_with(0.50, 0.0), lambda c: Fraction(c[1], c[0] + c[1]).shown_above(0.50, 0.05)),
    ],
)
def test_false_alarms_stay_below_alpha_under_continuous_looking(
    draw: Callable[[random.Random], int], shown: Callable[[dict[int, int]], bool]
) -> None:
    """At the border of the hypothesis, where errors are most likely; 0.05 + 3 standard errors of 200 streams."""
    alarms = sum(found is not None for found in run(draw, shown, 1000))
    assert alarms / STREAMS <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / STREAMS)


@pytest.mark.parametrize(
    ("draw", "shown", "median"),
    [
        # A repaired camera: from 60 % to 80 % right.
        (pairs_with(0.25, 0.05), lambda c: difference_of(c).shown_above(0.0, 0.05), 80),
        # Equal models that disagree on 10 % of requests, margin 5 points.
        (pairs_with(0.05, 0.05), lambda c: difference_of(c).shown_above(-0.05, 0.025), 600),
        # A model that lost 15 points, margin 5 points.
        (pairs_with(0.05, 0.20), lambda c: difference_of(c).shown_below(-0.05, 0.05), 300),
        # Accuracy 0.70 under a floor of 0.80, at 99 %.
        (pairs_with(0.70, 0.0), lambda c: Fraction(c[1], c[0] + c[1]).shown_below(0.80, 0.01), 400),
        # Error 15 % where 10 % was promised, at 99 %: the bound for any test at all is 376.
        (pairs_with(0.15, 0.0), lambda c: Fraction(c[1], c[0] + c[1]).shown_above(0.10, 0.01), 750),
    ],
)
def test_real_differences_are_shown_within_a_few_hundred_labels(
    draw: Callable[[random.Random], int], shown: Callable[[dict[int, int]], bool], median: int
) -> None:
    found = [n if n is not None else 10**9 for n in run(draw, shown, 3000)]
    assert statistics.median(found) <= median


small_counts = st.integers(0, 300)


@given(small_counts, small_counts, small_counts)
def test_a_pair_of_bounds_holds_the_estimate_and_tightens_with_alpha(new: int, old: int, same: int) -> None:
    difference = PairedDifference(only_new=new, only_old=old, same=same)
    low, high = difference.bounds(0.05)
    assert -1.0 <= low <= difference.estimate + 1e-6
    assert difference.estimate - 1e-6 <= high <= 1.0
    wide_low, wide_high = difference.bounds(0.001)
    assert wide_low <= low + 1e-6
    assert high <= wide_high + 1e-6


@given(small_counts, small_counts, st.floats(0.01, 0.99), st.sampled_from([0.2, 0.05, 0.001]))
def test_a_bound_and_the_test_agree(hits: int, misses: int, share: float, alpha: float) -> None:
    fraction = Fraction(hits, hits + misses)
    bound = fraction.upper_bound(alpha)
    if abs(bound - share) > 1e-6:
        assert fraction.shown_below(share, alpha) == (bound < share)


@settings(max_examples=50)
@given(st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=1, max_size=60), st.floats(0.05, 0.95))
def test_the_stake_is_the_average_product_over_the_bets_in_any_order(values: list[float], mu: float) -> None:
    from orchestrator.policy.sequential import BETS

    counts = tuple((value, values.count(value)) for value in (0.0, 0.5, 1.0))
    slow = sum(math.prod(1 + c / mu * (x - mu) for x in values) for c in BETS) / len(BETS)
    assert math.isclose(log_e_mean_above(counts, mu), math.log(slow), rel_tol=1e-9, abs_tol=1e-9)


@given(st.floats(0.02, 0.98))
def test_one_more_observation_does_not_raise_the_expected_stake_at_the_border(mu: float) -> None:
    """The supermartingale itself: E[stake after] <= stake before, for a coin whose mean is exactly mu."""
    before = log_e_mean_above(((1.0, 30), (0.0, 50)), mu)
    hit = log_e_mean_above(((1.0, 31), (0.0, 50)), mu)
    miss = log_e_mean_above(((1.0, 30), (0.0, 51)), mu)
    expected = mu * math.exp(hit - before) + (1 - mu) * math.exp(miss - before)
    assert expected <= 1.0 + 1e-9


def test_ten_million_observations_do_not_overflow() -> None:
    assert log_e_mean_below(((1.0, 0), (0.0, 10_000_000)), 0.5) > 1e6
    assert Fraction(9_000_000, 10_000_000).upper_bound(0.01) == pytest.approx(0.9, abs=0.02)


@pytest.mark.parametrize("mu", [0.0, 1.0, -0.1, float("nan")])
def test_a_mean_that_cannot_be_bet_against_is_refused(mu: float) -> None:
    with pytest.raises(ValueError, match="within"):
        log_e_mean_above(((1.0, 1),), mu)


def test_counts_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(ValueError, match="not a fraction"):
        Fraction(3, 2)
