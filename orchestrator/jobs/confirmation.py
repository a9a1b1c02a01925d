"""Which trials of a search to measure on devices before anything is chosen, and what that says of the others. Pure.

Tables are a few percent off, and a model that a table puts just within a limit may turn out just beyond it. So what was
measured counts as measured, what was not is taken to be off by as much as that was, and the choice is made again.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import zip_longest

from orchestrator.jobs.measure import Measured
from orchestrator.jobs.trial_judge import TrialJudge
from orchestrator.policy.choice import choose
from orchestrator.records import Candidate, Measurement

NEAREST = 4  # points to measure for a target that none meets
MOST_FOR_TARGETS = 32  # points, however many targets there are: a job has 64 candidates at most


class Confirmation:
    """`candidates` carry predicted measurements and have distinct names."""

    def __init__(self, candidates: Iterable[Candidate], judge: TrialJudge) -> None:
        self._predicted = {candidate.name: candidate for candidate in candidates}
        self._judge = judge
        self._measured: dict[str, Measured] = {}

    def learn(self, name: str, measured: Measured) -> None:
        self._measured[name] = measured

    def for_targets(self) -> list[str]:
        """Names of the best for every target as far as is known, or of the nearest to it; the most wanted first."""
        factors = self._factors()
        pool = [self._as_known(candidate, factors) for candidate in self._predicted.values()]
        targets = self._judge.targets
        best = [
            [choice.chosen] if choice.chosen else self._judge.nearest(pool, target)[:NEAREST]
            for target, choice in zip(targets, choose(pool, targets).classes, strict=True)
        ]
        by_rank = (candidate.name for rank in zip_longest(*best) for candidate in rank if candidate is not None)
        return list(dict.fromkeys(by_rank))[:MOST_FOR_TARGETS]

    def _as_known(self, candidate: Candidate, factors: Mapping[str, float]) -> Candidate:
        known = self._measured.get(candidate.name)
        if known is not None:
            return replace(candidate, measurements=tuple(known.measurements), refusals=tuple(known.refusals))
        return replace(candidate, measurements=tuple(_scaled(m, factors) for m in candidate.measurements))

    def _factors(self) -> dict[str, float]:
        """By class, how many times its predicted p95 a model takes: the median of those measured."""
        ratios: dict[str, list[float]] = {}
        for name, measured in self._measured.items():
            predicted = {m.device_class: m.latency_p95_us for m in self._predicted[name].measurements}
            for found in measured.measurements:
                expected_us = predicted.get(found.device_class, 0.0)
                if expected_us > 0:
                    ratios.setdefault(found.device_class, []).append(found.latency_p95_us / expected_us)
        return {device_class: statistics.median(found) for device_class, found in ratios.items()}


def _scaled(measurement: Measurement, factors: Mapping[str, float]) -> Measurement:
    factor = factors.get(measurement.device_class, 1.0)
    return replace(measurement, latency_p95_us=measurement.latency_p95_us * factor)
