"""How a decision of the loop turned out, from what became of its job and of that job's rollout."""

from __future__ import annotations

from dataclasses import replace

from orchestrator.records import Decision, Job, JobState, Rollout, RolloutState

RUNNING = "running"
IMPROVED = "improved"
ROLLED_BACK = "rolled_back"
FAILED = "failed"
INFEASIBLE = "infeasible"
PUBLISHED = "published"
"""There is a new model, but the job's spec leaves its rollout to the operator."""


def follow_decision(decision: Decision, job: Job | None, rollout: Rollout | None, *, auto_rollout: bool) -> Decision:
    """The decision with its rollout and its outcome, as far as they are known."""
    if decision.outcome != RUNNING:
        return decision
    if job is not None and job.rollout_id:
        decision = replace(decision, rollout_id=job.rollout_id)
    return replace(decision, outcome=_outcome(job, rollout, auto_rollout=auto_rollout))


def _outcome(job: Job | None, rollout: Rollout | None, *, auto_rollout: bool) -> str:
    if job is None or job.state in (JobState.FAILED, JobState.CANCELLED):
        return FAILED
    if job.state is JobState.INFEASIBLE:
        return INFEASIBLE
    if not job.state.is_terminal:
        return RUNNING
    if rollout is None:
        if not job.chosen:
            return INFEASIBLE
        return RUNNING if auto_rollout else PUBLISHED
    if rollout.state is RolloutState.RUNNING:
        return RUNNING
    return IMPROVED if rollout.state is RolloutState.SUCCEEDED else ROLLED_BACK
