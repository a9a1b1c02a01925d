"""Fronts hold nothing that is dominated, and hypervolume is a volume: it counts boxes, and more points never less."""

from __future__ import annotations

import itertools
import math

from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.search.pareto import dominates, front_of, hypervolume, ranks, spread, worst_of

SIDE = 5


def points_of(dimensions: int) -> st.SearchStrategy[list[tuple[float, ...]]]:
    """Small integers, so that ties and equal points are common."""
    return st.lists(st.tuples(*[st.integers(0, SIDE).map(float)] * dimensions), max_size=9)


any_points = st.integers(1, 4).flatmap(points_of)


@given(any_points)
def test_a_front_is_what_no_point_dominates_and_dominates_everything_else(points: list[tuple[float, ...]]) -> None:
    front = front_of(points, lambda point: point)
    assert not any(dominates(a, b) for a in points for b in front)
    assert all(point in front or any(dominates(a, point) for a in front) for point in points)
    assert all(front.count(point) == points.count(point) for point in front)


@given(any_points)
def test_the_first_rank_is_the_front_and_each_later_point_is_dominated_from_the_rank_before(
    points: list[tuple[float, ...]],
) -> None:
    found = ranks(points)
    assert [p for p, rank in zip(points, found, strict=True) if rank == 0] == front_of(points, lambda point: point)
    for point, rank in zip(points, found, strict=True):
        before = [other for other, level in zip(points, found, strict=True) if level == rank - 1]
        assert rank == 0 or any(dominates(other, point) for other in before)


@settings(max_examples=60)
@given(any_points)
def test_hypervolume_is_the_number_of_unit_boxes_that_a_point_dominates(points: list[tuple[float, ...]]) -> None:
    dimensions = len(points[0]) if points else 2
    reference = (float(SIDE),) * dimensions
    corners = itertools.product(range(SIDE), repeat=dimensions)
    counted = sum(
        any(all(p <= c for p, c in zip(point, corner, strict=True)) for point in points) for corner in corners
    )
    assert math.isclose(hypervolume(points, reference), counted)


@given(any_points, st.data())
def test_hypervolume_never_falls_when_a_point_comes_and_only_rises_for_one_that_is_new(
    points: list[tuple[float, ...]], data: st.DataObject
) -> None:
    dimensions = len(points[0]) if points else 3
    new = data.draw(points_of(dimensions).filter(bool))[0]
    reference = (float(SIDE + 1),) * dimensions
    before, after = hypervolume(points, reference), hypervolume([*points, new], reference)
    covered = any(point == new or dominates(point, new) for point in points)
    assert (after > before) != covered
    assert after >= before


@given(points_of(3).filter(bool), st.integers(1, 4))
def test_a_spread_is_of_the_front_and_begins_with_the_point_of_most_volume(
    points: list[tuple[float, ...]], count: int
) -> None:
    reference = worst_of(points, margin=0.1)
    chosen = spread(points, lambda point: point, count, reference)
    assert 1 <= len(chosen) <= count
    assert set(chosen) <= set(front_of(points, lambda point: point))
    assert math.isclose(hypervolume(chosen[:1], reference), max(hypervolume([point], reference) for point in points))
