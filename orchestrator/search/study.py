"""The books of one search: what to try next, what was tried, what is on the front, and when it is enough.

Ask and tell, pure but for the sampler's seeded randomness: the same seed and the same answers in the same order give
the same questions, so that a search that was broken off takes the same way again and finds its trials done.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from orchestrator.search.pareto import Costs, front_of, hypervolume, worst_of
from orchestrator.search.space import Configuration, Space

MEANINGFUL_GAIN = 1e-3
"""Of the hypervolume: a front that grew by less has not grown."""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One configuration with what it came to.

    Attributes:
        costs: the objectives, smaller is better; empty where it was stopped before they were known.
        violations: for each constraint the share by which it is exceeded; 0 where it is met.
        words: why it was stopped, if it was.
    """

    configuration: Configuration
    costs: Costs = ()
    violations: tuple[float, ...] = ()
    words: str = ""

    @property
    def is_stopped(self) -> bool:
        return not self.costs

    @property
    def is_feasible(self) -> bool:
        return bool(self.costs) and not any(self.violations)


class Sampler(Protocol):
    """Says where to look once the seeds are used up."""

    def propose(self, pending: Sequence[Configuration]) -> Configuration:
        """A configuration; `pending` are being tried just now. It may be one that was tried."""
        ...

    def learn(self, trial: Trial) -> None: ...


class Study:
    """At most `trials` distinct configurations, seeds first."""

    def __init__(
        self,
        space: Space,
        sampler: Sampler,
        *,
        trials: int,
        seeds: Iterable[Configuration] = (),
        patience: int = 0,
        seed: int = 0,
    ) -> None:
        """`patience`: trials in a row without gain after which it is enough; 0 for never."""
        self.space = space
        self.trials: list[Trial] = []
        self._sampler = sampler
        self._seeds = list(dict.fromkeys(seeds))[:trials]
        self._trials_wanted = min(trials, space.size)
        self._patience = patience
        self._asked: dict[Configuration, None] = {}
        self._random = random.Random(seed)

    @property
    def is_over(self) -> bool:
        return len(self._asked) >= self._trials_wanted or self.is_stalled

    @property
    def is_stalled(self) -> bool:
        """The last `patience` trials after the seeds brought nothing."""
        since = len(self.trials) - self._patience
        if not self._patience or since < len(self._seeds):
            return False
        now, before = self._best(self.trials), self._best(self.trials[:since])
        if not now:
            return False  # not one feasible yet: there is something to look for
        reference = worst_of([trial.costs for trial in self._best(self.trials)], margin=0.1)
        gained, volume = (hypervolume([trial.costs for trial in group], reference) for group in (before, now))
        return volume - gained <= MEANINGFUL_GAIN * volume

    def ask(self, count: int = 1) -> list[Configuration]:
        """Up to `count` configurations to try beside each other, none of them asked before."""
        asked: list[Configuration] = []
        while len(asked) < count and not self.is_over:
            configuration = self._next()
            self._asked[configuration] = None
            asked.append(configuration)
        return asked

    def tell(self, trial: Trial) -> None:
        self.trials.append(trial)
        self._sampler.learn(trial)

    def front(self) -> list[Trial]:
        """Feasible trials that no other one dominates."""
        return self._best(self.trials)

    def hypervolume(self, reference: Costs) -> float:
        return hypervolume([trial.costs for trial in self.front()], reference)

    @staticmethod
    def _best(trials: Iterable[Trial]) -> list[Trial]:
        return front_of((trial for trial in trials if trial.is_feasible), lambda trial: trial.costs)

    def _next(self) -> Configuration:
        for configuration in self._seeds:
            if configuration not in self._asked:
                return configuration
        told = {trial.configuration for trial in self.trials}
        pending = [configuration for configuration in self._asked if configuration not in told]
        proposed = self._sampler.propose(pending)
        if proposed not in self._asked:
            return proposed
        return next(near for near in self._near(proposed) if near not in self._asked)

    def _near(self, configuration: Configuration) -> Iterator[Configuration]:
        """Ever more distant neighbours, one axis changed, then two; each shell in random order, at last everything."""
        seen = {configuration}
        shell = [configuration]
        while shell:
            grown = []
            for start in shell:
                for axis, options in enumerate(self.space.axes):
                    for index in range(len(options.choices)):
                        moved = (*start[:axis], index, *start[axis + 1 :])
                        if moved not in seen:
                            seen.add(moved)
                            grown.append(moved)
            self._random.shuffle(grown)
            yield from grown
            shell = grown
