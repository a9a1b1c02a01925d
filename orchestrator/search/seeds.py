"""Where a search begins: the front that tables predict, found by dynamic programming, thinned to what can be tried.

Costs are sums over some axes (bits of each group of layers) only while others (scheme, channels) stay put. So a space
comes in parts, one for each choice of the others, and in each part the table's entries are added up.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from orchestrator.search.knapsack import pareto_sums
from orchestrator.search.pareto import Costs, front_of, spread, worst_of
from orchestrator.search.space import Configuration, Space


@dataclass(frozen=True, kw_only=True)
class Part:
    """A part of a space in which predicted costs are sums.

    Attributes:
        fixed: the choice (index) on each axis that is not summed over.
        base: costs of what no summed axis changes.
        options: by summed axis, the costs of each of its choices, none negative.
    """

    fixed: Mapping[str, int]
    base: Costs
    options: Mapping[str, Sequence[Costs]]

    def predict(self, space: Space, configuration: Configuration) -> Costs:
        """The sum of the table's entries for a configuration of this part."""
        entries = [
            self.options[axis.name][index]
            for axis, index in zip(space.axes, configuration, strict=True)
            if axis.name in self.options
        ]
        return tuple(map(sum, zip(self.base, *entries, strict=True)))

    def front(self, space: Space) -> list[Prediction]:
        if not self.options:
            return [Prediction(self._configuration(space, {}), self.base)]
        allocations = pareto_sums(list(self.options.values()))
        return [
            Prediction(
                self._configuration(space, dict(zip(self.options, allocation.picks, strict=True))),
                tuple(a + b for a, b in zip(self.base, allocation.costs, strict=True)),
            )
            for allocation in allocations
        ]

    def _configuration(self, space: Space, picks: Mapping[str, int]) -> Configuration:
        return tuple((self.fixed | picks)[axis.name] for axis in space.axes)  # type: ignore[operator]


@dataclass(frozen=True)
class Prediction:
    configuration: Configuration
    costs: Costs


def predicted_front(space: Space, parts: Iterable[Part]) -> list[Prediction]:
    """What no other configuration is predicted to dominate."""
    everywhere = [prediction for part in parts for prediction in part.front(space)]
    return front_of(everywhere, lambda prediction: prediction.costs)


def seeds(space: Space, parts: Iterable[Part], count: int) -> list[Configuration]:
    """At most `count` configurations that cover the predicted front, the most telling first."""
    front = predicted_front(space, parts)
    scaled = _scaled(front)
    chosen = spread(scaled, lambda entry: entry.costs, count, worst_of((entry.costs for entry in scaled), margin=0.1))
    return [entry.configuration for entry in chosen]


def _scaled(front: Sequence[Prediction]) -> list[Prediction]:
    """Each cost as its rank among the front's values: a long tail in one cost must not hide the rest."""
    columns = [sorted({prediction.costs[axis] for prediction in front}) for axis in range(len(front[0].costs))]
    places = [{value: index / len(column) for index, value in enumerate(column)} for column in columns]
    return [
        Prediction(prediction.configuration, tuple(place[c] for place, c in zip(places, prediction.costs, strict=True)))
        for prediction in front
    ]
