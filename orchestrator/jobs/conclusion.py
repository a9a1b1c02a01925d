"""How a job ends: candidates are measured, one is chosen for each target, certified and published.

By whom a candidate was made, and how, does not matter any more here.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from orchestrator import convert
from orchestrator.jobs.control_plane import ControlPlane
from orchestrator.jobs.measure import MeasurableModel, Tell, measure_models
from orchestrator.jobs.orders import DISTILL_AGAIN, FASTER_CANDIDATE, MODEL, DataFacts, NetworkRef
from orchestrator.jobs.publish import MADE_ON, RULES, Ancestry, ChosenModel, publish, recipe_json
from orchestrator.jobs.ray_runner import RayRunner
from orchestrator.jobs.selection import baseline_p95_us, choose_for_repair, targets_of
from orchestrator.jobs.stage_runner import StageRunner
from orchestrator.jobs.stages import StageOutput
from orchestrator.policy.choice import Choice, choose, with_floors
from orchestrator.records import Candidate, Measurement, Search
from orchestrator.spec import CompressionJobSpec, TargetSpec
from protos import operator_pb2

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class JobOutcome:
    state: operator_pb2.JobState
    message: str
    candidates: tuple[operator_pb2.Candidate, ...]
    chosen: tuple[operator_pb2.ClassModel, ...]


@dataclass(frozen=True, kw_only=True)
class Made:
    """A candidate with the stage's output that it is."""

    candidate: Candidate
    output: StageOutput

    def with_measurements(self, measurements: Sequence[Measurement]) -> Made:
        return replace(self, candidate=replace(self.candidate, measurements=tuple(measurements)))


@dataclass(frozen=True, kw_only=True)
class Conclusion:
    job: operator_pb2.DriverJob
    spec: CompressionJobSpec
    control_plane: ControlPlane
    stages: StageRunner
    ray_runner: RayRunner
    teacher: NetworkRef
    student: NetworkRef
    teacher_accuracy: float | None  # on the choose split; None where nothing asks for it
    splits: Any  # references into Ray's object store
    certify: Any
    data: DataFacts

    def conclude(self, made: Sequence[Made], search: Search | None = None) -> JobOutcome:
        targets = self.targets()
        self.stages.tell("measure", 0.0, "measuring on devices")
        measurements = self._measure(made, targets, lambda share, words: self.stages.tell("measure", share, words))
        self.stages.done("measure")
        measured = [entry.with_measurements(measurements[entry.candidate.model_digest]) for entry in made]
        choice = self._choose(measured, targets, measurements)
        candidates = tuple(map(convert.candidate, choice.candidates))
        self.control_plane.report(
            stage="choose",
            progress=0.0,
            message=choice.words,
            candidates=candidates,
            teacher_accuracy=self.teacher_accuracy or 0.0,
            search=None if search is None else convert.search(search),
        )
        if not choice.is_feasible:
            return JobOutcome(state=operator_pb2.JOB_INFEASIBLE, message=choice.words, candidates=candidates, chosen=())
        self._publish(choice, measured)
        return JobOutcome(
            state=operator_pb2.JOB_SUCCEEDED,
            message=choice.words,
            candidates=candidates,
            chosen=tuple(convert.class_models(choice.chosen)),
        )

    def targets(self) -> tuple[TargetSpec, ...]:
        """With floors in place of drops. Where one class is too slow it gets another model, the others keep theirs."""
        targets = with_floors(self.spec.targets, self.teacher_accuracy)
        if self.job.action != FASTER_CANDIDATE:
            return targets
        return targets_of(targets, self.control_plane.get_requesting_class())

    def measure_quietly(self, made: Sequence[Made]) -> dict[str, list[Measurement]]:
        """By digest, on every target's class, as for the choice; orders that were answered are not sent again."""
        return self._measure(made, self.targets(), lambda share, words: None)

    def _measure(self, made: Sequence[Made], targets: Sequence[TargetSpec], tell: Tell) -> dict[str, list[Measurement]]:
        """Each distinct model once, by digest; where a faster one is wanted, the running one beside them."""
        sizes = {entry.candidate.model_digest: entry.output.blobs[MODEL].size_bytes for entry in made}
        running = self.control_plane.find_blob(self._parent_model) if self._wants_faster else None
        if running is not None:
            sizes[running.digest] = running.size_bytes
        benchmark = self.spec.benchmark
        return measure_models(
            self.control_plane,
            [MeasurableModel(digest=digest, size_bytes=size_bytes) for digest, size_bytes in sizes.items()],
            [target.device_class for target in targets],
            benchmark,
            job_id=self.job.id,
            time_here=lambda digest: self.ray_runner.time_model(digest, warmup=benchmark.warmup, runs=benchmark.runs),
            tell=lambda share, words: tell(min(share, 0.999), words),
        )

    @property
    def _parent_model(self) -> str:
        return self.job.parent_model_sha256.hex()

    @property
    def _wants_faster(self) -> bool:
        return self.job.action == FASTER_CANDIDATE and bool(self._parent_model)

    def _choose(
        self, made: Sequence[Made], targets: Sequence[TargetSpec], measurements: Mapping[str, list[Measurement]]
    ) -> Choice:
        candidates = [entry.candidate for entry in made]
        if self.job.action == DISTILL_AGAIN:
            returned = {entry.candidate.name: float(entry.output.metrics["returned_accuracy"]) for entry in made}
            return choose_for_repair(candidates, targets, returned)
        if self._wants_faster:
            running = measurements.get(self._parent_model, [])
            return choose(candidates, targets, faster_than_us=baseline_p95_us(running, targets))
        return choose(candidates, targets)

    def _publish(self, choice: Choice, made: Sequence[Made]) -> None:
        by_digest = {entry.candidate.model_digest: entry for entry in made}
        digests = list(dict.fromkeys(chosen.model_digest for chosen in choice.chosen))
        ancestry = Ancestry(
            job_id=self.job.id,
            teacher=self.teacher.checkpoint,
            student=self.student.checkpoint,
            parent_model=self._parent_model,
        )
        for index, digest in enumerate(digests):
            entry = by_digest[digest]
            self.stages.tell("certify", index / len(digests), f"certifying {entry.candidate.name}")
            certificate = self._certificate(digest)
            self.stages.tell("publish", index / len(digests), f"publishing {entry.candidate.name}")
            chosen = ChosenModel(
                candidate=entry.candidate,
                model=entry.output.blobs[MODEL],
                blobs=tuple(dict.fromkeys(blob for name, blob in entry.output.blobs.items() if name != MODEL)),
                recipe_json=recipe_json(entry.output.metrics),
                made_on=entry.output.metrics.get(MADE_ON, {}),  # a stage of an earlier release did not tell
                rules=entry.output.metrics.get(RULES),
                certificate=certificate,
                data=self.data,
                seed=self.spec.seed,
            )
            publish(self.control_plane, chosen, ancestry)
            logger.info("published %s as %s", entry.candidate.name, digest[:12])
        self.stages.done("certify", "publish")

    def _certificate(self, digest: str) -> Mapping[str, Any]:
        """A stage, so that the certify split is read once for a model however often its job is resumed."""
        inputs = self.stages.inputs(
            "certificate", data=self.data.certify_digest, seeded=False, model=digest, teacher=self.teacher.checkpoint
        )
        output = self.stages.run(
            "certify",
            inputs,
            lambda: StageOutput(
                metrics=self.ray_runner.certify_models([digest], self.teacher, self.splits, self.certify)[0]
            ),
        )
        return output.metrics
