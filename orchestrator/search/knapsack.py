"""One option for each group, so that sums of several costs are least: the dynamic programming behind a search's seeds.

Where there is one cost and one budget, `compression.quantize.allocation` is exact for far more groups.

A group is a layer, or layers that share a decision; an option is its vector of costs (loss of accuracy, microseconds,
bytes), each a sum over groups. Partial sums that another one dominates can never become part of a best whole, so only
the front is carried from group to group (Nemhauser & Ullmann 1969, "Discrete dynamic programming and capital
allocation", Management Science 15:494). The result is exact as long as no more than `max_states` partial sums survive;
beyond that, sums in one box of an ever coarser grid count as alike, as in fully polynomial approximations.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from orchestrator.search.pareto import Costs, front_of

MAX_STATES = 2000


@dataclass(frozen=True)
class Allocation:
    """`picks`: the index of the option taken of each group; `costs`: their sums."""

    picks: tuple[int, ...]
    costs: Costs


def pareto_sums(groups: Sequence[Sequence[Costs]], *, max_states: int = MAX_STATES) -> list[Allocation]:
    """The allocations that no other dominates, one of each vector of sums, sorted by it.

    Args:
        groups: the options of each group; every option has as many costs as every other, none negative.

    Raises:
        ValueError: a group has no options, or a cost is negative or not a number.
    """
    width = _checked_width(groups)
    states = [Allocation((), (0,) * width)]
    for options in groups:
        grown = [
            Allocation((*state.picks, index), tuple(a + b for a, b in zip(state.costs, option, strict=True)))
            for state in states
            for index, option in enumerate(options)
        ]
        states = _thinned(_distinct_front(grown), max_states)
    return states


def _checked_width(groups: Sequence[Sequence[Costs]]) -> int:
    widths = {len(option) for options in groups for option in options}
    if not groups or not all(groups) or len(widths) != 1:
        raise ValueError("every group needs options, all with the same costs")
    if not all(cost >= 0 for options in groups for option in options for cost in option):
        raise ValueError("costs are sums of what is not negative")
    return widths.pop()


def _distinct_front(states: Iterable[Allocation]) -> list[Allocation]:
    first: dict[Costs, Allocation] = {}
    for state in states:
        first.setdefault(state.costs, state)
    return [first[costs] for costs in front_of(sorted(first), lambda costs: costs)]


def _thinned(states: list[Allocation], max_states: int) -> list[Allocation]:
    """At most `max_states`: of each box the first, which has the least first cost; the ends of each cost stay."""
    boxes = max_states
    kept = states
    while len(kept) > max_states:
        columns = list(zip(*(state.costs for state in states), strict=True))
        spans = [(min(column), (max(column) - min(column)) or 1.0) for column in columns]
        by_box: dict[tuple[int, ...], Allocation] = {}
        for state in states:
            box = tuple(int((c - low) / span * boxes) for c, (low, span) in zip(state.costs, spans, strict=True))
            by_box.setdefault(box, state)
        ends = {min(states, key=lambda state: (state.costs[axis], state.costs)) for axis in range(len(spans))}
        kept = sorted({*by_box.values(), *ends}, key=lambda state: state.costs)
        if boxes == 1:
            break
        boxes = max(boxes * 3 // 4, 1)
    return kept
