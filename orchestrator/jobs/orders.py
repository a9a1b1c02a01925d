"""What the driver orders of a Ray worker, as plain picklable data; imports nothing heavy: the driver stays light."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from orchestrator.jobs.stages import StageInputs
from orchestrator.spec import CandidateSpec, PruneSpec, StudentSpec, TeacherSpec

# What a decision can ask for; `controllers.repair_jobs` writes the job, epochs of the repair included.
DISTILL_AGAIN = "distill_again"
FASTER_CANDIDATE = "faster_candidate"

CHECKPOINT = "checkpoint"  # of a float network
MODEL = "model"  # names of a candidate's outputs; tensors have others
GOLDEN = "golden"
MADE_ON = "made_on"  # among the figures of every stage that makes a network
RECIPE, RULES, RULES_RECIPE = "recipe_json", "rules", "rules_recipe_json"  # among a candidate's
CURVE = "accuracy_by_epoch"  # and of its training while quantized, on the choose split


@dataclass(frozen=True, kw_only=True)
class NetworkRef:
    """A float network: the callable that builds it and the checkpoint blob with its weights.

    Attributes:
        prune: how channels were taken from what the callable builds.
        made_on: where the weights were made, as `TaskContext.made_on` gives it; None where no stage of this job made
            them, or one of an earlier release that did not tell.
    """

    entrypoint: str
    checkpoint: str
    prune: PruneSpec | None = None
    made_on: Mapping[str, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class DataFacts:
    """What the driver needs to know of the data of a job, which it never holds; a repair's has the returned samples."""

    digest: str
    split_digests: dict[str, str]
    counts: dict[str, int]

    @property
    def certify_digest(self) -> str:
        return self.split_digests["certify"]


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
class PruneOrder:
    """What to prune of which network; what that broke is trained back by `learning_after`."""

    spec: PruneSpec
    network: NetworkRef
    teacher: NetworkRef
    learning: StudentSpec
    seed: int


def learning_after(prune: PruneSpec, learning: StudentSpec) -> StudentSpec:
    """How what pruning broke is trained back: as `learning` says where `prune` says nothing itself."""
    names = ("batch_size", "learning_rate", "temperature", "alpha", "objective")
    own = {name: value for name in names if (value := getattr(prune, name)) is not None}
    if prune.importance == "answers":
        own.setdefault("alpha", 1.0)
    return replace(learning, **own)


@dataclass(frozen=True, kw_only=True)
class CandidateOrder:
    """Which candidate to make of which network.

    Attributes:
        learning: how networks of the job are distilled; what pruning broke is trained back by `learning_after`.
        fp32: what accuracy is compared with: `network`, or what that was before it was pruned.
        inputs: of the whole stage; epochs of quantization-aware training are kept under keys made from them.
        hurdles: what accuracy it must have after each epoch of that training to go on.
    """

    spec: CandidateSpec
    network: NetworkRef
    fp32: NetworkRef
    inputs: StageInputs
    teacher: NetworkRef
    learning: StudentSpec
    model_name: str
    seed: int
    hurdles: Sequence[float] = ()
