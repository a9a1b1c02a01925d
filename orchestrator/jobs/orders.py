"""What the driver orders of a Ray worker, as plain picklable data; imports nothing heavy: the driver stays light."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.jobs.stages import StageInputs
from orchestrator.spec import CandidateSpec, StudentSpec, TeacherSpec

# What a decision can ask for; `controllers.repair_jobs` writes the job, epochs of the repair included.
DISTILL_AGAIN = "distill_again"
FASTER_CANDIDATE = "faster_candidate"

MODEL = "model"  # names of a candidate's outputs; tensors have others
GOLDEN = "golden"


@dataclass(frozen=True, kw_only=True)
class NetworkRef:
    """A float network: the callable that builds it and the checkpoint blob with its weights."""

    entrypoint: str
    checkpoint: str


@dataclass(frozen=True, kw_only=True)
class DataFacts:
    """What the driver needs to know of splits that it never holds."""

    digest: str
    certify_digest: str
    counts: dict[str, int]


@dataclass(frozen=True, kw_only=True)
class TeacherOrder:
    spec: TeacherSpec
    seed: int
    inputs: StageInputs  # of the whole stage; those of its epochs are made from them
    cpus_per_worker: float


@dataclass(frozen=True, kw_only=True)
class StudentOrder:
    """How to make the student.

    Attributes:
        spec: the student's part of the job.
        teacher: what it learns from.
        start: checkpoint to start from instead of random weights; empty for those.
        epochs: passes over the train split.
    """

    spec: StudentSpec
    teacher: NetworkRef
    start: str
    epochs: int
    seed: int


@dataclass(frozen=True, kw_only=True)
class CandidateOrder:
    """Which candidate to make of which network; `learning` says how what pruning broke is trained back.

    `inputs` are those of the whole stage; epochs of quantization-aware training are kept under keys made from them.
    """

    spec: CandidateSpec
    inputs: StageInputs
    network: NetworkRef
    teacher: NetworkRef
    learning: StudentSpec
    model_name: str
    seed: int
