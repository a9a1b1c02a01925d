"""Dominance, fronts and hypervolume of points whose every coordinate is a cost: smaller is better in each.

Plain Python, because policies use it too and fronts are small. The hypervolume is exact, by slicing along the last
coordinate (Zitzler & Thiele 1998; the recursion is that of While et al. 2006, "A faster algorithm for calculating
hypervolume", IEEE TEC 10:29).
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

Costs = tuple[float, ...]
T = TypeVar("T")


def dominates(a: Costs, b: Costs) -> bool:
    """Whether `a` is at least as good as `b` in everything and better in something."""
    pairs = list(zip(a, b, strict=True))
    return all(x <= y for x, y in pairs) and any(x < y for x, y in pairs)


def front_of(items: Iterable[T], costs: Callable[[T], Costs]) -> list[T]:
    """Those that no other dominates, in the order given; of equals, all."""
    pool = [(item, costs(item)) for item in items]
    distinct = sorted({point for _, point in pool})
    kept: list[Costs] = []
    for point in distinct:  # whoever dominates a point comes before it in this order
        if not any(dominates(other, point) for other in kept):
            kept.append(point)
    on_front = set(kept)
    return [item for item, point in pool if point in on_front]


def ranks(points: Sequence[Costs]) -> list[int]:
    """For each point, on which front it is: 0 for the Pareto front, 1 for that of the rest, and so on."""
    rank = [-1] * len(points)
    left = list(range(len(points)))
    level = 0
    while left:
        for index in front_of(left, lambda index: points[index]):
            rank[index] = level
        left = [index for index in left if rank[index] < 0]
        level += 1
    return rank


def hypervolume(points: Iterable[Costs], reference: Costs) -> float:
    """The volume that `points` dominate below `reference`; what is not better than it in everything adds nothing."""
    inside = {point for point in points if all(x < r for x, r in zip(point, reference, strict=True))}
    return _volume(sorted(front_of(inside, lambda point: point)), reference)


def _volume(front: list[Costs], reference: Costs) -> float:
    if not front:
        return 0.0
    if len(reference) == 1:
        return reference[0] - front[0][0]
    if len(reference) == 2:
        return _area(front, reference)
    slices = sorted(front, key=lambda point: point[-1])
    total = 0.0
    for index, point in enumerate(slices):
        end = slices[index + 1][-1] if index + 1 < len(slices) else reference[-1]
        if end > point[-1]:
            below = {other[:-1] for other in slices[: index + 1]}
            total += _volume(sorted(front_of(below, lambda other: other)), reference[:-1]) * (end - point[-1])
    return total


def _area(front: list[Costs], reference: Costs) -> float:
    """Two coordinates: a staircase; `front` is sorted by the first, so that the second falls."""
    total, height = 0.0, reference[1]
    for x, y in front:
        total += (reference[0] - x) * (height - y)
        height = y
    return total


def spread(items: Sequence[T], costs: Callable[[T], Costs], count: int, reference: Costs) -> list[T]:
    """At most `count` of `items`, each the one that adds most hypervolume to those before it; best first.

    Greedy: at least 1 - 1/e of the best choice's hypervolume, which is submodular (Nemhauser et al. 1978). So what a
    point added earlier bounds what it adds now, and most need not be looked at again (Minoux 1978).
    """
    left = front_of(items, costs)
    chosen: list[T] = []
    volume = 0.0
    bounds = [(-hypervolume([costs(item)], reference), index, 0) for index, item in enumerate(left)]
    heapq.heapify(bounds)
    while bounds and len(chosen) < count:
        bound, index, known_at = heapq.heappop(bounds)
        if known_at < len(chosen):
            gain = hypervolume([*(costs(item) for item in chosen), costs(left[index])], reference) - volume
            heapq.heappush(bounds, (-gain, index, len(chosen)))
        elif bound < 0.0 or not chosen:
            volume -= bound
            chosen.append(left[index])
        else:
            break
    return chosen


def worst_of(points: Iterable[Costs], margin: float = 0.0) -> Costs:
    """The largest value of each coordinate, moved away by `margin` of its range: a reference point."""
    columns = list(zip(*points, strict=True))
    return tuple(max(column) + margin * ((max(column) - min(column)) or abs(max(column)) or 1.0) for column in columns)
