"""The stages of one job, in order: data, teacher, student, candidates, measurements, choice, certificate, publication.

Every stage that computes is run through `run_stage`, so this reads the same for a new job, one that resumes, and a
repair: what is there already is taken from the control plane. Where a stage is computed is `ray_runner`'s business.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from orchestrator.jobs.code_version import job_code_digest, library_versions
from orchestrator.jobs.control_plane import ControlPlane
from orchestrator.jobs.errors import JobFailedError
from orchestrator.jobs.figures import candidate_message, class_model_message
from orchestrator.jobs.measure import MeasurableModel, measure_models
from orchestrator.jobs.orders import CandidateOrder, DataFacts, NetworkRef, StudentOrder
from orchestrator.jobs.progress import ProgressPlan, StageProgress
from orchestrator.jobs.publish import Ancestry, ChosenModel, publish
from orchestrator.jobs.ray_runner import RayRunner
from orchestrator.jobs.selection import baseline_p95_us, choose_for_repair, targets_of, with_narrower
from orchestrator.jobs.stages import Blob, StageInputs, StageOutput, run_stage
from orchestrator.policy.choice import Choice, choose
from orchestrator.records import Candidate, Measurement
from orchestrator.spec import CandidateSpec, CompressionJobSpec, StudentSpec, TargetSpec
from protos import operator_pb2

logger = logging.getLogger(__name__)

MODEL = "model"
# What a decision can ask for; `controllers.repair_jobs` writes the job, epochs of the repair included.
DISTILL_AGAIN = "distill_again"
FASTER_CANDIDATE = "faster_candidate"


@dataclass(frozen=True, kw_only=True)
class JobOutcome:
    state: operator_pb2.JobState
    message: str
    candidates: tuple[operator_pb2.Candidate, ...]
    chosen: tuple[operator_pb2.ClassModel, ...]


@dataclass(frozen=True, kw_only=True)
class _Data:
    """References into Ray's object store, and the digest that stands for them in keys."""

    facts: DataFacts
    digest: str
    splits: Any
    certify: Any
    returned: Any = None


@dataclass(frozen=True, kw_only=True)
class _Made:
    """A candidate with what made it."""

    candidate: Candidate
    output: StageOutput

    def with_measurements(self, measurements: Sequence[Measurement]) -> _Made:
        return replace(self, candidate=replace(self.candidate, measurements=tuple(measurements)))


@dataclass
class JobPipeline:
    job: operator_pb2.DriverJob
    spec: CompressionJobSpec
    control_plane: ControlPlane
    runner: RayRunner
    _local: dict[str, StageProgress] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    # ---- progress, read by another thread

    def progress(self) -> tuple[str, float, str]:
        """Stage, 0..1 of the job, and the last words."""
        told = self.runner.progress()
        with self._lock:
            stages = told | self._local
        plan = self._plan()
        stage, words = plan.under_way(stages)
        return stage or "starting", plan.total(stages), words

    def _plan(self) -> ProgressPlan:
        candidates = self._candidate_specs()
        return ProgressPlan(
            {
                "data": 3.0,
                "teacher": 30.0,
                "returned samples": 1.0,
                "student": 25.0,
                **{f"candidate {spec.name}": 25.0 / len(candidates) for spec in candidates},
                "measure": 8.0,
                "certify": 4.0,
                "publish": 4.0,
            }
        )

    def _tell(self, stage: str, fraction: float, words: str = "") -> None:
        with self._lock:
            self._local[stage] = StageProgress(fraction, words)

    # ---- the job

    def run(self) -> JobOutcome:
        data = self._load_data()
        teacher = self._teacher(data)
        if self.job.action == DISTILL_AGAIN:
            data = self._with_returned(data)
        self._tell("returned samples", 1.0)
        student = self._student(data, teacher)
        made = self._candidates(data, teacher, student)
        measurements = self._measure(made)
        made = [entry.with_measurements(measurements[entry.candidate.model_digest]) for entry in made]
        choice = self._choose(made, measurements)
        messages = tuple(candidate_message(candidate) for candidate in choice.candidates)
        self.control_plane.report(stage="choose", progress=0.0, message=choice.words, candidates=messages)
        if not choice.is_feasible:
            return JobOutcome(state=operator_pb2.JOB_INFEASIBLE, message=choice.words, candidates=messages, chosen=())
        self._publish(choice, made, data, teacher, student)
        return JobOutcome(
            state=operator_pb2.JOB_SUCCEEDED,
            message=choice.words,
            candidates=messages,
            chosen=tuple(class_model_message(chosen) for chosen in choice.chosen),
        )

    def _load_data(self) -> _Data:
        """Never taken from the cache: what the callable returns may depend on files that no key knows."""
        self._tell("data", 0.0, "loading data")
        facts, splits, certify = self.runner.load_data(self.spec.data)
        self._tell("data", 1.0)
        logger.info("data: %s, digest %s", facts.counts, facts.digest[:12])
        return _Data(facts=facts, digest=facts.digest, splits=splits, certify=certify)

    def _teacher(self, data: _Data) -> NetworkRef:
        spec = self.spec.teacher
        if spec.checkpoint is not None:
            digest = spec.checkpoint.removeprefix("sha256:")
            if self.control_plane.find_blob(digest) is None:
                raise JobFailedError(f"the teacher's checkpoint {digest} is not stored here; upload it first")
        else:
            inputs = self._inputs("teacher", data, asdict(spec))
            output = self._run(
                "teacher", inputs, lambda: self.runner.train_teacher(spec, self.spec.seed, inputs, data.splits)
            )
            digest = output.blobs["checkpoint"].digest
        self._tell("teacher", 1.0)
        return NetworkRef(entrypoint=spec.entrypoint, checkpoint=digest)

    def _with_returned(self, data: _Data) -> _Data:
        devices = list(self.job.sample_device_ids)
        digest, splits, returned = self.runner.load_returned(devices, data.splits, data.certify, self.spec.seed)
        return replace(data, digest=f"{data.digest} {digest}", splits=splits, returned=returned)

    def _student(self, data: _Data, teacher: NetworkRef) -> NetworkRef:
        """The network that candidates are made of: distilled, distilled again, or the teacher itself."""
        spec = self.spec.student
        repairs = self.job.action == DISTILL_AGAIN
        parent = self.job.parent_student_sha256.hex()
        if spec is None and not repairs:
            self._tell("student", 1.0)
            return NetworkRef(entrypoint=teacher.entrypoint, checkpoint=parent or teacher.checkpoint)
        spec = spec or StudentSpec(entrypoint=teacher.entrypoint, learning_rate=self.spec.teacher.learning_rate)
        if parent and not repairs:
            self._tell("student", 1.0)
            return NetworkRef(entrypoint=spec.entrypoint, checkpoint=parent)
        order = StudentOrder(
            spec=spec,
            teacher=teacher,
            start=(parent or (teacher.checkpoint if self.spec.student is None else "")) if repairs else "",
            epochs=spec.epochs,
            seed=self.spec.seed,
        )
        inputs = self._inputs("student", data, asdict(spec), teacher=teacher.checkpoint, start=order.start)
        output = self._run("student", inputs, lambda: self.runner.distill_student(order, data.splits, data.returned))
        self._tell("student", 1.0)
        return NetworkRef(entrypoint=spec.entrypoint, checkpoint=output.blobs["checkpoint"].digest)

    def _candidate_specs(self) -> tuple[CandidateSpec, ...]:
        faster = self.job.action == FASTER_CANDIDATE
        return with_narrower(self.spec.candidates) if faster else self.spec.candidates

    def _candidates(self, data: _Data, teacher: NetworkRef, student: NetworkRef) -> list[_Made]:
        specs = self._candidate_specs()
        with ThreadPoolExecutor(max_workers=self.runner.parallel_tasks(), thread_name_prefix="candidate") as pool:
            return list(pool.map(lambda spec: self._candidate(spec, data, teacher, student), specs))

    def _candidate(self, spec: CandidateSpec, data: _Data, teacher: NetworkRef, student: NetworkRef) -> _Made:
        stage = f"candidate {spec.name}"
        learning = self.spec.student or StudentSpec(
            entrypoint=teacher.entrypoint, learning_rate=self.spec.teacher.learning_rate
        )
        order = CandidateOrder(
            spec=spec,
            network=student,
            teacher=teacher,
            learning=learning,
            model_name=self.spec.model_name,
            seed=self.spec.seed,
        )
        parameters: dict[str, Any] = {
            "prune": None if spec.prune is None else asdict(spec.prune),
            "quantize": asdict(spec.quantize),
            "learning": None if spec.prune is None else asdict(learning),
            "model_name": self.spec.model_name,
        }
        inputs = self._inputs("candidate", data, parameters, student=student.checkpoint, teacher=teacher.checkpoint)
        output = self._run(stage, inputs, lambda: self.runner.make_candidate(stage, order, data.splits, data.returned))
        self._tell(stage, 1.0)
        candidate = Candidate(
            name=spec.name,
            model_digest=output.blobs[MODEL].digest,
            accuracy=float(output.metrics["accuracy"]),
            model_bytes=int(output.metrics["model_bytes"]),
            peak_ram_bytes=int(output.metrics["peak_ram_bytes"]),
        )
        return _Made(candidate=candidate, output=output)

    def _measure(self, made: list[_Made]) -> dict[str, list[Measurement]]:
        """Each distinct model once, by digest; where a faster one is wanted, the running one beside them."""
        sizes = {entry.candidate.model_digest: entry.output.blobs[MODEL].size_bytes for entry in made}
        parent = self.job.parent_model_sha256.hex()
        if self.job.action == FASTER_CANDIDATE and parent:
            stored = self.control_plane.find_blob(parent)
            if stored is not None:
                sizes[parent] = stored.size_bytes
        self._tell("measure", 0.0, "measuring on devices")
        benchmark = self.spec.benchmark
        measurements = measure_models(
            self.control_plane,
            [MeasurableModel(digest=digest, size_bytes=size_bytes) for digest, size_bytes in sizes.items()],
            [target.device_class for target in self._targets()],
            benchmark,
            job_id=self.job.id,
            time_here=lambda digest: self.runner.time_model(digest, warmup=benchmark.warmup, runs=benchmark.runs),
            tell=lambda fraction, words: self._tell("measure", min(fraction, 0.999), words),
        )
        self._tell("measure", 1.0)
        return measurements

    def _targets(self) -> tuple[TargetSpec, ...]:
        """A class that is too slow gets another model; the others keep theirs."""
        if self.job.action != FASTER_CANDIDATE:
            return self.spec.targets
        return targets_of(self.spec.targets, self.control_plane.get_requesting_class())

    def _choose(self, made: list[_Made], measurements: Mapping[str, list[Measurement]]) -> Choice:
        candidates, targets = [entry.candidate for entry in made], self._targets()
        if self.job.action == DISTILL_AGAIN:
            returned = {entry.candidate.name: float(entry.output.metrics["returned_accuracy"]) for entry in made}
            return choose_for_repair(candidates, targets, returned)
        if self.job.action == FASTER_CANDIDATE:
            running = measurements.get(self.job.parent_model_sha256.hex(), [])
            return choose(candidates, targets, faster_than_us=baseline_p95_us(running, targets))
        return choose(candidates, targets)

    def _publish(
        self, choice: Choice, made: list[_Made], data: _Data, teacher: NetworkRef, student: NetworkRef
    ) -> None:
        by_digest = {entry.candidate.model_digest: entry for entry in made}
        digests = list(dict.fromkeys(chosen.model_digest for chosen in choice.chosen))
        ancestry = Ancestry(
            job_id=self.job.id,
            teacher=teacher.checkpoint,
            student=student.checkpoint,
            parent_model=self.job.parent_model_sha256.hex(),
        )
        for index, digest in enumerate(digests):
            entry = by_digest[digest]
            self._tell("certify", index / len(digests), f"certifying {entry.candidate.name}")
            certificate = self._certificate(entry, data, teacher)
            self._tell("publish", index / len(digests), f"publishing {entry.candidate.name}")
            publish(
                self.control_plane,
                ChosenModel(
                    candidate=entry.candidate,
                    model=entry.output.blobs[MODEL],
                    blobs=_distinct(blob for name, blob in entry.output.blobs.items() if name != MODEL),
                    recipe_json=str(entry.output.metrics["recipe_json"]),
                    certificate=certificate,
                    certify_digest=data.facts.certify_digest,
                ),
                ancestry,
            )
            logger.info("published %s as %s", entry.candidate.name, digest[:12])
        self._tell("certify", 1.0)
        self._tell("publish", 1.0)

    def _certificate(self, entry: _Made, data: _Data, teacher: NetworkRef) -> Mapping[str, Any]:
        """A stage, so that the certify split is read once for a model however often its job is resumed."""
        inputs = StageInputs(
            name="certificate",
            code=job_code_digest(self.job.working_dir_sha256.hex()),
            versions=library_versions(),
            data=data.facts.certify_digest,
            inputs={"model": entry.candidate.model_digest, "teacher": teacher.checkpoint},
        )
        return self._run(
            "certify",
            inputs,
            lambda: StageOutput(
                metrics=self.runner.certify_models([entry.candidate.model_digest], teacher, data.splits, data.certify)[
                    0
                ]
            ),
        ).metrics

    def _inputs(self, name: str, data: _Data, parameters: Mapping[str, Any], **digests: str) -> StageInputs:
        return StageInputs(
            name=name,
            code=job_code_digest(self.job.working_dir_sha256.hex()),
            versions=library_versions(),
            data=data.digest,
            seed=self.spec.seed,
            parameters=parameters,
            inputs=digests,
        )

    def _run(self, stage: str, inputs: StageInputs, run: Any) -> StageOutput:
        def announced() -> StageOutput:
            self._begin(stage)
            logger.info("%s: running, key %s", stage, inputs.key()[:12])
            output: StageOutput = run()
            return output

        return run_stage(self.control_plane, inputs, announced)

    def _begin(self, stage: str) -> None:
        """From here on the workers tell how far the stage is."""
        self.runner.reporter(stage)(0.0)


def _distinct(blobs: Any) -> tuple[Blob, ...]:
    return tuple(dict.fromkeys(blobs))
