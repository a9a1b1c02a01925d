"""Writes the job that a decision starts: the job behind the running model, done again with what the decision adds."""

from __future__ import annotations

import uuid
from dataclasses import replace

from orchestrator.policy.recompression import DISTILL_AGAIN
from orchestrator.records import Decision, Job, JobState
from orchestrator.spec import CompressionJobSpec, RecompressionPolicySpec, SpecError, dump, parse_job
from orchestrator.store import Session

NAME_LIMIT = 63


class NoRepairError(Exception):
    """What is running does not come from a job that could be done again."""


def repair_job(session: Session, policy: RecompressionPolicySpec, decision: Decision) -> Job:
    """The job for `decision`, queued.

    Raises:
        NoRepairError: the running model was not made here, or its job or student is no longer known.
    """
    model = session.models.find(decision.model_digest)
    if model is None:
        raise NoRepairError("the running model is not among the published ones")
    parent = session.jobs.find(model.job_id)
    if parent is None:
        raise NoRepairError(f"the job {model.job_id!r} that made the running model is not known")
    try:
        spec = parse_job(parent.spec_yaml)
    except SpecError as error:
        raise NoRepairError(f"the spec of job {parent.id} cannot be read any more: {error}") from error
    student = _student_digest(session, decision.model_digest)
    if decision.action == DISTILL_AGAIN and not student:
        raise NoRepairError("no statement names the student checkpoint behind the running model")
    name = _name(parent, decision)
    return Job(
        id=f"{name[:50]}-{uuid.uuid4().hex[:8]}",
        name=name,
        spec_yaml=dump(_adjusted(spec, policy, decision)),
        working_dir_digest=parent.working_dir_digest,
        state=JobState.QUEUED,
        message=f"started by policy {policy.name}: {decision.reason}",
        created_at_ms=session.now_ms,
        updated_at_ms=session.now_ms,
        decision_id=decision.id,
        parent_job_id=parent.id,
        parent_student_digest=student,
        parent_model_digest=decision.model_digest,
        sample_device_ids=(decision.device_id,) if decision.action == DISTILL_AGAIN else (),
        action=decision.action,
    )


def _student_digest(session: Session, model_digest: str) -> str:
    """The checkpoint that the model's newest lineage names, empty where no statement does."""
    for statement in reversed(session.models.statements(model_digest)):
        if statement.lineage.student_sha256:
            return statement.lineage.student_sha256.hex()
    return ""


def _adjusted(spec: CompressionJobSpec, policy: RecompressionPolicySpec, decision: Decision) -> CompressionJobSpec:
    if decision.action != DISTILL_AGAIN or spec.student is None:
        return spec
    return replace(spec, student=replace(spec.student, epochs=policy.repair.epochs))


def _name(parent: Job, decision: Decision) -> str:
    """Of the first job in the line and of what is done, however often it was done already."""
    suffix = f"-{decision.action.replace('_', '-')}"
    return parent.name.removesuffix(suffix)[: NAME_LIMIT - len(suffix)] + suffix
