"""Shares a budget among layers: one option for each, least cost in all, exactly.

    minimise   sum_l cost[l][option_l]   subject to   sum_l size[l][option_l] <= budget

Dynamic programming over layers. A state is what a choice for the layers so far takes and costs; of two states the one
that takes no less and costs no less can never be part of a better answer and is dropped, so what is kept is the Pareto
front of partial choices. Sizes and costs are anything that adds: bits, bytes or nanoseconds; divergence or error.

Pure: what the options are is measured elsewhere (`sensitivity`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.compression.errors import BudgetError

_MAX_STATES = 1 << 14
"""Of a front; beyond it only the best of each of that many equal steps of size is kept, and the answer, still within
the budget, is the best to about one part in that many."""


@dataclass(frozen=True)
class Option:
    """One way to make a layer; `size` is at least 0, in whole units of the budget."""

    bits: int
    size: int
    cost: float


@dataclass(frozen=True)
class Allocation:
    """The option of every layer, in order."""

    options: tuple[Option, ...]

    @property
    def size(self) -> int:
        return sum(option.size for option in self.options)

    @property
    def cost(self) -> float:
        return math.fsum(option.cost for option in self.options)


@dataclass(frozen=True)
class _State:
    size: int
    cost: float
    option: Option | None = None
    before: _State | None = None


def allocate(layers: Sequence[Sequence[Option]], budget: int) -> Allocation:
    """The cheapest allocation of at most `budget`; of equally cheap ones the smallest.

    Raises:
        BudgetError: even the smallest options take more; it says how much they take.
    """
    least = [min(option.size for option in options) for options in layers]
    if sum(least) > budget:
        what = f"the budget of {budget} is below {sum(least)}, the least that is possible"
        raise BudgetError(what, least=sum(least))
    to_come = sum(least)
    front = [_State(0, 0.0)]
    for options, smallest in zip(layers, least, strict=True):
        to_come -= smallest
        grown = [
            _State(state.size + option.size, state.cost + option.cost, option, state)
            for state in front
            for option in options
            if state.size + option.size + to_come <= budget
        ]
        front = _thinned(_pareto(grown), budget)
    return Allocation(_path(front[-1]))


def _pareto(states: list[_State]) -> list[_State]:
    """By rising size, each cheaper than all that take less."""
    front: list[_State] = []
    for state in sorted(states, key=lambda state: (state.size, state.cost)):
        if not front or state.cost < front[-1].cost:
            front.append(state)
    return front


def _thinned(front: list[_State], budget: int) -> list[_State]:
    """The smallest state stays whatever happens: from it an answer can always be reached."""
    if len(front) <= _MAX_STATES:
        return front
    step = max(budget / _MAX_STATES, 1.0)
    cheapest = {int(state.size / step): state for state in front}
    return [front[0], *(state for state in cheapest.values() if state is not front[0])]


def _path(state: _State) -> tuple[Option, ...]:
    options: list[Option] = []
    while state.before is not None and state.option is not None:
        options.append(state.option)
        state = state.before
    return tuple(reversed(options))
