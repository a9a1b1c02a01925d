"""A search over simulated devices and networks: it ends near the best and trains nothing that is hopeless."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import pytest

from orchestrator.compression.errors import CompressionError, QuantizationError
from orchestrator.compression.recipe import Recipe
from orchestrator.jobs.conclusion import Made
from orchestrator.jobs.confirmation import NEAREST
from orchestrator.jobs.errors import TrialStoppedError
from orchestrator.jobs.measure import Measured
from orchestrator.jobs.orders import CURVE
from orchestrator.jobs.provenance import ModelRecipe, Provenance
from orchestrator.jobs.search import Found, ModelSearch
from orchestrator.jobs.search_space import SearchSpace
from orchestrator.jobs.stages import StageOutput
from orchestrator.records import Candidate, Measurement
from orchestrator.spec import (
    CandidateSpec,
    PruneSpec,
    QuantizedTrainingSpec,
    QuantizeSpec,
    SearchSpec,
    SpaceSpec,
    TargetSpec,
)

SPACE = SpaceSpec(weight_bits=(8, 6, 4, 3, 2), mean_bits=(), macs_fractions=(1.0, 0.8, 0.6, 0.4, 0.2))


class SimulatedNetwork:
    """What making and timing models of one network would give; counts what it is asked for."""

    def __init__(self, *, slow: float = 1.0, tables_miss: float = 1.0) -> None:
        """`tables_miss`: how many times longer a model takes whose bits are not those of the anchors."""
        self.slow, self.tables_miss = slow, tables_miss
        self.trained: list[str] = []
        self.outlined: list[str] = []

    def accuracy(self, spec: CandidateSpec) -> float:
        penalty = 1.5 if spec.quantize.scheme == "power-of-two" else 1.0
        if spec.quantize.training is not None:
            penalty *= 0.2
        return self.pruned_accuracy(spec) - penalty * 0.002 * (8 - spec.quantize.weight_bits) ** 2

    def pruned_accuracy(self, spec: CandidateSpec) -> float:
        return 0.93 - 0.05 * (1 - _kept(spec)) ** 2 - 0.02 * _sparsity(spec)

    def divergence(self, quantize: QuantizeSpec) -> float:
        assert quantize.training is None  # a search does not train to find out where to begin
        if quantize.weight_bits == 2:
            raise QuantizationError("two bits cannot be had")
        return 0.01 * (8 - quantize.weight_bits) ** 2

    def outline(self, spec: CandidateSpec) -> StageOutput:
        self.outlined.append(spec.name)
        return StageOutput(metrics={"spec": spec, **self._sizes(spec)})

    def curve(self, spec: CandidateSpec) -> list[float]:
        """It gains 0.2 in the first half of its epochs and 0.1 in the second."""
        epochs = spec.quantize.training.epochs if spec.quantize.training else 0
        return [self.accuracy(spec) - 0.1 * (epochs - epoch) for epoch in range(1, epochs + 1)]

    def candidate(self, spec: CandidateSpec, hurdles: Sequence[float]) -> Made:
        if spec.quantize.weight_bits == 2 and spec.quantize.training is None:
            raise QuantizationError("two bits cannot be had")
        self.trained.append(spec.name)
        curve = self.curve(spec)
        for epoch, (accuracy, hurdle) in enumerate(zip(curve, hurdles, strict=False), start=1):
            if accuracy < hurdle:
                raise TrialStoppedError(f"after epoch {epoch}")
        candidate = Candidate(
            name=spec.name,
            model_digest=hashlib.sha256(spec.name.encode()).hexdigest(),
            accuracy=self.accuracy(spec),
            **self._sizes(spec),
        )
        metrics = {"spec": spec, **({CURVE: curve} if curve else {})}
        provenance = Provenance(recipe=ModelRecipe(quantize=Recipe()))
        return Made(candidate=candidate, output=StageOutput(metrics=metrics), provenance=provenance)

    def signatures(self, output: StageOutput) -> tuple[str, ...]:
        spec: CandidateSpec = output.metrics["spec"]
        blocks = f"/4~{1 - _sparsity(spec):.2f}" if _sparsity(spec) else ""
        return ("input 8x8x1", f"Conv2D 8x8x{_kept(spec)} weight 9{blocks}@{spec.quantize.weight_bits} multiply")

    def measure(self, made: Sequence[Made]) -> dict[str, Measured]:
        """One class of devices; time goes with channels and blocks."""
        measured = {}
        for entry in made:
            spec: CandidateSpec = entry.output.metrics["spec"]
            took_us = 1000.0 * self.slow * _kept(spec) * (1 - _sparsity(spec))
            if spec.quantize.weight_bits != 8:
                took_us *= self.tables_miss
            measurement = Measurement(
                device_class="camera",
                engine_path="avx2",
                latency_p50_us=took_us + 5,
                latency_p95_us=1.1 * (took_us + 5),
                runs=50,
                peak_ram_bytes=entry.candidate.peak_ram_bytes,
                operator_p50_us=(2.0, took_us),
            )
            measured[entry.candidate.model_digest] = Measured([measurement])
        return measured

    def _sizes(self, spec: CandidateSpec) -> dict[str, int]:
        size = 8000 * _kept(spec) * (1 - _sparsity(spec)) * spec.quantize.weight_bits
        return {"model_bytes": int(size), "peak_ram_bytes": 20_000}


def _kept(spec: CandidateSpec) -> float:
    return (spec.prune.macs_fraction if spec.prune else None) or 1.0


def _sparsity(spec: CandidateSpec) -> float:
    return (spec.prune.block_sparsity if spec.prune else None) or 0.0


def search(network: SimulatedNetwork, *targets: TargetSpec, **spec: object) -> Found:
    told: list[tuple[float, str]] = []
    found = ModelSearch(
        SearchSpec(**{"trials": 24, "patience": 0, "space": SPACE, **spec}),  # type: ignore[arg-type]
        targets,
        network,
        measure=network.measure,
        tell=lambda share, words: told.append((share, words)),
        parallel_tasks=2,
        seed=3,
    ).run()
    assert [share for share, _ in told] == sorted(share for share, _ in told)  # progress only grows
    return found


def best_possible(network: SimulatedNetwork, target: TargetSpec) -> float:
    space = SearchSpace(SPACE)
    specs = [space.candidate(configuration) for configuration in space.space.all()]
    sizes = [(spec, network._sizes(spec)["model_bytes"]) for spec in specs if spec.quantize.weight_bits > 2]
    return max(network.accuracy(spec) for spec, size in sizes if size <= (target.model_bytes or 1 << 60))


def test_the_best_model_within_the_limits_is_among_those_that_are_confirmed() -> None:
    network = SimulatedNetwork()
    target = TargetSpec(device_class="camera", model_bytes=20_000)
    found = search(network, target)
    within = [made.candidate for made in found.made if made.candidate.model_bytes <= 20_000]
    assert max(candidate.accuracy for candidate in within) >= best_possible(network, target) - 0.002
    assert len(found.search.trials) == 24
    assert found.search.ended == "24 trials were made"
    assert all(made.candidate.measurements == () for made in found.made)  # predictions are not passed on as measured


def test_what_no_target_can_take_is_given_up_before_it_is_trained_and_says_why() -> None:
    network = SimulatedNetwork()
    found = search(network, TargetSpec(device_class="camera", latency_p95_ms=0.5), trials=40)
    stopped = {trial.name: trial.stopped for trial in found.search.trials if trial.stopped}
    too_slow = [name for name, words in stopped.items() if "p95" in words]
    assert too_slow
    assert all("m0.8" in name or "m0.6" in name for name in too_slow)
    assert not set(too_slow) & set(network.trained)
    assert set(network.trained) & set(network.outlined)


def test_a_way_that_cannot_be_had_is_a_trial_that_says_so_and_the_search_goes_on() -> None:
    found = search(SimulatedNetwork(), TargetSpec(device_class="camera"), trials=50)
    refused = [trial for trial in found.search.trials if "two bits" in trial.stopped]
    assert len(refused) == 10
    assert found.search.ended == "the whole space of 50 was tried"


def test_the_same_seed_walks_the_same_way_however_many_tasks_run_beside_each_other() -> None:
    target = TargetSpec(device_class="camera", accuracy_floor=0.85)
    first, second = (search(SimulatedNetwork(), target) for _ in range(2))
    assert first == second


def test_where_no_trial_meets_a_target_the_nearest_are_passed_on() -> None:
    found = search(SimulatedNetwork(), TargetSpec(device_class="camera", accuracy_floor=0.99, model_bytes=70_000))
    assert not any(trial.on_front for trial in found.search.trials)
    assert "int-w8" in [made.candidate.name for made in found.made]
    assert len(found.made) == 4


def test_a_target_that_no_trial_meets_has_its_own_nearest_passed_on_beside_what_another_target_gets() -> None:
    met = TargetSpec(device_class="gateway", accuracy_floor=0.9)
    missed = TargetSpec(device_class="camera", model_bytes=4_000)
    found = search(SimulatedNetwork(), met, missed, trials=50, confirm=1)
    smallest = sorted(trial.model_bytes for trial in found.search.trials if not trial.stopped)[:NEAREST]
    assert smallest[0] > 4_000
    passed_on = [made.candidate for made in found.made]
    assert sorted(candidate.model_bytes for candidate in passed_on)[:NEAREST] == smallest
    assert max(candidate.accuracy for candidate in passed_on) >= 0.9
    assert len(passed_on) == NEAREST + 1


def test_mixed_bits_are_choices_beside_the_same_bits_for_all_from_the_gentlest_on() -> None:
    space = SearchSpace(
        SpaceSpec(schemes=("integer",), weight_bits=(8, 4), mean_bits=(4.0, 5.0), macs_fractions=(1.0,))
    )
    specs = [space.candidate(configuration) for configuration in space.space.all()]
    assert [spec.name for spec in specs] == ["int-w8", "int-mean5", "int-w4", "int-mean4"]
    assert [(spec.quantize.weight_bits, spec.quantize.mean_bits) for spec in specs] == [
        (8, None),
        (8, 5.0),
        (4, None),
        (8, 4.0),
    ]


def test_bits_with_training_and_blocks_are_choices_too_and_named_in_short() -> None:
    space = SearchSpace(
        SpaceSpec(
            schemes=("integer",),
            weight_bits=(8,),
            mean_bits=(),
            trained_bits=(2,),
            training=QuantizedTrainingSpec(epochs=3),
            macs_fractions=(1.0, 0.5),
            block_sparsities=(0.0, 0.6),
        )
    )
    specs = {(spec := space.candidate(configuration)).name: spec for configuration in space.space.all()}
    assert list(specs)[:4] == ["int-w8", "int-w8-b0.6", "int-w8-m0.5", "int-w8-m0.5-b0.6"]
    everything = specs["int-w2t-m0.5-b0.6"]
    assert everything.quantize == QuantizeSpec(weight_bits=2, training=QuantizedTrainingSpec(epochs=3))
    assert everything.prune == PruneSpec(macs_fraction=0.5, block_sparsity=0.6)
    assert specs["int-w8-b0.6"].prune == PruneSpec(block_sparsity=0.6)
    assert [space.candidate(anchor).name for anchor in space.anchors()] == list(specs)[:4]


def test_a_search_finds_what_only_training_and_blocks_can_give() -> None:
    space = replace(SPACE, trained_bits=(2,), block_sparsities=(0.0, 0.5))
    found = search(SimulatedNetwork(), TargetSpec(device_class="camera", model_bytes=4_000), space=space, trials=40)
    smallest = min((made.candidate for made in found.made), key=lambda candidate: candidate.model_bytes)
    assert smallest.name.startswith("int-w2t")
    assert smallest.name.endswith("b0.5")
    assert smallest.model_bytes <= 4_000


def test_what_pruning_left_too_little_of_is_not_quantized() -> None:
    class Brittle(SimulatedNetwork):
        def pruned_accuracy(self, spec: CandidateSpec) -> float:
            return 0.93 if spec.prune is None else 0.1

    network = Brittle()
    found = search(network, TargetSpec(device_class="camera", accuracy_floor=0.9), trials=50)
    stopped = {trial.name for trial in found.search.trials if "accuracy 0.1000 is" in trial.stopped}
    assert stopped
    assert all("-m" in name for name in stopped)
    assert not stopped & set(network.trained)


def test_a_training_that_cannot_end_on_the_front_any_more_is_given_up_in_its_middle() -> None:
    class CoarseScales(SimulatedNetwork):
        """Power-of-two scales cost nothing less and a lot of accuracy, which nobody knows before training."""

        def accuracy(self, spec: CandidateSpec) -> float:
            lost = 0.3 if spec.quantize.scheme == "power-of-two" and spec.quantize.training else 0.0
            return super().accuracy(spec) - lost

    space = replace(SPACE, weight_bits=(8,), trained_bits=(4, 2), training=QuantizedTrainingSpec(epochs=3))
    network = CoarseScales()
    found = search(network, TargetSpec(device_class="camera"), space=space, trials=30)
    stopped = {trial.name: trial.stopped for trial in found.search.trials if trial.stopped}
    assert stopped
    assert set(stopped.values()) == {"after epoch 1"}
    assert all(name.startswith("pow2") and "t" in name for name in stopped)
    assert not any(trial.on_front for trial in found.search.trials if trial.name.startswith("pow2-w2t"))


def test_where_tables_were_wrong_another_model_is_measured_that_meets_the_limit() -> None:
    network = SimulatedNetwork(tables_miss=1.3)
    target = TargetSpec(device_class="camera", latency_p95_ms=0.8, model_bytes=30_000)
    found = search(network, target, trials=50, confirm=1)
    assert [made.candidate.name for made in found.made] == ["int-w6-m0.6", "int-w8-m0.4"]
    first, second = (found_of.measurements[0].latency_p95_us for found_of in network.measure(found.made).values())
    assert first > 800 >= second


def test_a_budget_that_is_used_up_ends_the_search_with_what_there_is() -> None:
    found = search(SimulatedNetwork(), TargetSpec(device_class="camera"), budget=1e-9)
    assert found.search.ended == "the budget of 1e-09 s was used up"
    assert "int-w8" in [made.candidate.name for made in found.made]


def test_a_search_without_a_single_anchor_says_what_is_in_the_way() -> None:
    with pytest.raises(CompressionError, match="two bits cannot be had"):
        search(SimulatedNetwork(), TargetSpec(device_class="camera"), space=SpaceSpec(weight_bits=(2,), mean_bits=()))
