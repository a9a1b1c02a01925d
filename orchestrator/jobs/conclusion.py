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
from orchestrator.jobs.measure import MeasurableModel, Measured, Tell, measure_models
from orchestrator.jobs.orders import CHECKPOINT, DISTILL_AGAIN, FASTER_CANDIDATE, MODEL, RULES, DataFacts, NetworkRef
from orchestrator.jobs.provenance import Provenance
from orchestrator.jobs.publish import Ancestry, ChosenModel, publish
from orchestrator.jobs.ray_runner import RayRunner
from orchestrator.jobs.selection import baseline_p95_us, choose_for_repair, targets_of
from orchestrator.jobs.stage_runner import StageRunner
from orchestrator.jobs.stages import Blob, StageInputs, StageOutput
from orchestrator.policy.choice import Choice, choose, with_floors
from orchestrator.records import Candidate, Measurement, Refusal, Search
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
    provenance: Provenance

    def with_measurements(self, measurements: Sequence[Measurement], refusals: Sequence[Refusal] = ()) -> Made:
        candidate = replace(self.candidate, measurements=tuple(measurements), refusals=tuple(refusals))
        return replace(self, candidate=candidate)


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

    def conclude(
        self, made: Sequence[Made], refused: Sequence[Candidate] = (), search: Search | None = None
    ) -> JobOutcome:
        """`refused` could not be made, and come with their verdicts."""
        targets = self.targets()
        self.stages.tell("measure", 0.0, "measuring on devices")
        found = self._measure(made, targets, lambda share, words: self.stages.tell("measure", share, words))
        self.stages.done("measure")
        by_entry = [(entry, found[entry.candidate.model_digest]) for entry in made]
        measured = [entry.with_measurements(its.measurements, its.refusals) for entry, its in by_entry]
        choice = replace(self._choose(measured, targets, found), refused=tuple(refused))
        candidates = tuple(map(convert.candidate, [*choice.candidates, *choice.refused]))
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

    def measure_quietly(self, made: Sequence[Made]) -> dict[str, Measured]:
        """By digest, on every target's class, as for the choice; orders that were answered are not sent again."""
        return self._measure(made, self.targets(), lambda share, words: None)

    def _measure(self, made: Sequence[Made], targets: Sequence[TargetSpec], tell: Tell) -> dict[str, Measured]:
        """Each distinct model once, by digest; where a faster one is wanted, the running one beside them."""
        sizes = {entry.candidate.model_digest: entry.output.blobs[MODEL].size_bytes for entry in made}
        running = self.control_plane.find_blob(self._parent_model) if self._wants_faster else None
        if running is not None:
            sizes[running.digest] = running.size_bytes
        return measure_models(
            self.control_plane,
            [MeasurableModel(digest=digest, size_bytes=size_bytes) for digest, size_bytes in sizes.items()],
            [target.device_class for target in targets],
            self.spec.benchmark,
            job_id=self.job.id,
            time_here=self._time_here,
            tell=lambda share, words: tell(min(share, 0.999), words),
        )

    def _time_here(self, digest: str) -> Mapping[str, Any]:
        """A stage of this job alone, so that a search that is resumed sees the same times and takes the same way."""
        runs = {"warmup": self.spec.benchmark.warmup, "runs": self.spec.benchmark.runs}
        inputs = self.stages.inputs(
            "timing", data="", parameters={"job": self.job.id, **runs}, seeded=False, model=digest
        )
        output = self.stages.run(
            "timing", inputs, lambda: StageOutput(metrics=self.ray_runner.time_model(digest, **runs))
        )
        return output.metrics

    @property
    def _parent_model(self) -> str:
        return self.job.parent_model_sha256.hex()

    @property
    def _wants_faster(self) -> bool:
        return self.job.action == FASTER_CANDIDATE and bool(self._parent_model)

    def _choose(self, made: Sequence[Made], targets: Sequence[TargetSpec], measured: Mapping[str, Measured]) -> Choice:
        candidates = [entry.candidate for entry in made]
        if self.job.action == DISTILL_AGAIN:
            returned = {entry.candidate.name: float(entry.output.metrics["returned_accuracy"]) for entry in made}
            return choose_for_repair(candidates, targets, returned)
        if self._wants_faster:
            running = measured.get(self._parent_model, Measured())
            return choose(candidates, targets, faster_than_us=baseline_p95_us(running.measurements, targets))
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
                blobs=_parts(entry.output),
                provenance=entry.provenance,
                rules=entry.output.metrics.get(RULES),
                certificate=certificate,
                data=self.data,
                seed=self.spec.seed,
            )
            publish(self.control_plane, chosen, ancestry)
            logger.info("published %s as %s", entry.candidate.name, digest[:12])
        self.stages.done("certify", "publish")

    def _certificate(self, digest: str) -> Mapping[str, Any]:
        output = self.stages.run(
            "certify",
            certificate_inputs(digest, teacher=self.teacher.checkpoint, certify=self.data.certify_digest),
            lambda: StageOutput(
                metrics=self.ray_runner.certify_models([digest], self.teacher, self.splits, self.certify)[0]
            ),
        )
        return output.metrics


def certificate_inputs(model: str, *, teacher: str, certify: str) -> StageInputs:
    """Of the stage that reads the certify split: once for a model and a teacher, whichever job comes back to them.

    Unlike a stage that makes something it is not for every code and library anew: who asks again until the answer
    pleases has tuned on the split.
    """
    return StageInputs(
        name="certificate", code="", versions={}, data=certify, inputs={"model": model, "teacher": teacher}
    )


def _parts(output: StageOutput) -> tuple[Blob, ...]:
    """Tensors and golden vectors."""
    whole = (MODEL, CHECKPOINT)
    return tuple(dict.fromkeys(blob for name, blob in output.blobs.items() if name not in whole))
