"""The stages of one job, in order: data, teacher, student, candidates; then its conclusion.

Every stage that computes is run by its key, so this reads the same for a new job, one that resumes, and a repair: what
is there already is taken from the control plane. Where a stage is computed is `ray_runner`'s business.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from typing import Any

from orchestrator.compression.errors import (
    CompressionError,
    FidelityError,
    PruningError,
    QuantizationError,
    RecipeError,
    TrainingError,
)
from orchestrator.jobs.conclusion import Conclusion, JobOutcome, Made
from orchestrator.jobs.control_plane import ControlPlane
from orchestrator.jobs.errors import JobFailedError
from orchestrator.jobs.orders import (
    CHECKPOINT,
    DISTILL_AGAIN,
    FASTER_CANDIDATE,
    MADE_ON,
    MODEL,
    CandidateOrder,
    DataFacts,
    NetworkRef,
    StudentOrder,
)
from orchestrator.jobs.progress import ProgressPlan
from orchestrator.jobs.provenance import provenance_of
from orchestrator.jobs.ray_runner import RayRunner
from orchestrator.jobs.search import Found, ModelSearch
from orchestrator.jobs.selection import with_narrower
from orchestrator.jobs.stage_runner import StageRunner
from orchestrator.jobs.trials import TrialMaker
from orchestrator.records import Candidate
from orchestrator.spec import CandidateSpec, CompressionJobSpec, SearchSpec, StudentSpec
from protos import operator_pb2

logger = logging.getLogger(__name__)

_OF_ONE_CANDIDATE = (FidelityError, PruningError, QuantizationError, RecipeError, TrainingError)
"""What one candidate asks for is at fault; other compression errors blame the data or the network that all share."""
_REASON_CHARACTERS = 1000


@dataclass(frozen=True, kw_only=True)
class _Data:
    """References into Ray's object store, and what is known of them here."""

    facts: DataFacts
    splits: Any
    certify: Any
    returned: Any = None

    @property
    def digest(self) -> str:
        """What stands for all of it in keys."""
        return self.facts.digest


class JobPipeline:
    def __init__(
        self,
        job: operator_pb2.DriverJob,
        spec: CompressionJobSpec,
        control_plane: ControlPlane,
        ray_runner: RayRunner,
    ) -> None:
        self._job = job
        self._spec = spec
        self._control_plane = control_plane
        self._ray = ray_runner
        self._stages = StageRunner(
            control_plane, ray_runner, self._plan(), code=job.working_dir_sha256.hex(), seed=spec.seed
        )

    def progress(self) -> tuple[str, float, str]:
        """Stages under way, 0..1 of the job, and the last words; another thread may ask."""
        return self._stages.progress()

    def run(self) -> JobOutcome:
        data = self._load_data()
        teacher = self._teacher(data)
        if self._job.action == DISTILL_AGAIN:
            data = self._with_returned(data)
        self._stages.done("returned samples")
        student = self._student(data, teacher)
        maker = self._maker(data, teacher, student)
        conclusion = Conclusion(
            job=self._job,
            spec=self._spec,
            control_plane=self._control_plane,
            stages=self._stages,
            ray_runner=self._ray,
            teacher=teacher,
            student=student,
            teacher_accuracy=maker.teacher_accuracy() if self._needs_teacher_accuracy() else None,
            splits=data.splits,
            certify=data.certify,
            data=data.facts,
        )
        made, refused = self._candidates(data, teacher, student)
        search = None
        if self._spec.search is not None:
            found = self._search(self._spec.search, maker, conclusion)
            taken = {spec.name for spec in self._candidate_specs()}
            made, search = [*made, *_renamed(found.made, taken)], found.search
        return conclusion.conclude(made, refused, search)

    def _needs_teacher_accuracy(self) -> bool:
        return self._spec.search is not None or any(target.accuracy_drop is not None for target in self._spec.targets)

    def _maker(self, data: _Data, teacher: NetworkRef, student: NetworkRef) -> TrialMaker:
        return TrialMaker(
            stages=self._stages,
            ray_runner=self._ray,
            control_plane=self._control_plane,
            data_digest=data.digest,
            splits=data.splits,
            returned=data.returned,
            teacher=teacher,
            student=student,
            learning=self._learning(teacher),
            model_name=self._spec.model_name,
            seed=self._spec.seed,
            make_candidate=lambda spec, network, hurdles: self._candidate(
                spec, data, teacher, network, student, hurdles
            ),
        )

    def _search(self, spec: SearchSpec, maker: TrialMaker, conclusion: Conclusion) -> Found:
        search = ModelSearch(
            spec,
            conclusion.targets(),
            maker,
            measure=conclusion.measure_quietly,
            tell=lambda share, words: self._stages.tell("search", min(share, 0.999), words),
            parallel_tasks=self._ray.parallel_tasks(),
            seed=self._spec.seed,
        )
        found = search.run()
        self._stages.done("search")
        return found

    def _plan(self) -> ProgressPlan:
        """Weights from jobs seen: what trains takes the time."""
        candidates = self._candidate_specs()
        return ProgressPlan(
            {
                "data": 3.0,
                "teacher": 30.0,
                "returned samples": 1.0,
                "student": 25.0,
                **{_stage_of(spec): 25.0 / len(candidates) for spec in candidates},
                **({"search": 60.0} if self._spec.search is not None else {}),
                "measure": 8.0,
                "certify": 4.0,
                "publish": 4.0,
            }
        )

    def _load_data(self) -> _Data:
        """Never taken from the cache: what the callable returns may depend on files that no key knows."""
        self._stages.tell("data", 0.0, "loading data")
        facts, splits, certify = self._ray.load_data(self._spec.data)
        self._stages.done("data")
        logger.info("data: %s, digest %s", facts.counts, facts.digest[:12])
        return _Data(facts=facts, splits=splits, certify=certify)

    def _with_returned(self, data: _Data) -> _Data:
        devices = list(self._job.sample_device_ids)
        facts, splits, returned = self._ray.load_returned(
            devices, data.splits, data.certify, data_digest=data.digest, seed=self._spec.seed
        )
        return replace(data, facts=facts, splits=splits, returned=returned)

    def _teacher(self, data: _Data) -> NetworkRef:
        spec, made_on = self._spec.teacher, None
        if spec.checkpoint is not None:
            digest = spec.checkpoint.removeprefix("sha256:")
            if self._control_plane.find_blob(digest) is None:
                raise JobFailedError(f"the teacher's checkpoint {digest} is not stored here; upload it first")
        else:
            inputs = self._stages.inputs("teacher", data=data.digest, parameters=asdict(spec))
            output = self._stages.run(
                "teacher", inputs, lambda: self._ray.train_teacher(spec, self._spec.seed, inputs, data.splits)
            )
            digest, made_on = output.blobs[CHECKPOINT].digest, output.metrics.get(MADE_ON)
        self._stages.done("teacher")
        return NetworkRef(entrypoint=spec.entrypoint, checkpoint=digest, made_on=made_on)

    def _student(self, data: _Data, teacher: NetworkRef) -> NetworkRef:
        """The network that candidates are made of."""
        order = self._student_order(teacher)
        if order is None:
            self._stages.done("student")
            there = self._job.parent_student_sha256.hex() or teacher.checkpoint
            return NetworkRef(entrypoint=self._learning(teacher).entrypoint, checkpoint=there)
        spec = order.spec
        inputs = self._stages.inputs(
            "student", data=data.digest, parameters=asdict(spec), teacher=teacher.checkpoint, start=order.start
        )
        output = self._stages.run(
            "student", inputs, lambda: self._ray.distill_student(order, data.splits, data.returned)
        )
        self._stages.done("student")
        return NetworkRef(
            entrypoint=spec.entrypoint,
            checkpoint=output.blobs[CHECKPOINT].digest,
            made_on=output.metrics.get(MADE_ON),
        )

    def _student_order(self, teacher: NetworkRef) -> StudentOrder | None:
        """How to distil it, or to distil it again; None where it is there: the parent's, or the teacher itself."""
        parent = self._job.parent_student_sha256.hex()
        start = ""
        if self._job.action == DISTILL_AGAIN:
            start = parent or teacher.checkpoint
        elif parent or self._spec.student is None:
            return None
        spec = self._learning(teacher)
        return StudentOrder(spec=spec, teacher=teacher, start=start, epochs=spec.epochs, seed=self._spec.seed)

    def _learning(self, teacher: NetworkRef) -> StudentSpec:
        """How networks are distilled; where no student is named, the teacher is its own."""
        if self._spec.student is not None:
            return self._spec.student
        return StudentSpec(entrypoint=teacher.entrypoint, learning_rate=self._spec.teacher.learning_rate)

    def _candidate_specs(self) -> tuple[CandidateSpec, ...]:
        faster = self._job.action == FASTER_CANDIDATE
        return with_narrower(self._spec.candidates) if faster else self._spec.candidates

    def _candidates(self, data: _Data, teacher: NetworkRef, student: NetworkRef) -> tuple[list[Made], list[Candidate]]:
        """Those that could be made, and the others with their verdicts; as many at a time as there are CPUs."""

        def make(spec: CandidateSpec) -> Made | Candidate:
            try:
                return self._candidate(spec, data, teacher, student, student)
            except CompressionError as error:
                # A narrower one that nobody asked for by name may turn out impossible in any way.
                if spec in self._spec.candidates and not isinstance(error, _OF_ONE_CANDIDATE):
                    raise
                logger.warning("%s could not be made: %s", _stage_of(spec), error)
                self._stages.done(_stage_of(spec))
                return Candidate(name=spec.name, verdict=f"could not be made: {error}"[:_REASON_CHARACTERS])

        with ThreadPoolExecutor(max_workers=self._ray.parallel_tasks(), thread_name_prefix="candidate") as pool:
            ended = list(pool.map(make, self._candidate_specs()))
        return [made for made in ended if isinstance(made, Made)], [c for c in ended if isinstance(c, Candidate)]

    def _candidate(
        self,
        spec: CandidateSpec,
        data: _Data,
        teacher: NetworkRef,
        network: NetworkRef,
        student: NetworkRef,
        hurdles: Sequence[float] = (),
    ) -> Made:
        """Of `network`: the student, or what a search made of it by pruning; `hurdles` are those of its order."""
        stage = _stage_of(spec)
        learning = self._learning(teacher)
        parameters: dict[str, Any] = {
            "prune": None if spec.prune is None else asdict(spec.prune),
            "quantize": asdict(spec.quantize),
            "rules": None if spec.rules is None else asdict(spec.rules),
            "learning": None if spec.prune is None else asdict(learning),
            "model_name": self._spec.model_name,
        }
        inputs = self._stages.inputs(
            "candidate",
            data=data.digest,
            parameters=parameters,
            student=network.checkpoint,
            teacher=teacher.checkpoint,
            fp32=student.checkpoint,
        )
        order = CandidateOrder(
            spec=spec,
            inputs=inputs,
            network=network,
            fp32=student,
            teacher=teacher,
            learning=learning,
            model_name=self._spec.model_name,
            seed=self._spec.seed,
            hurdles=hurdles,
        )
        output = self._stages.run(
            stage, inputs, lambda: self._ray.make_candidate(stage, order, data.splits, data.returned)
        )
        self._stages.done(stage)
        candidate = Candidate(
            name=spec.name,
            model_digest=output.blobs[MODEL].digest,
            accuracy=float(output.metrics["accuracy"]),
            fp32_accuracy=float(output.metrics["fp32_accuracy"]),
            model_bytes=int(output.metrics["model_bytes"]),
            peak_ram_bytes=int(output.metrics["peak_ram_bytes"]),
        )
        provenance = provenance_of(
            order,
            output,
            teacher=self._spec.teacher,
            student=self._student_order(teacher),
            data=data.digest,
            working_dir=self._job.working_dir_sha256.hex(),
        )
        return Made(candidate=candidate, output=output, provenance=provenance)


def _renamed(found: Iterable[Made], taken: Set[str]) -> list[Made]:
    """With names that no candidate of the recipe has."""
    return [
        replace(made, candidate=replace(made.candidate, name=f"{made.candidate.name}-found"))
        if made.candidate.name in taken
        else made
        for made in found
    ]


def _stage_of(spec: CandidateSpec) -> str:
    return f"candidate {spec.name}"
