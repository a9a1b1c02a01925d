"""A sampler that takes costs for sums of what each choice adds, and looks where the front would grow most.

What bits and channels cost adds up nearly enough over a network, which tables already rely on; so some tens of
measured trials say what every choice adds, far sooner than a density estimate (TPE) notices a good region. The sums
are fitted by ridge regression on how far each axis has gone (its choices stand in order, the gentlest first). What a
configuration would add to the front's hypervolume is judged by the costs it may well have: predicted ones less a share
of the error that leaving each trial out would have made, so that the unsure is looked at too. The idea of expected
hypervolume improvement is that of Emmerich, Giannakoglou & Naujoks 2006, IEEE TEC 10:421, taken at a bound as in
Srinivas et al. 2010, arXiv:0912.3995, not as an expectation.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from orchestrator.search.pareto import Costs, front_of, hypervolume, worst_of
from orchestrator.search.space import Configuration, Space
from orchestrator.search.study import Trial

Array = npt.NDArray[np.float64]

OPTIMISM = 1.0
"""How many standard errors the costs are taken to be below what is predicted."""
RIDGE = 0.3
"""Of standardised costs; keeps what no trial has told apart near its neighbours."""
CONSIDERED = 2000
"""Of the space, drawn anew for each proposal where it is larger."""
LEAST_TRIALS = 4


class AdditiveSampler:
    """For `study.Study`; deterministic for a seed and the trials told."""

    def __init__(self, space: Space, *, seed: int) -> None:
        self._space, self._random = space, random.Random(seed)
        self._told: dict[Configuration, Trial] = {}

    def learn(self, trial: Trial) -> None:
        self._told[trial.configuration] = trial

    def propose(self, pending: Sequence[Configuration]) -> Configuration:
        finished = [trial for trial in self._told.values() if not trial.is_stopped]
        taken = self._told.keys() | set(pending)
        candidates = [candidate for candidate in self._candidates() if candidate not in taken]
        if len(finished) < LEAST_TRIALS or not candidates:
            return self._space.random(self._random)
        features = self._features([trial.configuration for trial in finished])
        asked = self._features(candidates)
        excess = np.array([sum(trial.violations) for trial in finished])[:, None]
        exceeded = _Sums(features, excess).optimistic(asked)[:, 0] if excess.any() else np.zeros(len(candidates))
        allowed = np.flatnonzero(exceeded <= 0.0)
        if not len(allowed):
            return candidates[int(exceeded.argmin())]
        measured = np.array([trial.costs for trial in finished])
        spans = np.ptp(measured, axis=0)
        varying = spans > 0  # what is the same for all tells none apart, and leaves the front no volume
        if not varying.any():
            return self._space.random(self._random)
        scaled = measured[:, varying] / spans[varying]
        sums = _Sums(features, scaled)
        feasible = np.array([trial.is_feasible for trial in finished])
        known = [_point(row) for row in (scaled[feasible] if feasible.any() else scaled)]
        if pending:  # taken for what they may well come to, so that what is tried beside them lies elsewhere
            known += map(_point, sums.optimistic(self._features(pending)))
        gains = _gains(known, [_point(row) for row in sums.optimistic(asked[allowed])])
        return candidates[int(allowed[int(np.argmax(gains))])]

    def _candidates(self) -> list[Configuration]:
        if self._space.size <= CONSIDERED:
            return list(self._space.all())
        return [self._space.random(self._random) for _ in range(CONSIDERED)]

    def _features(self, configurations: Sequence[Configuration]) -> Array:
        """[configurations, 1 + steps]: a one, and for each axis a one for every step that was taken along it."""
        rows = []
        for configuration in configurations:
            steps = [
                float(step < index)
                for axis, index in zip(self._space.axes, configuration, strict=True)
                for step in range(len(axis.choices) - 1)
            ]
            rows.append([1.0, *steps])
        return np.array(rows)


class _Sums:
    """Ridge regression of `values` [trials, V], each standardised, on `features` [trials, F]."""

    def __init__(self, features: Array, values: Array) -> None:
        self._mean = values.mean(axis=0)
        self._deviation = np.where(values.std(axis=0) > 0, values.std(axis=0), 1.0)
        standard = (values - self._mean) / self._deviation
        penalty = RIDGE * np.eye(features.shape[1])
        penalty[0, 0] = 1e-6  # the mean is not shrunk
        self._inverse = np.linalg.inv(features.T @ features + penalty)
        self._weights = self._inverse @ features.T @ standard
        leverage = np.einsum("ij,jk,ik->i", features, self._inverse, features).clip(0.0, 0.95)
        left_out = (standard - features @ self._weights) / (1.0 - leverage)[:, None]
        self._error = np.sqrt((left_out**2).mean(axis=0))

    def optimistic(self, features: Array) -> Array:
        """[asked, V]: `OPTIMISM` standard errors below what is predicted."""
        spread = np.sqrt(1.0 + np.einsum("ij,jk,ik->i", features, self._inverse, features))[:, None]
        standard: Array = features @ self._weights - OPTIMISM * self._error * spread
        found: Array = standard * self._deviation + self._mean
        return found


def _point(row: Array) -> Costs:
    return tuple(float(value) for value in row)


def _gains(known: Sequence[Costs], asked: Sequence[Costs]) -> list[float]:
    """The hypervolume that each of `asked` would add to `known`, below the worst of these."""
    reference = worst_of(known)
    front = front_of(known, lambda point: point)
    gains = []
    for point in asked:
        own = math.prod(max(r - x, 0.0) for x, r in zip(point, reference, strict=True))
        shared = {tuple(map(max, zip(other, point, strict=True))) for other in front} if own else set()
        gains.append(own - hypervolume(shared, reference))
    return gains
