"""Samplers that the search's own is compared with: Optuna's, driven by ask and tell, and a plain random one."""

from __future__ import annotations

import random
import warnings
from collections.abc import Sequence
from typing import Any

from orchestrator.search.space import Configuration, Space
from orchestrator.search.study import Sampler, Trial


class RandomSampler:
    """Every configuration is as likely as every other."""

    def __init__(self, space: Space, *, seed: int) -> None:
        self._space, self._random = space, random.Random(seed)

    def propose(self, pending: Sequence[Configuration]) -> Configuration:
        return self._space.random(self._random)

    def learn(self, trial: Trial) -> None:
        pass


def tpe(space: Space, *, objectives: int, seed: int) -> Sampler:
    """Multi-objective tree-structured Parzen estimator (Ozaki et al. 2022, JAIR 73), axes considered together."""
    import optuna

    sampler = _quietly(optuna.samplers.TPESampler, seed=seed, multivariate=True, constant_liar=True, n_startup_trials=8)
    return OptunaSampler(space, sampler, objectives=objectives)


def nsga2(space: Space, *, objectives: int, seed: int, population: int = 16) -> Sampler:
    """NSGA-II (Deb et al. 2002), for comparison."""
    import optuna

    sampler = _quietly(optuna.samplers.NSGAIISampler, seed=seed, population_size=population)
    return OptunaSampler(space, sampler, objectives=objectives)


class OptunaSampler:
    """An Optuna study whose parameters are the indices of the choices."""

    def __init__(self, space: Space, sampler: Any, *, objectives: int) -> None:
        import optuna

        self._optuna: Any = optuna
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._study = optuna.create_study(directions=["minimize"] * objectives, sampler=sampler)
        self._distributions: dict[str, Any] = {
            axis.name: optuna.distributions.IntDistribution(0, len(axis.choices) - 1) for axis in space.axes
        }
        self._names = [axis.name for axis in space.axes]
        self._open: dict[Configuration, Any] = {}
        self._known: dict[Configuration, Trial] = {}

    def propose(self, pending: Sequence[Configuration]) -> Configuration:
        trial = self._study.ask(self._distributions)
        configuration = tuple(int(trial.params[name]) for name in self._names)
        if configuration in self._known:  # it asks again: it gets the same answer again
            self._tell(trial, self._known[configuration])
        elif configuration in self._open:
            self._study.tell(trial, state=self._optuna.trial.TrialState.FAIL)
        else:
            self._open[configuration] = trial
        return configuration

    def learn(self, trial: Trial) -> None:
        self._known[trial.configuration] = trial
        opened = self._open.pop(trial.configuration, None)
        if opened is None:  # a seed, or a neighbour of what was proposed
            self._study.enqueue_trial(dict(zip(self._names, trial.configuration, strict=True)))
            opened = self._study.ask(self._distributions)
        self._tell(opened, trial)

    def _tell(self, opened: Any, trial: Trial) -> None:
        if trial.is_stopped:
            self._study.tell(opened, state=self._optuna.trial.TrialState.FAIL)
            return
        self._study.tell(opened, list(trial.costs))


def _quietly(make: Any, **arguments: Any) -> Any:
    """Optuna warns that these options are experimental; they are chosen knowing that, and tests hold what they do."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return make(**arguments)
