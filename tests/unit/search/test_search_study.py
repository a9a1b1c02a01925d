"""A search asks nothing twice, takes the same way again, ends when it is enough, and beats looking at random."""

from __future__ import annotations

import random
import statistics

import pytest
from compression_peers.samplers import RandomSampler, nsga2
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.search.additive import AdditiveSampler
from orchestrator.search.pareto import dominates, hypervolume, worst_of
from orchestrator.search.seeds import Part, predicted_front, seeds
from orchestrator.search.space import Axis, Configuration, Space
from orchestrator.search.study import Sampler, Study, Trial

BITS = (8, 6, 4, 3)
GROUPS = 4
SPACE = Space(tuple(Axis(f"group {index}", BITS) for index in range(GROUPS)))


class Network:
    """What compressing a network to some bits per group would come to: errors add up, disturb each other, and vary."""

    def __init__(self, seed: int) -> None:
        rng = random.Random(seed)
        self.loss = [(0.0, rng.uniform(0, 0.2), rng.uniform(0.2, 1), rng.uniform(1, 6)) for _ in range(GROUPS)]
        self.weights = [rng.choice((2, 5, 12, 20)) for _ in range(GROUPS)]
        self.time = [rng.uniform(1, 4) for _ in range(GROUPS)]
        self.chance = {configuration: rng.gauss(0, 0.15) for configuration in SPACE.all()}
        self.misread = [[rng.uniform(0.7, 1.4) for _ in BITS] for _ in range(GROUPS)]

    def costs(self, configuration: Configuration) -> tuple[float, float, float]:
        loss = sum(self.loss[group][index] for group, index in enumerate(configuration))
        size = sum(self.weights[group] * BITS[index] for group, index in enumerate(configuration))
        took = sum(self.time[group] * (0.5 + BITS[index] / 16) for group, index in enumerate(configuration))
        return (max(loss + 0.05 * loss**2 + self.chance[configuration], -0.2), float(size), took)

    def tables(self) -> Part:
        """As measured one group at a time, the loss not exactly."""
        options = {
            f"group {group}": [
                (
                    self.loss[group][index] * self.misread[group][index],
                    float(self.weights[group] * bits),
                    self.time[group] * (0.5 + bits / 16),
                )
                for index, bits in enumerate(BITS)
            ]
            for group in range(GROUPS)
        }
        return Part(fixed={}, base=(0.0, 0.0, 0.0), options=options)


def run(study: Study, network: Network, *, at_once: int = 1) -> Study:
    while not study.is_over:
        for configuration in study.ask(at_once):
            study.tell(Trial(configuration=configuration, costs=network.costs(configuration)))
    return study


def share_of_exhaustive(study: Study, network: Network) -> float:
    everything = [network.costs(configuration) for configuration in SPACE.all()]
    reference = worst_of(everything)
    return study.hypervolume(reference) / hypervolume(everything, reference)


def test_tables_and_sampler_find_the_exhaustive_front_in_a_quarter_of_the_trials_and_better_than_the_others() -> None:
    """The claim on synthetic networks; the benchmark makes it on real ones."""

    def shares(make: str) -> list[float]:
        found = []
        for seed in range(3):
            network = Network(seed)
            samplers: dict[str, Sampler] = {
                "ours": AdditiveSampler(SPACE, seed=seed),
                "random": RandomSampler(SPACE, seed=seed),
                "nsga2": nsga2(SPACE, objectives=3, seed=seed),
            }
            sampler = samplers[make]
            begin = seeds(SPACE, [network.tables()], 24) if make == "ours" else []
            found.append(share_of_exhaustive(run(Study(SPACE, sampler, trials=60, seeds=begin), network), network))
        return found

    ours = shares("ours")
    assert min(ours) > 0.99
    assert statistics.mean(ours) > max(statistics.mean(shares("random")), statistics.mean(shares("nsga2")))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 4), st.integers(1, 40))
def test_no_configuration_is_asked_twice_and_the_whole_space_is_the_most_that_can_be(
    seed: int, at_once: int, trials: int
) -> None:
    small = Space((Axis("a", (1, 2, 3)), Axis("b", ("x", "y")), Axis("c", (0,))))
    study = Study(small, AdditiveSampler(small, seed=seed), trials=trials, seed=seed)
    asked: list[Configuration] = []
    while not study.is_over:
        batch = study.ask(at_once)
        asked += batch
        for configuration in batch:
            study.tell(Trial(configuration=configuration, costs=(float(sum(configuration)),)))
    assert len(set(asked)) == len(asked) == min(trials, small.size)


def test_the_same_answers_lead_the_same_way_again() -> None:
    network = Network(5)
    ways = [
        [
            trial.configuration
            for trial in run(Study(SPACE, AdditiveSampler(SPACE, seed=2), trials=25), network, at_once=2).trials
        ]
        for _ in range(2)
    ]
    assert ways[0] == ways[1]


def test_the_front_holds_feasible_trials_only_and_none_that_another_dominates() -> None:
    study = Study(SPACE, RandomSampler(SPACE, seed=1), trials=40)
    network = Network(1)
    while not study.is_over:
        for configuration in study.ask():
            costs = network.costs(configuration)
            study.tell(Trial(configuration=configuration, costs=costs, violations=(max(0.0, costs[1] / 200 - 1),)))
    front = study.front()
    assert front
    assert all(trial.costs[1] <= 200 for trial in front)
    assert not any(dominates(a.costs, b.costs) for a in front for b in front)


def test_a_search_that_gains_nothing_any_more_ends_early() -> None:
    study = Study(SPACE, RandomSampler(SPACE, seed=0), trials=200, seeds=[(0, 0, 0, 0)], patience=6)
    while not study.is_over:
        for configuration in study.ask():
            best = configuration == (0, 0, 0, 0)
            study.tell(Trial(configuration=configuration, costs=(0.0, 0.0) if best else (1.0, 1.0)))
    assert len(study.trials) == 7


def test_a_cost_that_is_the_same_for_all_does_not_blind_the_sampler() -> None:
    network = Network(4)

    def share(*constant: float) -> float:
        study = Study(SPACE, AdditiveSampler(SPACE, seed=4), trials=40, seed=4)
        while not study.is_over:
            for configuration in study.ask():
                study.tell(Trial(configuration=configuration, costs=(*network.costs(configuration), *constant)))
        found = [trial.costs[:3] for trial in study.trials]
        reference = worst_of(network.costs(configuration) for configuration in SPACE.all())
        return hypervolume(found, reference)

    assert share(1.0) == share()


def test_constraints_reach_the_sampler() -> None:
    """Only one corner is allowed; who is told which trials are not feasible finds more of it than who is not."""

    def allowed(configuration: Configuration) -> bool:
        return all(index >= 2 for index in configuration)

    def found(constraints: int) -> int:
        total = 0
        for seed in range(3):
            study = Study(SPACE, AdditiveSampler(SPACE, seed=seed), trials=50, seed=seed)
            while not study.is_over:
                for configuration in study.ask():
                    violations = (0.0 if allowed(configuration) else 1.0,)[:constraints]
                    study.tell(Trial(configuration=configuration, costs=(1.0,), violations=violations))
            total += sum(allowed(trial.configuration) for trial in study.trials)
        return total

    assert found(1) > 1.5 * found(0)


def test_seeds_lie_on_the_predicted_front_and_the_first_of_many_parts_can_win() -> None:
    network = Network(3)
    part = network.tables()
    front = {prediction.configuration for prediction in predicted_front(SPACE, [part])}
    assert set(seeds(SPACE, [part], 12)) <= front
    fixed = Space((Axis("scheme", ("a", "b")),))
    parts = [
        Part(fixed={"scheme": 0}, base=(2.0, 2.0), options={}),
        Part(fixed={"scheme": 1}, base=(1.0, 1.0), options={}),
    ]
    assert seeds(fixed, parts, 5) == [(1,)]


@pytest.mark.parametrize("choices", [(), (1, 1)])
def test_an_axis_needs_distinct_choices(choices: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="distinct"):
        Axis("a", choices)
