"""Dynamic programming finds what trying every allocation finds."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.search.knapsack import Allocation, pareto_sums
from orchestrator.search.pareto import front_of

option = st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(0, 9))
groups = st.lists(st.lists(option, min_size=1, max_size=4), min_size=1, max_size=5)


def every_allocation(options: list[list[tuple[int, ...]]]) -> list[Allocation]:
    picks = itertools.product(*(range(len(group)) for group in options))
    return [
        Allocation(pick, tuple(map(sum, zip(*(group[i] for group, i in zip(options, pick, strict=True)), strict=True))))
        for pick in picks
    ]


@settings(max_examples=80)
@given(groups)
def test_the_front_of_sums_is_that_of_every_allocation(options: list[list[tuple[int, ...]]]) -> None:
    everything = every_allocation(options)
    found = pareto_sums(options)
    assert [a.costs for a in found] == sorted({a.costs for a in front_of(everything, lambda a: a.costs)})
    assert all(allocation in everything for allocation in found)  # picks and sums belong together


def test_where_too_many_sums_survive_the_result_stays_small_and_keeps_the_best_of_each_cost() -> None:
    options = [[(i * 37 % 101, (10 - i) * 53 % 97, i * i % 31) for i in range(8)] for _ in range(12)]
    found = pareto_sums(options, max_states=60)
    assert len(found) <= 64
    for axis in range(3):
        least = sum(min(option[axis] for option in group) for group in options)
        assert min(a.costs[axis] for a in found) == least


@pytest.mark.parametrize("options", [[], [[]], [[(1, 2)], [(1,)]], [[(-1, 2)]], [[(float("nan"), 2)]]])
def test_what_is_no_knapsack_is_refused(options: list[list[tuple[float, ...]]]) -> None:
    with pytest.raises(ValueError, match=r"every group|sums of"):
        pareto_sums(options)
