"""What a search has made, each as a stage: found again by its key, so that a search that was broken off goes on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from edge_agent.runtime.model import parse_model
from orchestrator.jobs.conclusion import Made
from orchestrator.jobs.control_plane import ControlPlane
from orchestrator.jobs.orders import CHECKPOINT, MADE_ON, MODEL, CandidateOrder, NetworkRef, PruneOrder
from orchestrator.jobs.ray_runner import RayRunner
from orchestrator.jobs.stage_runner import StageRunner
from orchestrator.jobs.stages import StageOutput
from orchestrator.search.latency import signatures
from orchestrator.spec import CandidateSpec, PruneSpec, QuantizeSpec, StudentSpec

MakeCandidate = Callable[[CandidateSpec, NetworkRef, Sequence[float]], Made]


@dataclass(frozen=True, kw_only=True)
class TrialMaker:
    """`make_candidate` is the pipeline's own way from a network to a candidate; `splits` and `returned` are references
    into Ray's object store."""

    stages: StageRunner
    ray_runner: RayRunner
    control_plane: ControlPlane
    data_digest: str
    splits: Any
    returned: Any
    teacher: NetworkRef
    student: NetworkRef
    learning: StudentSpec
    model_name: str
    seed: int
    make_candidate: MakeCandidate

    def teacher_accuracy(self) -> float:
        inputs = self.stages.inputs("baseline", data=self.data_digest, seeded=False, teacher=self.teacher.checkpoint)
        judge = lambda: self.ray_runner.judge_teacher(self.teacher, self.splits)  # noqa: E731
        return float(self.stages.run("search", inputs, judge).metrics["accuracy"])

    def divergence(self, quantize: QuantizeSpec) -> float:
        inputs = self.stages.inputs(
            "divergence",
            data=self.data_digest,
            parameters=asdict(quantize),
            seeded=False,
            student=self.student.checkpoint,
        )
        measure = lambda: self.ray_runner.measure_divergence(self.student, quantize, self.splits)  # noqa: E731
        return float(self.stages.run("search", inputs, measure).metrics["divergence"])

    def outline(self, spec: CandidateSpec) -> StageOutput:
        """The candidate as it would be untrained: all of it but its accuracy."""
        order = self._order(spec)
        inputs = order.inputs
        return self.stages.run("trial", inputs, lambda: self.ray_runner.outline_candidate(order, self.splits))

    def pruned_accuracy(self, spec: CandidateSpec) -> float:
        """What is left after pruning and training, before anything is quantized, on the choose split."""
        assert spec.prune is not None
        return float(self._pruned(spec.prune).metrics["accuracy"])

    def candidate(self, spec: CandidateSpec, hurdles: Sequence[float]) -> Made:
        """Made, and judged on the choose split."""
        if spec.prune is None:
            return self.make_candidate(spec, self.student, hurdles)
        output = self._pruned(spec.prune)
        network = NetworkRef(
            entrypoint=self.student.entrypoint,
            checkpoint=output.blobs[CHECKPOINT].digest,
            prune=spec.prune,
            made_on=output.metrics.get(MADE_ON),
        )
        made = self.make_candidate(replace(spec, prune=None), network, hurdles)
        return replace(made, candidate=replace(made.candidate, name=spec.name))

    def signatures(self, output: StageOutput) -> tuple[str, ...]:
        return signatures(parse_model(self.control_plane.get_blob(output.blobs[MODEL].digest)))

    def _pruned(self, spec: PruneSpec) -> StageOutput:
        """Pruned and trained back once, however many ways it is then quantized in."""
        order = PruneOrder(
            spec=spec, network=self.student, teacher=self.teacher, learning=self.learning, seed=self.seed
        )
        inputs = self.stages.inputs(
            "prune",
            data=self.data_digest,
            parameters={"prune": asdict(spec), "learning": asdict(self.learning)},
            student=self.student.checkpoint,
            teacher=self.teacher.checkpoint,
        )
        prune = lambda: self.ray_runner.prune_network(order, self.splits, self.returned)  # noqa: E731
        return self.stages.run("trial", inputs, prune)

    def _order(self, spec: CandidateSpec) -> CandidateOrder:
        inputs = self.stages.inputs(
            "outline", data=self.data_digest, parameters=self._parameters(spec), student=self.student.checkpoint
        )
        return CandidateOrder(
            spec=spec,
            inputs=inputs,
            network=self.student,
            fp32=self.student,
            teacher=self.teacher,
            learning=self.learning,
            model_name=self.model_name,
            seed=self.seed,
        )

    def _parameters(self, spec: CandidateSpec) -> dict[str, Any]:
        return {
            "prune": None if spec.prune is None else {**asdict(spec.prune), "epochs": 0},
            "quantize": asdict(spec.quantize),
            "model_name": self.model_name,
        }
